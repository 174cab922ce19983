"""A request: one source on its way to its answer, and the future that somebody waits on.

In: a source, and what makes an answer of its row. Out: a future that is settled exactly once: with the answer, with a
failure when its time is over, or cancelled. Knows no queue and no engine.
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
import weakref
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from resnest_cli.errors import DeadlineExceeded
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from resnest_cli.pipeline.stream import Pixels, Row
    from resnest_cli.types import Source

Answer = TypeVar("Answer")


class Request(Generic[Answer]):
    """A source and its future; any thread may call any method.

    Args:
        source: what is asked about.
        finish: makes the answer of its row or failure.
        timeout: seconds from now; then the answer is a `DeadlineExceeded` failure.

    Attributes:
        future: the answer.
        pixels: the decoded image, once it is there.
        deadline: when its time is over, on `time.monotonic`'s clock.
    """

    def __init__(self, source: Source, finish: Callable[[Row | Failure], Answer], timeout: float = math.inf) -> None:
        self.source, self.timeout = source, timeout
        self.deadline = time.monotonic() + timeout
        self.future: Future[Answer] = Future()
        self.pixels: Pixels | None = None
        self._finish = finish
        self._lock = threading.Lock()
        self._is_settled = False

    def is_wanted(self) -> bool:
        """Return whether somebody still waits for the answer."""
        if self.future.cancelled():
            self._claim()  # tells it to those who `wait` for the future
        return not self.future.done()

    def begin(self) -> bool:
        """Return whether the answer is still wanted; if so, it cannot be cancelled any more."""
        with self._lock:
            return not self._is_settled and self._begin()

    def settle(self, outcome: Row | Failure) -> None:
        """Answer with a row or a failure, unless the request is settled or cancelled."""
        if self._claim():
            try:
                answer = self._finish(outcome)
            except Exception as error:  # noqa: BLE001 - it is raised where the answer is asked for
                self.future.set_exception(error)
            else:
                self.future.set_result(answer)

    def fail(self, error: Exception) -> None:
        """Raise `error` where the answer is asked for, unless the request is settled or cancelled."""
        if self._claim():
            self.future.set_exception(error)

    def expire(self) -> None:
        """Answer that the time is over."""
        error = DeadlineExceeded(f"not answered within {self.timeout:g} s.")
        self.settle(Failure.of(self.source.path, error))

    def _claim(self) -> bool:
        """Return True to the first who asks, unless the future is cancelled."""
        with self._lock:
            is_mine = not self._is_settled and self._begin()
            self._is_settled = True
            return is_mine

    def _begin(self) -> bool:
        return self.future.running() or self.future.set_running_or_notify_cancel()


class Deadlines:
    """A clock that expires requests whose time is over; it runs in a thread, from the first request on."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._number = itertools.count()  # of two equal deadlines the first comes first
        # The clock does not keep an answered request, and its image, until its deadline.
        self._waiting: list[tuple[float, int, weakref.ref[Request[Any]]]] = []
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def add(self, request: Request[Answer]) -> None:
        """Expire this request at its deadline."""
        with self._changed:
            heapq.heappush(self._waiting, (request.deadline, next(self._number), weakref.ref(request)))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="resnest deadlines")
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Stop the clock."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def _run(self) -> None:
        while (due := self._next()) is not None:
            request = due()
            if request is not None:
                request.expire()
            del request

    def _next(self) -> weakref.ref[Request[Any]] | None:
        """Wait for the next deadline; None once the clock is stopped."""
        with self._changed:
            while not self._is_closed:
                left = self._waiting[0][0] - time.monotonic() if self._waiting else None
                if left is not None and left <= 0:
                    return heapq.heappop(self._waiting)[2]
                self._changed.wait(left)
            return None
