"""What a person sees: tables, bars and notes, by rich. Names that come from outside are made harmless first.

The one door to rich; commands import this module in their bodies. A table fits the width it finds: its text wraps,
or each row stands as a list of names and values. Nothing is cut but the front of a long path.
"""

from __future__ import annotations

import os
import shutil
from functools import lru_cache
from typing import IO, TYPE_CHECKING, TypeVar

from rich.bar import Bar
from rich.cells import cell_len
from rich.console import Console, Group
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
from resnest_cli.types import Failure, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rich.console import ConsoleOptions, RenderableType, RenderResult
    from rich.progress import ProgressColumn
    from rich.status import Status

    from resnest_cli.types import Prediction, Record

_Item = TypeVar("_Item")
BAR_WIDTH = 20
GAP = 2  # between columns
LEAST_WIDTH = 20  # of a screen: one that is smaller, or says 0, does not know its width
LEAST_TEXT, LEAST_VALUE = 16, 20  # columns that text must have to be read beside others
ROOM_FOR_BARS, ROOM_FOR_WNIDS, ROOM_FOR_MARGINS = 60, 50, 40  # columns of a screen, from which on it has these
WIDEST_LABEL = 30  # of a class in the line of an image: all of ImageNet's fit
NO_CLASS = "no class reaches the threshold"


@lru_cache(maxsize=2)
def console(stream: IO[str]) -> Console:
    """Return the console on `stream`: one for all, or a bar and a table on one terminal would write over each other.

    It neither guesses at emoji nor reads markup in what it prints.
    """
    return _Harmless(file=stream, markup=False, emoji=False, highlight=False, width=_columns())


class _Harmless(Console):
    """Rich's, which moves the cursor by itself, and lets no text do so: whatever it prints goes through here.

    `Shown` knows earlier, and so how wide it is. Links and colours are rich's own, never those of a text.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of what is printed."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.replace("\n", "").isprintable():
                yield segment
            else:
                yield Segment(printable(segment.text, self.encoding), segment.style)


def print_records(records: Iterable[Record], out: Console, *, single: bool = False) -> None:
    """Print each record as it comes: a ranked list with bars, or what went wrong; `single` ones on a line each."""
    for record in records:
        if single and out.width >= ROOM_FOR_MARGINS:
            out.print(_line(record, out))
        else:
            out.print(_answer(record, out) if isinstance(record, Result) else _failure(record, out))


class Shown:
    """Text from outside, made harmless, and possible in the encoding of the console that prints it."""

    def __init__(self, text: str, style: str = "") -> None:
        self._text, self._style = text, style

    def __rich_console__(self, out: Console, options: ConsoleOptions) -> RenderResult:
        """Yield it as rich's text."""
        yield self._as_text(options)

    def __rich_measure__(self, out: Console, options: ConsoleOptions) -> Measurement:
        """Measure what will be printed."""
        return Measurement.get(out, options, self._as_text(options))

    def _as_text(self, options: ConsoleOptions) -> Text:
        return Text(one_line(self._text, options.encoding), self._style)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, numeric: Iterable[int] = ()) -> RenderableType:
    """Make a plain table; columns in `numeric` are aligned right, and never wrapped."""
    return _Table(headings, rows, numeric)


def facts(rows: Iterable[tuple[str, str]]) -> RenderableType:
    """Put names and values side by side; long values wrap, and stand below their names where the width is small."""
    return _Facts(rows)


class _Table:
    def __init__(self, headings: Sequence[str], rows: Iterable[Sequence[str]], numeric: Iterable[int]) -> None:
        self._headings, self._rows, self._numeric = headings, [list(row) for row in rows], set(numeric)

    def __rich_console__(self, out: Console, options: ConsoleOptions) -> RenderResult:
        """Lay it out for the width there is."""
        columns = zip(self._headings, *self._rows, strict=True)
        widths = [max(cell_len(one_line(cell, options.encoding)) for cell in column) for column in columns]
        least = [width if i in self._numeric else min(width, LEAST_TEXT) for i, width in enumerate(widths)]
        if sum(least) + GAP * (len(least) - 1) <= options.max_width:
            yield self._side_by_side()
        else:
            for row in self._rows:
                yield Shown(row[0], "bold")
                yield Padding(facts(_filled(self._headings[1:], row[1:])), (0, 0, 0, GAP), expand=False)

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
        """Lay them out for the width there is."""
        names, values = (max((cell_len(row[i]) for row in self._rows), default=0) for i in (0, 1))
        if names + GAP + min(values, LEAST_VALUE) <= options.max_width:
            yield self._side_by_side()
        else:
            for name, value in self._rows:
                yield Shown(name, "bold")
                yield Padding(Shown(value), (0, 0, 0, GAP), expand=False)

    def _side_by_side(self) -> Table:
        made = Table(box=None, show_header=False, pad_edge=False, padding=(0, GAP, 0, 0))
        made.add_column(style="bold", no_wrap=True)
        made.add_column(overflow="fold")
        for name, value in self._rows:
            made.add_row(Shown(name), Shown(value))
        return made


def _filled(names: Iterable[str], values: Iterable[str]) -> Iterator[tuple[str, str]]:
    return ((name, value) for name, value in zip(names, values, strict=True) if value)


def _columns() -> int | None:
    """Return the width that COLUMNS asks for, but not one that nothing fits into; None: the terminal's."""
    given = os.environ.get("COLUMNS", "")
    return max(LEAST_WIDTH, shutil.get_terminal_size().columns) if given.isdecimal() else None


def bar(items: Iterable[_Item], total: Callable[[], int | None], what: str, out: Console) -> Iterator[_Item]:
    """Follow a stream with a bar: `what`, how many, how many a second, how long still. It vanishes at the end.

    `total` is asked until it knows.
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
    """Show what is being done, beside something that turns; it vanishes at the end."""
    return out.status(what, spinner="line" if out.options.ascii_only else "dots")


def progress(out: Console, *numbers: ProgressColumn) -> Progress:
    """Make a display that vanishes: what is done, a bar, and `numbers`; on a narrow screen only the first of these."""
    what, ascii_only = TextColumn("{task.description}", markup=False), out.options.ascii_only
    if out.width < ROOM_FOR_BARS:
        return Progress(what, numbers[0], console=out, transient=True)
    spinner = SpinnerColumn("line" if ascii_only else "dots")
    return Progress(spinner, what, BarColumn(BAR_WIDTH), *numbers, console=out, transient=True)


class DownloadBar:
    """Follows one download at a time with a bar that vanishes at its end: how much, how fast, how long still."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._display: Progress | None = None

    def follow(self, name: str) -> Callable[[int, int], None]:
        """Return what is to be called with the bytes so far, and in all (0 if that is not known)."""

        def watch(done: int, total: int) -> None:
            display = self._display or self._start(name)
            display.update(display.task_ids[0], completed=done, total=total or None)

        return watch

    def stop(self) -> None:
        """Take the bar away."""
        if self._display:
            self._display.stop()
            self._display = None

    def _start(self, name: str) -> Progress:
        self._display = progress(self._out, DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        self._display.add_task(name, total=None)
        self._display.start()
        return self._display


def _answer(result: Result, out: Console) -> RenderableType:
    """Rank the classes; a bar takes what the name does not need, and the WordNet id is there if there is room."""
    bar_width = min(BAR_WIDTH, out.width - ROOM_FOR_BARS)
    has_wnids = out.width >= ROOM_FOR_WNIDS and any(prediction.wnid for prediction in result.predictions)
    roomy = out.width >= ROOM_FOR_MARGINS
    rows = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2 if roomy else 1, 0, 0), expand=True)
    rows.add_column(justify="right", width=3 if roomy else None, style="dim", no_wrap=True)
    rows.add_column(ratio=1, overflow="fold")
    if has_wnids:
        rows.add_column(width=9, style="dim")
    rows.add_column(justify="right", width=7, no_wrap=True)
    if bar_width > 0:
        rows.add_column(width=bar_width)
    for prediction in result.predictions:
        wnid = [Shown(prediction.wnid or "")] if has_wnids else []
        style = _style(prediction)
        bars = [_probability_bar(prediction, bar_width, out)] if bar_width > 0 else []
        label, share = Shown(prediction.label, style), Text(_share(prediction), style)
        rows.add_row(str(prediction.rank), label, *wnid, share, *bars)
    empty = [] if result.predictions else [Text(f"    {NO_CLASS}", "dim")]
    return Group(Shown(result.path, "bold"), rows, *empty)


def _style(prediction: Prediction) -> str:
    return "bold green" if prediction.rank == 1 else ""


def _share(prediction: Prediction) -> str:
    return f"{prediction.probability:.2%}"


def _probability_bar(prediction: Prediction, width: int, out: Console) -> RenderableType:
    if out.options.ascii_only:
        return Text("#" * round(prediction.probability * width))
    return Bar(1, 0, prediction.probability, width=width, color="green" if prediction.rank == 1 else "blue")


def _failure(record: Failure, out: Console) -> RenderableType:
    indented = (0, 0, 0, 4) if out.width >= ROOM_FOR_MARGINS else (0, 0, 0, 1)
    return Group(Shown(record.path, "bold"), Padding(_reason(record, out), indented, expand=False))


def _reason(record: Failure, out: Console) -> Text:
    return Text.assemble((record.type, "bold red"), ": ", one_line(record.message, out.encoding))


def _line(record: Record, out: Console) -> RenderableType:
    """Put an image into one line: its name, its class, the probability; what failed, or long class names, may wrap."""
    room = out.width - 2 * GAP - 7
    label = min(WIDEST_LABEL, room // 2)
    row = Table(box=None, show_header=False, pad_edge=False, padding=(0, GAP, 0, 0))
    row.add_column(width=room - label, no_wrap=True)
    path = Text(_end_of(one_line(record.path, out.encoding), room - label, "..." if out.options.ascii_only else "…"))
    if isinstance(record, Failure):
        row.add_column(width=label + GAP + 7, overflow="fold")
        row.add_row(path, _reason(record, out))
        return row
    row.add_column(width=label, overflow="fold")
    row.add_column(width=7, justify="right", no_wrap=True)
    best = record.predictions[0] if record.predictions else None
    row.add_row(path, *((Shown(best.label, _style(best)), _share(best)) if best else (Text(NO_CLASS, "dim"), "")))
    return row


def _end_of(text: str, width: int, dots: str) -> str:
    """Cut a path in front: its end tells most."""
    if cell_len(text) <= width:
        return text
    while cell_len(dots) + cell_len(text) > width and text:
        text = text[1:]
    return dots + text
