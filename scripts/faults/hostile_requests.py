"""Send a server malformed requests, and count what it answers.

    python scripts/faults/hostile_requests.py --count 10000 [--images FOLDER]

In: how many, a seed, and a folder of odd images. Out: a table on stdout: kinds of requests by status; "closed" is a
connection that the server has ended without an answer. The exit code is 1 if the server hangs, answers 500, logs a
traceback, or has another row than before for a good image in between.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / "helpers")]

from odd_files import bare_png, many_scans  # noqa: E402 - the path comes first

from resnest_cli.models.catalog import DIGITS  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT_S = 2  # of the server, for a body and for an answer
LIMIT_S = 20  # no answer and no end within this time is a hang; a head may take 10 s
MAX_BYTES = 1_000_000
THREADS = 16
EVERY = 50  # requests between two good ones
SERVE = [sys.executable, "-m", "resnest_cli", "serve", "-m", "digits", "--port", "0", "--timeout", str(TIMEOUT_S)]
PIECES = [b"\r\n", b"\0", b"\xff", b":", b"--b", b"%", b'"', b"\r\n\r\n", b"{", b"[", b"9" * 30, b"-1", b" ", b";"]
Draw = random.Random


def head(method: str, path: str, length: int | str, *more: str) -> bytes:
    """Return the head of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {length}", *more]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


def post(path: str, body: bytes, *more: str) -> bytes:
    """Return a whole request."""
    return head("POST", path, len(body), *more) + body


def damaged(draw: Draw, content: bytes) -> bytes:
    """Replace a few stretches of bytes by others."""
    for _ in range(draw.randint(1, 4)):
        begin = draw.randrange(len(content) + 1)
        end = min(len(content), begin + draw.choice([0, 1, 4, 50, 10_000]))
        piece = draw.choice([draw.choice(PIECES), draw.randbytes(draw.randint(0, 20))])
        content = content[:begin] + piece + content[end:]
    return content


def form(image: bytes) -> bytes:
    """Return a multipart body of two images."""
    one = b'--b\r\nContent-Disposition: form-data; name="i"; filename="a.png"\r\n\r\n' + image + b"\r\n"
    return one * 2 + b"--b--\r\n"


def call(draw: Draw, image: bytes) -> tuple[bytes, str]:
    """Return a damaged request of the Open Inference Protocol, and its header."""
    tensor = {
        "name": draw.choice(["image", "pixels", "x"]),
        "datatype": draw.choice(["BYTES", "UINT8", "FP32", 7]),
        "shape": draw.choice([[1], [2], [1, 8, 8, 3], [-1], [1 << 62, 1 << 62, 3, 3], [], "1", None]),
        "data": draw.choice([["AAAA"], [0] * 192, [256] * 192, [], {}, [[[[1.5]]]], None]),
        "parameters": draw.choice([{}, {"binary_data_size": draw.choice([5, -1, 1 << 70, "4"])}, 3]),
    }
    text = json.dumps({"inputs": draw.choice([[tensor], [], tensor, None]), "id": draw.choice(["a", 1])}).encode()
    text = draw.choice([text, damaged(draw, text), b"[" * 100_000])
    return text + image, f"Inference-Header-Content-Length: {draw.choice([len(text), 0, -1, len(text) * 9, 'x'])}"


class Requests:
    """Draws requests: each kind is a method that gives the bytes to send."""

    def __init__(self, images: list[bytes]) -> None:
        self.images = images
        self.bombs = [bare_png(60_000, 60_000), many_scans(2000, 2000), b"GIF89a" + bytes([255] * 7)]

    def bytes_of_no_request(self, draw: Draw) -> bytes:
        """Random bytes."""
        return draw.randbytes(draw.randint(1, 2000)) + b"\r\n\r\n"

    def damaged_request(self, draw: Draw) -> bytes:
        """Bytes replaced anywhere."""
        return damaged(
            draw, post("/predict?topk=3", form(self.image(draw)), "Content-Type: multipart/form-data; boundary=b")
        )

    def multipart(self, draw: Draw) -> bytes:
        """Bytes replaced in the body, or its end missing."""
        body = damaged(draw, form(self.image(draw)))
        body = body[: draw.choice([len(body), draw.randrange(len(body) + 1)])]
        return post(
            "/predict", body, f"Content-Type: multipart/form-data; boundary={draw.choice(['b', '', 'x' * 5000])}"
        )

    def many_parts(self, draw: Draw) -> bytes:
        """Thousands of parts, or headers."""
        part = draw.choice([b"--b\r\nA: b\r\n\r\n\r\n", b"--b\r\n" + b"A: b\r\n" * 300 + b"\r\n\r\n", b"--b\r\n"])
        return post(
            "/predict", part * draw.choice([300, 3000]) + b"--b--", "Content-Type: multipart/form-data; boundary=b"
        )

    def large_head(self, draw: Draw) -> bytes:
        """Long paths, long headers, many headers."""
        more = draw.choice([[f"X: {'y' * 20_000}"], [f"X{n}: y" for n in range(1000)], ["Cookie: " + "a=b;" * 3000]])
        return head("GET", "/" + "a" * draw.choice([0, 3000, 30_000]), 0, *more)

    def wrong_length(self, draw: Draw) -> bytes:
        """A length that is not that of the body."""
        longer = len(self.images[0]) + 10
        lengths: list[int | str] = [-1, "x", "1e3", "0x10", 5, 10**30, 2 * MAX_BYTES, longer, "5, 6", ""]
        length = draw.choice(lengths)
        return head("POST", "/predict", length, *draw.choice([[], ["Content-Length: 7"]])) + self.image(draw)

    def chunks(self, draw: Draw) -> bytes:
        """Chunks that are none."""
        sizes = draw.choice([b"zz", b"-5", b"5", b"FFFFFFFFFFFFFFFFFF", b"0", b"5;" + b"x" * 5000])
        words = head("POST", "/predict", 0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        return (
            words
            + sizes
            + b"\r\n"
            + self.image(draw)[:5]
            + draw.choice([b"\r\n0\r\n\r\n", b"", b"\r\n0\r\nA:b\r\n\r\n"])
        )

    def odd_image(self, draw: Draw) -> bytes:
        """A damaged image, cut, too large, or of an odd kind."""
        image = self.image(draw)
        image = draw.choice(
            [image, damaged(draw, image), image[: draw.randrange(len(image) + 1)], draw.choice(self.bombs)]
        )
        return post(draw.choice(["/predict", "/predict", "/explain"]), image)

    def inference(self, draw: Draw) -> bytes:
        """The Open Inference Protocol, damaged."""
        body, header = call(draw, self.image(draw))
        model = draw.choice(["digits", "digits", "none", "..%2f..", "%00"])
        return post(f"/v2/models/{model}/infer", body, header)

    def odd_query(self, draw: Draw) -> bytes:
        """Parameters that cannot be meant."""
        value = draw.choice(
            ["-1", "0", "1e9", "nan", "%00", "%ff", "9" * 5000, "x", "", "\udcff", "%E2%80%AE", "1&topk=2"]
        )
        name = draw.choice(["topk", "threshold", "model", "class", "x", "%00"])
        return post(f"{draw.choice(['/predict', '/explain'])}?{name}={value}", self.images[0])

    def other_method(self, draw: Draw) -> bytes:
        """Methods, paths, versions and hosts."""
        method = draw.choice(["GET", "PUT", "DELETE", "TRACE", "CONNECT", "OPTIONS", "BREW", "PRI", "post"])
        path = draw.choice(
            ["/predict", "/../../etc/passwd", "//", "*", "http://evil.example/predict", "/%2e%2e/", "/metrics"]
        )
        return head(method, path, 0).replace(
            b"localhost", draw.choice([b"localhost", b"evil.example", b"[::1", b"", b"\xff"])
        )

    def slow_body(self, draw: Draw) -> bytes:
        """A body that never ends."""
        return head("POST", "/predict", 10_000) + draw.randbytes(draw.randint(0, 100))

    def compressed(self, draw: Draw) -> bytes:
        """Encodings and expectations."""
        more = draw.choice(
            [
                "Content-Encoding: gzip",
                "Transfer-Encoding: gzip",
                "Expect: 100-continue",
                "Upgrade: websocket",
                "Expect: x",
            ]
        )
        return post("/predict", self.image(draw), more)

    def image(self, draw: Draw) -> bytes:
        """Return an image."""
        return draw.choice(self.images)

    def kinds(self) -> list[Callable[[Draw], bytes]]:
        """Return what draws."""
        return [getattr(self, name) for name, value in vars(type(self)).items()
                if callable(value) and name not in {"__init__", "image", "kinds"}]  # fmt: skip


def answer_to(port: int, request: bytes, *, leaves: bool) -> str:
    """Send a request; return the status, "closed", "left" if the client does not wait, or "HANG"."""
    with socket.create_connection(("127.0.0.1", port), LIMIT_S) as connection:
        try:
            connection.sendall(request)
            if leaves:
                return "left"
            said = connection.recv(65_536)
        except TimeoutError:
            return "HANG"
        except OSError:  # the server has closed it before it had read all
            said = b""
    found = re.match(rb"HTTP/1.1 (\d{3})", said)
    return found[1].decode() if found else "closed"


def row_of(port: int, image: bytes) -> bytes:
    """Return the row of a good image."""
    with socket.create_connection(("127.0.0.1", port), LIMIT_S) as connection:
        connection.sendall(post("/predict", image, "Connection: close"))
        said = b""
        while more := connection.recv(65_536):
            said += more
    return said.partition(b"\r\n\r\n")[2]


def send(port: int, count: int, seed: int, images: list[bytes]) -> tuple[Counter[tuple[str, str]], float, int]:
    """Send so many requests, several at the same time; return their counts, the longest wait, and other rows."""
    requests, good, counts = Requests(images), images[0], Counter[tuple[str, str]]()
    kinds = requests.kinds()
    expected = row_of(port, good)
    longest, others = 0.0, 0

    def one(number: int) -> tuple[str, str, float, bool]:
        draw = random.Random(f"{seed} {number}")  # noqa: S311 - no secret
        kind = kinds[number % len(kinds)]
        begun = time.monotonic()
        said = answer_to(port, kind(draw), leaves=draw.random() < 0.05)  # noqa: PLR2004 - one in twenty
        is_same = number % EVERY or row_of(port, good) == expected
        return kind.__name__, said, time.monotonic() - begun, bool(is_same)

    with ThreadPoolExecutor(THREADS) as threads:
        for name, said, seconds, is_same in threads.map(one, range(count)):
            counts[name, said] += 1
            longest, others = max(longest, seconds), others + (not is_same)
    return counts, longest, others


def port_of(log: Path, server: subprocess.Popen[bytes]) -> int:
    """Return the port in a log, once it is there.

    Raises:
        SystemExit: the server has ended.
    """
    while not (found := re.search(r"127.0.0.1:(\d+)", log.read_text(encoding="utf-8"))):
        if server.poll() is not None:
            sys.exit(log.read_text(encoding="utf-8"))
        time.sleep(0.05)
    return int(found[1])


def main() -> None:
    """Serve digits, send, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=Path, help="a folder of odd images")
    args = parser.parse_args()
    images = [path.read_bytes() for path in sorted((DIGITS / "samples").iterdir())]
    if args.images:
        found = (path for path in sorted(args.images.rglob("*")) if path.is_file())
        images += [content for path in found if 0 < len(content := path.read_bytes()) < MAX_BYTES]
    with tempfile.TemporaryDirectory() as folder, Path(folder, "log").open("w+", encoding="utf-8") as log:
        words = [*SERVE, "--max-bytes", str(MAX_BYTES)]
        with subprocess.Popen(words, stderr=log, stdout=subprocess.DEVNULL) as server:  # noqa: S603 - ours
            try:
                counts, longest, others = send(port_of(Path(log.name), server), args.count, args.seed, images)
            finally:
                server.send_signal(signal.SIGTERM)
        log.seek(0)
        bugs = [line for line in log if "Traceback" in line or "a bug, please report it" in line]
    statuses = sorted({said for _, said in counts})
    print(f"| request | {' | '.join(statuses)} |\n| --- |{' ---: |' * len(statuses)}")
    for name in dict.fromkeys(name for name, _ in counts):
        print(f"| {name.replace('_', ' ')} | {' | '.join(str(counts[name, said] or '') for said in statuses)} |")
    print(f"\n{args.count} requests, {len(images)} images; longest {longest:.1f} s; {others} other rows for a good "
          f"image; {len(bugs)} tracebacks or bugs in the log; the server ended with {server.returncode}")  # fmt: skip
    sys.stderr.writelines(bugs)
    sys.exit(
        bool(others or bugs or "HANG" in statuses or "500" in statuses or server.returncode != 128 + signal.SIGTERM)
    )


if __name__ == "__main__":
    main()
