"""What stands before the routes: who may ask (Host, token), and one log line per request.

In: requests. Out: refusals, or what the routes answer. A page elsewhere cannot read answers: no CORS header
is sent, and a name that somebody points at this machine (DNS rebinding) is refused. Knows no route but those that
tell nothing.
"""

from __future__ import annotations

import hmac
import json
import logging
import time
from dataclasses import asdict, dataclass
from http import HTTPStatus
from ipaddress import ip_address
from socket import gethostname
from typing import TYPE_CHECKING, Protocol

from starlette.datastructures import Headers

from resnest_cli.errors import UsageError, message_of
from resnest_cli.serve import page
from resnest_cli.serve.problems import CLIENT_GONE, Problem
from resnest_cli.system import files
from resnest_cli.text.terminal import one_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from resnest_cli.serve.metrics import Metrics
    from resnest_cli.serve.options import ServeOptions

OPEN = {"/v2/health/live", "/v2/health/ready", *page.FILES}  # they tell nothing, and have no token
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
MIN_TOKEN, MAX_TOKEN = 16, 4096  # characters

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Line:
    """What is logged of a request: `ms` is its time here, `images` how many it had."""

    method: str
    path: str
    status: int
    ms: float
    images: int

    def text(self) -> str:
        """Return the line for people."""
        return one_line(f"{self.method} {self.path} {self.status} {self.ms:.1f} ms, {self.images} images")

    def json(self) -> str:
        """Return the line for programs."""
        return json.dumps(asdict(self))


class State(Protocol):
    """What a server says of itself."""

    def is_ready(self) -> bool:
        """Return whether requests are taken."""

    def is_full(self) -> bool:
        """Return whether there are more connections than are answered."""


class Guard:
    """The application around the routes.

    Args:
        app: the routes.
        settings: the address and the token file.
        metrics: counts the requests.
        state: whether the server goes on, and has too many connections; then answers end theirs.
        write: takes each log line.

    Raises:
        UsageError: the token file cannot be read, or has no token.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: ServeOptions,
        metrics: Metrics,
        state: State,
        write: Callable[[str], None],
    ) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics
        self._state, self._write = state, write
        self._token = token(settings.token_file) if settings.token_file else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        begun, status = time.perf_counter(), CLIENT_GONE
        scope["state"] = {"images": 0}

        async def noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            if message["type"] == "http.response.start" and (self._state.is_full() or not self._state.is_ready()):
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        try:
            await self._answer(scope, receive, noted)
        finally:
            ms = round((time.perf_counter() - begun) * 1000, 1)
            line = Line(scope["method"], scope["path"], status, ms, scope["state"]["images"])
            route = getattr(scope.get("endpoint"), "__name__", "none")  # a path would be a client's word
            self._metrics.requests.labels(route, status).inc()
            self._write(line.json() if self._settings.log == "json" else line.text())

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._check(Headers(scope=scope), scope["path"])
            await self._app(scope, receive, send)
        except Problem as problem:
            await problem.response()(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - a bug must not end up in a response, and costs this request only
            _log.error("%s", one_line(f"a bug, please report it: {type(error).__name__}: {error}"))

    def _check(self, headers: Headers, path: str) -> None:
        """Raise what refuses a request."""
        if self._state.is_full() and path not in OPEN:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "there are too many connections: retry later.")
        if not (self._settings.unix or is_own(headers.get("host", ""), self._settings.host)):
            message = "the Host header names another machine: ask by the address that the server listens on."
            raise Problem(HTTPStatus.MISDIRECTED_REQUEST, message)
        given = headers.get("authorization", "").encode("latin-1")
        if self._token and path not in OPEN and not hmac.compare_digest(given, b"Bearer " + self._token):
            message = "a token is needed: send Authorization: Bearer TOKEN."
            raise Problem(HTTPStatus.UNAUTHORIZED, message, {"WWW-Authenticate": "Bearer"})


def is_own(header: str, host: str) -> bool:
    """Return whether a Host header names this server.

    A server on all addresses has any of them: an address cannot be pointed elsewhere as a name can.
    """
    name = header.rpartition(":")[0] if header.rpartition(":")[2].isdecimal() else header
    name = name.removeprefix("[").removesuffix("]").lower()
    if name in LOOPBACK or name == host.lower():
        return True
    return is_wildcard(host) and (name == gethostname().lower() or _is_address(name))


def is_wildcard(host: str) -> bool:
    """Return whether a host stands for all addresses of this machine."""
    return _is_address(host) and ip_address(host).is_unspecified


def _is_address(text: str) -> bool:
    try:
        return bool(ip_address(text))
    except ValueError:
        return False


def token(path: Path) -> bytes:
    """Return the token of a file.

    Raises:
        UsageError: it cannot be read, or has no token.
    """
    try:
        found = files.read(path, MAX_TOKEN).strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"--token-file {path}: it cannot be read: {message_of(error)}.") from error
    if len(found) < MIN_TOKEN or not found.isascii() or len(found.split()) > 1:
        raise UsageError(
            f"--token-file {path}: it needs a token of {MIN_TOKEN} characters: openssl rand -hex 32 > {path}"
        )
    return found
