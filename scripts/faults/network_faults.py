"""Measure how long a download takes to fail under each network fault, and print the cause that it reports.

    python scripts/faults/network_faults.py

In: nothing; tests/helpers/hub_stub.py plays the hub, the proxies and their faults on loopback, with the real limits.
Out: a table on stdout. The exit code is 1 if a fault takes over a minute, or over 15 s where waiting cannot help.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / "helpers")]

import hub_stub  # noqa: E402 - the path comes first
from hub_stub import Page, Stub, closed_port, repository  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPO = "timm/resnest14d.gluon_in1k"
PATH = f"/{REPO}/resolve/main/model.safetensors"
PAGES = repository(REPO, {"model.safetensors": random.Random(0).randbytes(3_000_000)})  # noqa: S311 - no secret
SAMPLE = ROOT / "resnest_cli" / "data" / "digits" / "samples" / "six_0034.png"
DOWNLOAD = ("download", "resnest14d")
PREDICT = ("predict", str(SAMPLE), "-m", "resnest14d")
LIMIT_S = 60
QUICK_S = 15


@dataclass(frozen=True)
class Fault:
    """One row: the fault, how the stub plays it, and further environment variables."""

    name: str
    play: Callable[[Stub], object] = lambda _: None
    env: dict[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = DOWNLOAD
    limit_s: int = LIMIT_S


def body(**headers: str) -> Callable[[Stub], object]:
    """Return a fault that changes the headers of the file."""
    page = PAGES[PATH]
    return lambda stub: stub.pages.update({PATH: replace(page, headers={**page.headers, **headers})})


def answer(page: Page) -> Callable[[Stub], object]:
    """Return a fault that answers with `page` instead of the file."""
    return lambda stub: stub.pages.update({PATH: page})


def faults(**names: str) -> Callable[[Stub], object]:
    """Return a fault that plays faults of the stub, by HTTP method."""
    return lambda stub: stub.faults.update(names)


def cuts(**names: str) -> Callable[[Stub], object]:
    """Return a fault that cuts every body, and plays faults of the stub."""

    def play(stub: Stub) -> None:
        stub.cuts = 10**9
        stub.faults.update(names)

    return play


def rows(refused: str, deaf: str, mute: str) -> Iterator[Fault]:
    """Yield the faults; the arguments are URLs that refuse, never accept, and never answer connections."""
    yield Fault("connection refused", env={"HF_ENDPOINT": refused}, limit_s=QUICK_S)
    yield Fault("no such name in DNS", env={"HF_ENDPOINT": "http://hub.invalid"}, limit_s=QUICK_S)
    yield Fault("dead proxy", env={"HTTP_PROXY": refused, "NO_PROXY": ""}, limit_s=QUICK_S)
    yield Fault("address that does not answer", env={"HF_ENDPOINT": deaf}, limit_s=QUICK_S)
    yield Fault("offline by HF_HUB_OFFLINE", env={"HF_HUB_OFFLINE": "1"}, limit_s=QUICK_S)
    yield Fault("login page of a network", answer(Page(b"<html>log in</html>", headers={"ETag": '"x"'})))
    yield Fault("hub without hashes", body(**{"ETag": "", "X-Linked-Etag": ""}))
    yield Fault("503 forever", answer(Page(status=503)))
    yield Fault("429, retry after an hour", answer(Page(status=429, headers={"Retry-After": "3600"})))
    yield Fault("silent from the start", faults(HEAD="silence"))
    yield Fault("silent at the file", faults(GET="silence"))
    yield Fault("silent in the middle of the file", faults(GET="stall"))
    yield Fault("one byte per second", faults(GET="slow body"))
    yield Fault("headers of one byte per second", faults(HEAD="slow headers"))
    yield Fault("cut every time", cuts())
    yield Fault("cut every time, always from the start", cuts(GET="no ranges"))
    yield Fault("larger than announced", body(**{"X-Linked-Size": "2999993"}))
    yield Fault("smaller than announced", body(**{"X-Linked-Size": "3000007"}))
    yield Fault("one flipped byte", faults(GET="flip"))
    silent = {"HTTPS_PROXY": mute}
    yield Fault("hub and mirror silent", faults(HEAD="silence"), env=silent)
    yield Fault("hub slow then silent, mirror silent", faults(GET="slow body"), env=silent)
    yield Fault("predict: hub, mirror and names silent", faults(HEAD="silence"), env=silent, command=PREDICT)


@contextlib.contextmanager
def deaf_port() -> Iterator[str]:
    """Yield a URL whose connections are never accepted, because the queue is full."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.settimeout(0)
            client.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def timed(fault: Fault, refused: str) -> tuple[float, str]:
    """Run the command under one fault; return the seconds and the cause that the command reports."""
    with Stub(PAGES) as stub, tempfile.TemporaryDirectory() as home:
        fault.play(stub)
        kept = {
            name: value
            for name, value in os.environ.items()
            if not re.match("HF_|RESNEST_|.*_proxy$", name, re.IGNORECASE)
        }
        places = {"HF_HOME": f"{home}/hf", "TORCH_HOME": f"{home}/torch", "RESNEST_CACHE": f"{home}/resnest"}
        reach = {"HF_ENDPOINT": stub.url, "HTTPS_PROXY": refused, "NO_PROXY": "127.0.0.1,hub.invalid"}
        command = [sys.executable, "-m", "resnest_cli", *fault.command]
        begin = time.perf_counter()
        done = subprocess.run(  # noqa: S603 - our own command
            command, env=kept | places | reach | fault.env, capture_output=True, text=True, check=False, cwd=ROOT
        )
        seconds = time.perf_counter() - begin
    said = re.sub(r"\s+", " ", done.stdout + done.stderr.partition("error: ")[2])
    offline = r"(HF_HUB_OFFLINE forbids .*?)\. "
    pattern = rf"could not be downloaded: (.*?)\. |(is not answered .*?|the hub names .*?)[:,] |{offline}"
    found = re.search(pattern, said)
    cause = next(text for text in found.groups() if text) if found and done.returncode == 1 else "?"
    return seconds, re.sub(r"port \d+", "port N", cause)


def main() -> None:
    """Print the table."""
    hub_stub.DRIBBLE_S = 1.0
    late = []
    with closed_port() as refused, deaf_port() as deaf, Stub() as mute, ThreadPoolExecutor(4) as pool:
        mute.faults["CONNECT"] = "silence"
        listed = [*rows(refused, deaf, mute.url)]
        print("| fault | fails after, s | with the cause |\n| --- | ---: | --- |")
        for fault, (seconds, cause) in zip(listed, pool.map(lambda row: timed(row, refused), listed), strict=True):
            print(f"| {fault.name} | {seconds:.1f} | {cause} |", flush=True)
            if seconds > fault.limit_s or cause == "?":
                late.append(fault.name)
    sys.exit(f"too late, or without a cause: {late}" if late else 0)


if __name__ == "__main__":
    main()
