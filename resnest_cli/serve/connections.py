"""A connection of uvicorn's that does not wait forever for the head of a request.

uvicorn ends a connection that is idle after an answer; one whose head never ends, or never begins, it keeps. Beyond
`MAX_OPEN` connections a new one is closed at once: each holds an open file of this process, which has often 1,024.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio
    from asyncio import TimerHandle

HEAD_S = 10.0
MAX_OPEN = 960


class Connection(H11Protocol):
    """A connection that is closed `HEAD_S` seconds after it began to wait for the head of a request."""

    _limit: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn declares it
        """Begin."""
        super().connection_made(transport)
        if len(self.connections) > MAX_OPEN:
            transport.close()
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take what the client sends."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Go on to the next request."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop()
        elif self._limit is None and not self.transport.is_closing():
            self._limit = self.loop.call_later(HEAD_S, self.transport.close)

    def _stop(self) -> None:
        if self._limit:
            self._limit.cancel()
            self._limit = None
