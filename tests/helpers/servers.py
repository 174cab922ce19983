"""A server on loopback, in this process, and what asks it."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

from resnest_cli import FakeEngine, Options
from resnest_cli.serve import models, sockets
from resnest_cli.serve.metrics import Metrics
from resnest_cli.serve.options import ServeOptions
from resnest_cli.serve.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from email.message import Message

    import numpy as np
    from numpy.typing import NDArray

LIMIT_S = 60


class Gated(FakeEngine):
    """Answers when its gate is open; `begun` counts the batches that have come."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.begun = threading.Event(), threading.Semaphore(0)
        self.gate.set()

    def answer(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Wait, and answer."""
        self.begun.release()
        assert self.gate.wait(LIMIT_S)
        return super().answer(batch)

    def shut(self) -> None:
        """Close the gate, and forget the batches so far."""
        self.gate.clear()
        while self.begun.acquire(blocking=False):
            pass


@dataclass
class Served:
    """A server that runs: its port and log lines."""

    port: int
    lines: list[str]
    server: Server

    def connect(self) -> HTTPConnection:
        """Return a connection."""
        return HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Return the answer to a request on a connection of its own."""
        connection = self.connect()
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def predict(self, body: bytes, query: str = "", **headers: str) -> Answer:
        """Return the answer to one image."""
        return self.ask("POST", f"/predict{query}", body, headers)


@dataclass
class Answer:
    """A response."""

    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever JSON holds
        """The body's value."""
        return json.loads(self.body)

    @property
    def problem(self) -> tuple[int, str]:
        """The status and detail of a problem document, checked to be one."""
        assert self.headers["content-type"] == "application/problem+json"
        said = self.json
        assert (said["type"], said["status"], said["error"]) == ("about:blank", self.status, said["detail"])
        return self.status, said["detail"]


@contextmanager
def serving(
    engine: FakeEngine | None = None,
    workers: int = 0,
    options: Mapping[str, Any] | None = None,
    **changes: Any,  # noqa: ANN401 - fields of ServeOptions
) -> Iterator[Served]:
    """Serve digits on a free port; `options` are more fields of its `Options`."""
    settings = ServeOptions(**{"port": 0, "max_batch": 1, **changes})
    lines: list[str] = []
    metrics, how = Metrics(), Options("digits", workers=workers, **options or {})
    with models.open_one(settings, how, metrics, engine) as model, sockets.bound(settings) as listener:
        listener.listen()  # who connects before the thread begins waits
        port = listener.getsockname()[1]
        server = Server({"digits": model}, settings, metrics, lines.append)
        thread = threading.Thread(target=asyncio.run, args=(server.serve([listener]),))
        thread.start()
        try:
            yield Served(port, lines, server)
        finally:
            server.should_exit = True
            thread.join(LIMIT_S)
            assert not thread.is_alive()


def multipart(*images: tuple[str, bytes], boundary: str = "b0undary") -> tuple[bytes, str]:
    """Return a multipart body of named images, and its content type."""
    body = b""
    for name, content in images:
        named = f'Content-Disposition: form-data; name="image"; filename="{name}"' if name else "X: y"
        body += f"--{boundary}\r\n{named}\r\n\r\n".encode() + content + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"
