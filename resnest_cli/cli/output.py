"""What a person sees: tables, facts, notes and bars, by rich. Text from outside is made harmless first.

The one door to rich; commands import this module in their bodies. A table fits the width of the screen: text wraps, or
each row becomes a list of names and values.
"""

from __future__ import annotations

import os
import shutil
import sys
from functools import lru_cache
from typing import IO, TYPE_CHECKING, TypeVar

from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.padding import Padding
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
from rich.table import Table
from rich.text import Text

from resnest_cli.text.terminal import one_line, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rich.console import ConsoleOptions, RenderableType, RenderResult
    from rich.progress import ProgressColumn
    from rich.status import Status

_Item = TypeVar("_Item")
BAR_WIDTH = 20
GAP = 2  # between columns
LEAST_WIDTH = 20  # of a screen: a smaller one, or 0, does not know its width
LEAST_TEXT, LEAST_VALUE = 16, 20  # columns that text needs beside others
ROOM_FOR_BARS = 60  # columns of a screen


@lru_cache(maxsize=2)
def console(stream: IO[str]) -> Console:
    """Return the one console of `stream`: two would write over each other's bars. It reads no emoji and no markup."""
    return _HarmlessConsole(file=stream, markup=False, emoji=False, highlight=False, width=_columns())


def print_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numeric: Iterable[int] = (),
    stream: IO[str] | None = None,
) -> None:
    """Print a table, to stdout by default; see `table`."""
    console(stream or sys.stdout).print(table(headings, rows, numeric=numeric))


def print_facts(rows: Iterable[tuple[str, str]], stream: IO[str] | None = None) -> None:
    """Print names and values, to stdout by default; see `facts`."""
    console(stream or sys.stdout).print(facts(rows))


def print_paragraphs(paragraphs: Iterable[Sequence[str]]) -> None:
    """Print a title and lines for each to stdout, as it comes; nothing wraps."""
    for title, *lines in paragraphs:
        console(sys.stdout).print(Shown(title, "bold"), soft_wrap=True)
        for line in lines:
            console(sys.stdout).print(Shown(line), soft_wrap=True)


def print_note(text: str) -> None:
    """Print a note below a table."""
    console(sys.stdout).print(Text(f"\nNote: {text}", "dim"))


class _HarmlessConsole(Console):
    """Rich's console; only rich moves the cursor, no text does.

    `Shown` escapes text earlier, and so measures its true width. Links and colors are rich's own.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of what is printed."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.replace("\n", "").isprintable():
                yield segment
            else:
                yield Segment(printable(segment.text, self.encoding), segment.style)


class Shown:
    """Text from outside, made harmless, in the encoding of the console that prints it."""

    def __init__(self, text: str, style: str = "") -> None:
        self._text, self._style = text, style

    def __rich_console__(self, out: Console, options: ConsoleOptions) -> RenderResult:
        """Yield rich's text."""
        yield self._as_text(options)

    def __rich_measure__(self, out: Console, options: ConsoleOptions) -> Measurement:
        """Measure the escaped text."""
        return Measurement.get(out, options, self._as_text(options))

    def _as_text(self, options: ConsoleOptions) -> Text:
        return Text(one_line(self._text, options.encoding), self._style)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, numeric: Iterable[int] = ()) -> RenderableType:
    """Return a plain table; columns in `numeric` are aligned right, and never wrap."""
    return _Table(headings, rows, numeric)


def facts(rows: Iterable[tuple[str, str]]) -> RenderableType:
    """Return names with values beside them, or below them on a narrow screen; long values wrap."""
    return _Facts(rows)


def grid() -> Table:
    """Return a table of rich's without borders and headings."""
    return Table(box=None, show_header=False, pad_edge=False, padding=(0, GAP, 0, 0))


class _Table:
    def __init__(self, headings: Sequence[str], rows: Iterable[Sequence[str]], numeric: Iterable[int]) -> None:
        self._headings, self._rows, self._numeric = headings, [list(row) for row in rows], set(numeric)

    def __rich_console__(self, out: Console, options: ConsoleOptions) -> RenderResult:
        """Lay the table out for the width of the screen."""
        columns = zip(self._headings, *self._rows, strict=True)
        widths = [max(cell_len(one_line(cell, options.encoding)) for cell in column) for column in columns]
        least = [width if i in self._numeric else min(width, LEAST_TEXT) for i, width in enumerate(widths)]
        if sum(least) + GAP * (len(least) - 1) <= options.max_width:
            yield self._side_by_side()
            return
        for row in self._rows:
            named = zip(self._headings[1:], row[1:], strict=True)
            yield Shown(row[0], "bold")
            yield Padding(facts((name, value) for name, value in named if value), (0, 0, 0, GAP), expand=False)

    def _side_by_side(self) -> Table:
        made = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
        for i, heading in enumerate(self._headings):
            number = i in self._numeric
            made.add_column(heading, justify="right" if number else "left", no_wrap=number, overflow="fold")
        for row in self._rows:
            made.add_row(*map(Shown, row))
        return made


class _Facts:
    def __init__(self, rows: Iterable[tuple[str, str]]) -> None:
        self._rows = list(rows)

    def __rich_console__(self, out: Console, options: ConsoleOptions) -> RenderResult:
        """Lay the facts out for the width of the screen."""
        names, values = (max((cell_len(row[i]) for row in self._rows), default=0) for i in (0, 1))
        if names + GAP + min(values, LEAST_VALUE) <= options.max_width:
            yield self._side_by_side()
            return
        for name, value in self._rows:
            yield Shown(name, "bold")
            yield Padding(Shown(value), (0, 0, 0, GAP), expand=False)

    def _side_by_side(self) -> Table:
        made = grid()
        made.add_column(style="bold", no_wrap=True)
        made.add_column(overflow="fold")
        for name, value in self._rows:
            made.add_row(Shown(name), Shown(value))
        return made


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
