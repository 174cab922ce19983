"""A web server on loopback that plays a Hugging Face hub, or any site: it serves pages, keeps a log, fails as told."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from typing_extensions import Self


@dataclass(frozen=True)
class Page:
    """What one path answers."""

    content: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class Stub:
    """Serves `pages` (path -> Page, 404 elsewhere) while used as a context manager, and logs "METHOD /path" lines.

    The next `cuts` bodies are promised whole, sent by half and hung up on.
    """

    def __init__(self, pages: Mapping[str, Page] | None = None) -> None:
        self.pages = dict(pages or {})
        self.cuts = 0
        self.log: list[str] = []
        self.headers: list[dict[str, str]] = []  # of each logged request, names in lower case
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Self:
        """Start to serve."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop, and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def repository(name: str, files: Mapping[str, bytes], revision: str = "main") -> dict[str, Page]:
    """Give the pages of a hub that has this repository, with the headers that huggingface_hub asks for."""
    commit = commit_of(name, revision)
    return {
        f"/{name}/resolve/{revision}/{filename}": Page(content, headers=_hub_headers(content, commit))
        for filename, content in files.items()
    }


def commit_of(name: str, revision: str = "main") -> str:
    """Give the commit that `revision` stands for: 40 hex digits, as git has them."""
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


def _handler(stub: Stub) -> type[BaseHTTPRequestHandler]:
    """Make the handler class of one stub; HTTP/1.0, so that a connection ends with its answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_POST(self) -> None:  # what a client that reports home would send
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            stub.log.append(f"{self.command} {self.path}")
            stub.headers.append({name.lower(): value for name, value in self.headers.items()})
            page = stub.pages.get(self.path, Page(b"not here", status=404))
            status, body, more = page.status, page.content, {}
            first = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if first and status == 200:
                start = int(first[1])
                status, body = 206, page.content[start:]
                more = {"Content-Range": f"bytes {start}-{len(page.content) - 1}/{len(page.content)}"}
            self.send_response(status)
            for name, value in {**page.headers, **more, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                if stub.cuts:
                    stub.cuts -= 1
                    body = body[: len(body) // 2]
                with contextlib.suppress(OSError):  # the client may have seen enough
                    self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Write nothing to stderr, which belongs to the program under test."""

    return Handler


@contextlib.contextmanager
def closed_port() -> Iterator[str]:
    """Give a URL whose connections are refused: the port is taken, but nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"
