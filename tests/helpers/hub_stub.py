"""A web server on loopback that plays a Hugging Face hub or any site: it serves pages, logs requests, plays faults."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import socketserver
import ssl  # noqa: TC003 - a name of it stands in a signature that is looked at
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import TracebackType

    import pytest
    from typing_extensions import Self


DRIBBLE_S = 0.05


@dataclass(frozen=True)
class Page:
    """What one path answers."""

    content: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class Stub:
    """Serves `pages` (path -> Page, 404 elsewhere) while used as a context manager, and logs "METHOD /path" lines.

    The next `cuts` bodies are announced in full, and the connection closes after half. `faults` (method -> name) play
    until they are removed: "silence" never answers, "slow headers" and "slow body" send a byte every `DRIBBLE_S`,
    "stall" stops in mid-body, "flip" changes the last byte, "no ranges" ignores Range, "busy once" answers 503
    the first time. Bodies stop after `stop_at` bytes, and `stopped` is set then.
    """

    def __init__(self, pages: Mapping[str, Page] | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.pages = dict(pages or {})
        self.cuts = 0
        self.faults: dict[str, str] = {}
        self.stop_at: int | None = None
        self.stopped = threading.Event()
        self.closing = threading.Event()
        self.log: list[str] = []
        self.headers: list[dict[str, str]] = []  # of each logged request, names in lower case
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Self:
        """Start serving."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop, free the port, and release waiting requests."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def repository(name: str, files: Mapping[str, bytes], revision: str = "main") -> dict[str, Page]:
    """Return the pages of a hub with this repository, with the headers that huggingface_hub needs."""
    commit = commit_of(name, revision)
    return {
        f"/{name}/resolve/{revision}/{filename}": Page(content, headers=_hub_headers(content, commit))
        for filename, content in files.items()
    }


def commit_of(name: str, revision: str = "main") -> str:
    """Return the commit of `revision`: 40 hex digits, as in git."""
    return hashlib.sha1(f"{name}@{revision}".encode(), usedforsecurity=False).hexdigest()


def _hub_headers(content: bytes, commit: str) -> dict[str, str]:
    digest = f'"{hashlib.sha256(content).hexdigest()}"'
    return {
        "X-Repo-Commit": commit,
        "ETag": digest,
        "X-Linked-Etag": digest,  # what the hub says of large files, and what names the blob in the cache
        "X-Linked-Size": str(len(content)),
        "Accept-Ranges": "bytes",
    }


def _handler(stub: Stub) -> type[BaseHTTPRequestHandler]:  # noqa: C901 - a class of short methods
    """Return the handler class of one stub; HTTP/1.0, so a connection ends with its answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_CONNECT(self) -> None:  # what a client asks of a proxy
            self._answer(with_body=False)

        def do_POST(self) -> None:  # what a client that reports home would send
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            stub.log.append(f"{self.command} {self.path}")
            stub.headers.append({name.lower(): value for name, value in self.headers.items()})
            fault = stub.faults.get(self.command, "")
            bare = self.path.partition("?")[0]
            page = stub.pages.get(self.path) or stub.pages.get(bare) or Page(b"not here", status=404)
            if fault == "busy once":
                del stub.faults[self.command]
                page = Page(status=503)
            with contextlib.suppress(OSError):  # the client may have seen enough
                if fault == "silence":
                    stub.closing.wait()
                elif fault == "slow headers":
                    self._dribble(b"HTTP/1.0 200 OK\r\nX-Long: " + b"a" * 10_000)
                else:
                    self._send(page, fault, with_body=with_body)

        def _send(self, page: Page, fault: str, *, with_body: bool) -> None:
            status, body, more = page.status, page.content, {}
            first = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if first and status == 200 and fault != "no ranges":
                start = int(first[1])
                status, body = 206, page.content[start:]
                more = {"Content-Range": f"bytes {start}-{len(page.content) - 1}/{len(page.content)}"}
                if not body:
                    status, more = 416, {}
            length = {"Content-Length": str(len(body))}
            self.send_response(status)
            for name, value in {**length, **page.headers, **more, **(length if more else {})}.items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                self._send_body(body, fault)

        def _send_body(self, body: bytes, fault: str) -> None:
            if fault == "flip":
                body = body[:-1] + bytes([body[-1] ^ 1])
            if fault == "slow body":
                self._dribble(body)
            if stub.cuts:
                stub.cuts -= 1
                body = body[: len(body) // 2]
            if fault == "stall":
                stub.stop_at = len(body) // 2
            self.wfile.write(body[: stub.stop_at])
            if stub.stop_at is not None and len(body) > stub.stop_at:
                self.wfile.flush()
                stub.stopped.set()
                stub.closing.wait()

        def _dribble(self, content: bytes) -> None:
            for i in range(len(content)):
                self.wfile.write(content[i : i + 1])
                self.wfile.flush()
                if stub.closing.wait(DRIBBLE_S):
                    return

        def log_message(self, format: str, *args: object) -> None:
            """Write nothing to stderr, which belongs to the program under test."""

    return Handler


@contextlib.contextmanager
def raw_server(answer: Callable[[str], bytes | Iterable[bytes]]) -> Iterator[tuple[int, list[str]]]:
    """Send each request the bytes of `answer`, valid HTTP or not, and close; yield the port and the request lines.

    Args:
        answer: gets the first line of a request; returns the bytes to send, or pieces of them.
    """
    asked: list[str] = []

    def serve(client: socket.socket) -> None:
        with client.makefile("rb") as lines:
            asked.append(lines.readline().decode().strip())
            while lines.readline().strip():
                pass
        pieces = answer(asked[-1])
        for piece in [pieces] if isinstance(pieces, bytes) else pieces:
            client.sendall(piece)

    with raw_connections(serve) as port:
        yield port, asked


@contextlib.contextmanager
def raw_connections(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Call `serve` with each connection, in a thread of its own, and close it afterwards; yield the port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):  # the client may have seen enough
                serve(self.request)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@contextlib.contextmanager
def closed_port() -> Iterator[str]:
    """Yield a URL whose connections are refused: the port is bound, but nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@contextlib.contextmanager
def only_hub(pages: Mapping[str, Page], patch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """Play the hub, and let nothing but loopback be reached: the proxy for the rest is closed."""
    with Stub(pages) as stub, closed_port() as nowhere:
        patch.setenv("HF_ENDPOINT", stub.url)
        patch.setenv("HF_HUB_OFFLINE", "0")
        patch.setenv("HTTPS_PROXY", nowhere)
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield stub
