"""Folders that are watched: each of their images is yielded once it is at rest, and again when it has changed.

In: names of folders. Out: sources, without an end. A file that is being written changes its size or its time; it is
yielded when both have stayed the same for a while. Notifications of the system, where there are any, only make the next
look come sooner: every look is at all files, so that a network drive is watched too. Does not know what has a row.
"""

from __future__ import annotations

import os
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from resnest_cli.errors import UsageError
from resnest_cli.inputs.find import find_sources
from resnest_cli.inputs.notified import Notified
from resnest_cli.inputs.selection import LeftOut
from resnest_cli.system.paths import look
from resnest_cli.types import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    State: TypeAlias = tuple[int, int]  # of a file: its bytes, and the time of its last change in ns

SETTLE_S = 1.0  # a file is at rest that has been the same for so long
PATIENCE_S = 60.0  # ... and one that could not be read: a slow copy may pause
OLD_S = 60.0  # at the first look a file is at rest that has not changed for so long; clocks of network drives differ
LOOK_S = 0.5  # between looks at the files that are not at rest
PAUSE_S = 0.05  # after a notification: many come together
IDLE, BUSY = 0.005, 0.2  # of a core, at most, for looks at all files: when nothing happens, and after a notification


@dataclass(frozen=True, slots=True)
class Moving:
    """A file that is not at rest: its state, since when it is in it, and for how long it must be."""

    state: State
    since: float
    patience: float = SETTLE_S


class Watch:
    """Watches folders.

    Args:
        folders: their names.
        recursive: look into folders of folders.
        exclude: patterns of what to leave out.

    Raises:
        UsageError: one is no folder.
    """

    def __init__(self, folders: Sequence[str], *, recursive: bool = True, exclude: Sequence[str] = ()) -> None:
        for name in folders:
            if not look(name).is_folder:
                raise UsageError(f"--watch: {name} is no folder that is there.")
        self._folders, self._recursive, self._exclude = folders, recursive, exclude
        self._resting: dict[str, State] = {}
        self._moving: dict[str, Moving] = {}
        self._held: dict[str, State] = {}
        self._back: deque[str] = deque()  # held by another thread

    def sources(self) -> Iterator[Source]:
        """Yield each image that is at rest; never ends."""
        with Notified(self._folders, recursive=self._recursive) as notified:
            due = soonest = 0.0  # of the next look at all files
            while True:
                begun = time.monotonic()
                if begun >= due:
                    self._look(is_first=not due)
                    now = time.monotonic()
                    due, soonest = (now + max(LOOK_S, (now - begun) / share) for share in (IDLE, BUSY))
                yield from self._settled()
                rest = max(0.0, due - time.monotonic())
                if notified.wait(min(rest, LOOK_S) if self._moving or self._back else rest):
                    due = min(due, soonest)
                    time.sleep(PAUSE_S)

    def hold(self, path: str) -> bool:
        """Return whether a file that could not be read will come again, if it is there: it may still be written.

        The second time in the same state it does not. From any thread.
        """
        state = self._resting.get(path)
        if state is None:  # it was gone at the last look, so that it comes again if it is back
            return True
        if self._held.get(path) == state and _state(path) == state:
            return False
        self._held[path] = state
        self._back.append(path)
        return True

    def _look(self, *, is_first: bool) -> None:
        """Look at all files, and note which are not at rest."""
        now, old, seen = time.monotonic(), time.time_ns() - int(OLD_S * 1e9), set()
        for item in find_sources(self._folders, recursive=self._recursive, exclude=self._exclude, left_out=LeftOut()):
            state = None if isinstance(item, Failure) else _state(item.path)
            if state is None:
                continue
            seen.add(item.path)
            if item.path not in self._moving and self._resting.get(item.path) != state:
                since = -PATIENCE_S if is_first and state[1] < old else now
                self._moving[item.path] = Moving(state, since)
        for path in self._resting.keys() - seen:
            del self._resting[path]

    def _settled(self) -> Iterator[Source]:
        """Yield the files that have come to rest."""
        now = time.monotonic()
        while self._back:
            path = self._back.popleft()
            if path in self._resting:
                self._moving[path] = Moving(self._resting.pop(path), now, PATIENCE_S)
        for path, moving in list(self._moving.items()):
            state = _state(path)
            if state is None:
                del self._moving[path]
            elif state != moving.state:
                self._moving[path] = Moving(state, now)
            elif now - moving.since >= moving.patience:
                self._resting[path] = state
                del self._moving[path]
                yield Source(path)


def _state(path: str) -> State | None:
    """Return the state of a file; None where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - as found
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns
