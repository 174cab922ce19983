"""What moves on a screen: bars and spinners, by rich. Text from outside is made harmless.

The one door to rich; commands import this module in their bodies. What stands still is text of `text.layout`.
"""

from __future__ import annotations

import os
import shutil
from functools import lru_cache
from typing import IO, TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.segment import Segment

from resnest_cli.text.layout import LEAST_WIDTH
from resnest_cli.text.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.console import ConsoleOptions, RenderableType
    from rich.progress import ProgressColumn
    from rich.status import Status

_Item = TypeVar("_Item")
BAR_WIDTH = 20
ROOM_FOR_BARS = 60  # columns of a screen


@lru_cache(maxsize=2)
def console(stream: IO[str]) -> Console:
    """Return the one console of `stream`: two would write over each other's bars. It reads no emoji and no markup."""
    return _HarmlessConsole(file=stream, markup=False, emoji=False, highlight=False, width=_columns())


class _HarmlessConsole(Console):
    """Rich's console; only rich moves the cursor, no text does."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of what is printed."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.replace("\n", "").isprintable():
                yield segment
            else:
                yield Segment(printable(segment.text, self.encoding), segment.style)


def bar(items: Iterable[_Item], total: Callable[[], int | None], what: str, out: Console) -> Iterator[_Item]:
    """Yield the items, with a bar: `what`, how many, items per second, time left. It vanishes at the end.

    `total` is called until it returns a number.
    """
    columns = (MofNCompleteColumn(), TextColumn("{task.fields[rate]}", markup=False), TimeRemainingColumn())
    with progress(out, *columns) as display:
        task = display.add_task(what, total=total(), rate="")
        for item in items:
            yield item
            if display.tasks[0].total is None:
                display.update(task, total=total())
            display.advance(task)
            if speed := display.tasks[0].speed:
                display.update(task, rate=f"{speed:.1f}/s")


def status(what: str, out: Console) -> Status:
    """Show `what` beside a spinner; it vanishes at the end."""
    return out.status(what, spinner="line" if out.options.ascii_only else "dots")


def progress(out: Console, *numbers: ProgressColumn) -> Progress:
    """Return a display that vanishes: a description, a bar, and `numbers`; on a narrow screen only the first number."""
    what, ascii_only = TextColumn("{task.description}", markup=False), out.options.ascii_only
    if out.width < ROOM_FOR_BARS:
        return Progress(what, numbers[0], console=out, transient=True)
    spinner = SpinnerColumn("line" if ascii_only else "dots")
    return Progress(spinner, what, BarColumn(BAR_WIDTH), *numbers, console=out, transient=True)


class DownloadBar:
    """A bar for one download at a time, which vanishes at its end: bytes, bytes per second, time left."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._display: Progress | None = None

    def follow(self, name: str) -> Callable[[int, int], None]:
        """Return the function to call with the bytes so far and in all (0: not known)."""

        def watch(done: int, total: int) -> None:
            display = self._display or self._start(name)
            display.update(display.task_ids[0], completed=done, total=total or None)

        return watch

    def stop(self) -> None:
        """Remove the bar."""
        if self._display:
            self._display.stop()
            self._display = None

    def _start(self, name: str) -> Progress:
        self._display = progress(self._out, DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        self._display.add_task(name, total=None)
        self._display.start()
        return self._display


def _columns() -> int | None:
    """Return the width that COLUMNS asks for, at least `LEAST_WIDTH`; None: the terminal's."""
    given = os.environ.get("COLUMNS", "")
    return max(LEAST_WIDTH, shutil.get_terminal_size().columns) if given.isdecimal() else None
