"""Signals that ask a run to end: the first ends it between two steps with a checkpoint, the second ends it at once.

In: SIGINT, SIGTERM and SIGHUP. Out: the number of the one that came. Knows nothing of what runs.
"""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

from resnest_cli.errors import ExitCode, TrainingStopped

if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from typing_extensions import Self

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class Signals:
    """A context that catches the first signal: `number` is 0 until then.

    It catches none if not `wanted` (one of several processes must end at once: the others would wait for it), nor
    outside the main thread.
    """

    def __init__(self, *, wanted: bool = True) -> None:
        self.wanted = wanted and threading.current_thread() is threading.main_thread()
        self.number = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Install handlers, except for signals that are ignored (nohup)."""
        if self.wanted:
            numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
            self._before = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) is not signal.SIG_IGN}
        for each in self._before:
            signal.signal(each, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore the handlers of before."""
        for each, handler in self._before.items():
            signal.signal(each, handler)
        self._before = {}

    def stopped(self, where: str) -> TrainingStopped:
        """Return the error that ends the run with this signal's exit code."""
        name = signal.Signals(self.number).name
        return TrainingStopped(
            f"stopped by {name} {where}; a checkpoint of it is written.", ExitCode(128 + self.number)
        )

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.number == 0:
            self.number = number
        else:
            raise TrainingStopped("stopped at once; the last good checkpoint stands.", ExitCode(128 + number))
