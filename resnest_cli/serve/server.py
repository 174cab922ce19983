"""The process of a server: opens the models, listens, and ends at a signal.

In: settings. Out: an exit code. At SIGTERM, SIGINT and SIGHUP it stops to listen, answers the requests that are here,
and ends; at a second signal it ends at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from resnest_cli.errors import ExitCode
from resnest_cli.serve import app, models, sockets
from resnest_cli.serve.connections import Connection
from resnest_cli.serve.explaining import Explaining
from resnest_cli.serve.guard import Guard
from resnest_cli.serve.metrics import Metrics

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from starlette.types import ASGIApp

    from resnest_cli.options import Options
    from resnest_cli.serve.models import Models
    from resnest_cli.serve.options import ServeOptions

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
MAX_CONNECTIONS = 900  # whose requests are answered; see `connections.MAX_OPEN`
LOGGERS = ("uvicorn.error", "python_multipart")  # they warn of each malformed request, in lines of their own
HEADERS = [("X-Content-Type-Options", "nosniff"), ("Cache-Control", "no-store")]


def run(settings: ServeOptions, options: Options, say: Callable[[str], None], write: Callable[[str], None]) -> ExitCode:
    """Serve until a signal comes, and return the exit code.

    Args:
        settings: where to listen, and the limits.
        options: how all models run.
        say: takes notes on the start.
        write: takes a line per request.

    Raises:
        UsageError: the address cannot be listened on, or the token file has no token.
        ResnestError: a model cannot be opened.
    """
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    metrics = Metrics()
    with sockets.bound(settings) as listener, models.opened(settings, options, metrics) as found:
        server = Server(found, settings, metrics, write)
        for model in found.values():
            say(model.words("answers"))
        listener.listen()  # who connects from now on is answered
        say(f"listening on {sockets.words(listener)}")
        asyncio.run(server.serve([listener]))
    return ExitCode(128 + server.signal) if server.signal else ExitCode.FAILED


class Server(uvicorn.Server):
    """uvicorn's server, with our signals: its own would outlive the house's limit for an end.

    Attributes:
        signal: the one that ends it; 0 before.
    """

    def __init__(self, opened: Models, settings: ServeOptions, metrics: Metrics, write: Callable[[str], None]) -> None:
        self.signal = 0
        self._explaining = Explaining()
        routes = app.make(opened, settings, metrics, self._explaining, self.is_ready)
        super().__init__(config(Guard(routes, settings, metrics, self, write), settings))

    def is_ready(self) -> bool:
        """Return whether requests are taken."""
        return not self.should_exit

    def is_full(self) -> bool:
        """Return whether there are more connections than are answered."""
        return len(self.server_state.connections) > MAX_CONNECTIONS

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals in the event loop while the server runs; those that are ignored stay so."""
        loop, handled = asyncio.get_running_loop(), []
        if threading.current_thread() is threading.main_thread():
            handled = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        for number in handled:
            loop.add_signal_handler(number, self.stop, number)
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer the requests that are here, and end."""
        await super().shutdown(sockets)
        self._explaining.close()

    def stop(self, number: int) -> None:
        """End at a signal: the first time when all is answered, the second time at once."""
        if self.signal:
            os._exit(128 + number)
        self.signal, self.should_exit = number, True


def config(guarded: ASGIApp, settings: ServeOptions) -> uvicorn.Config:
    """Return uvicorn's settings: it logs nothing of its own, and waits for nobody longer than a request may take."""
    return uvicorn.Config(
        guarded,
        loop="asyncio",
        http=Connection,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        headers=HEADERS,
        timeout_graceful_shutdown=round(2 * settings.timeout) + 1,  # to arrive, and to be answered
    )
