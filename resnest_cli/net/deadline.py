"""The end of an exchange, as a point in time. Standard library only."""

from __future__ import annotations

import time


class Deadline:
    """A point in time, `seconds` from now or from the last `restart`; `message` says that it has passed."""

    def __init__(self, seconds: float, message: str = "it took longer than {:.3g} s") -> None:
        self.seconds = seconds
        self.message = message.format(seconds)
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds that remain, not below 0."""
        return max(0.0, self._end - time.monotonic())

    def restart(self) -> None:
        """Count `seconds` from now."""
        self._end = time.monotonic() + self.seconds
