"""What a person sees: tables, bars and notes, by rich. Names that come from outside are made harmless first.

The one door to rich; commands import this module in their bodies.
"""

from __future__ import annotations

from functools import lru_cache
from typing import IO, TYPE_CHECKING, TypeVar

from rich.bar import Bar
from rich.console import Console, Group
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
from rich.table import Table
from rich.text import Text

from resnest_cli.cli.text import one_line
from resnest_cli.types import Failure, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rich.console import RenderableType

    from resnest_cli.types import Prediction, Record

_Item = TypeVar("_Item")
BAR_WIDTH = 20


@lru_cache(maxsize=2)
def console(stream: IO[str]) -> Console:
    """Give the console on `stream`: one for all, or a bar and a table on the same terminal would write over each other.

    It neither guesses at emoji nor reads markup in what it prints.
    """
    return Console(file=stream, markup=False, emoji=False, highlight=False)


def print_records(records: Iterable[Record], out: Console) -> None:
    """Print each record as it comes: a ranked list with bars, or what went wrong."""
    for record in records:
        out.print(_answer(record, out) if isinstance(record, Result) else _failure(record))


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, numeric: Iterable[int] = ()) -> Table:
    """Make a plain table; columns in `numeric` are aligned right."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for i, heading in enumerate(headings):
        made.add_column(heading, justify="right" if i in set(numeric) else "left", no_wrap=True)
    for row in rows:
        made.add_row(*(Text(one_line(cell)) for cell in row))
    return made


def facts(rows: Iterable[tuple[str, str]]) -> Table:
    """Make a two-column table of names and values; long values wrap."""
    made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows:
        made.add_row(name, Text(one_line(value)))
    return made


def bar(items: Iterable[_Item], total: Callable[[], int | None], what: str, out: Console) -> Iterator[_Item]:
    """Follow a stream with a bar: `what`, how many, how many a second, how long still. It vanishes at the end.

    `total` is asked until it knows.
    """
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(BAR_WIDTH),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=out, transient=True) as display:
        task = display.add_task(what, total=total(), rate="")
        for item in items:
            yield item
            if display.tasks[0].total is None:
                display.update(task, total=total())
            display.advance(task)
            if speed := display.tasks[0].speed:
                display.update(task, rate=f"{speed:.1f}/s")


class DownloadBar:
    """Follows one download at a time with a bar that vanishes at its end: how much, how fast, how long still."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._display: Progress | None = None

    def follow(self, name: str) -> Callable[[int, int], None]:
        """Give what is to be called with the bytes so far, and in all (0 if that is not known)."""

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
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(BAR_WIDTH),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        self._display = Progress(*columns, console=self._out, transient=True)
        self._display.add_task(name, total=None)
        self._display.start()
        return self._display


def _answer(result: Result, out: Console) -> RenderableType:
    has_wnids = any(prediction.wnid for prediction in result.predictions)
    rows = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0), expand=True)
    rows.add_column(justify="right", width=3, style="dim")
    rows.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    if has_wnids:
        rows.add_column(width=9, style="dim")
    rows.add_column(justify="right", width=7)
    rows.add_column(width=BAR_WIDTH)
    for prediction in result.predictions:
        wnid = [prediction.wnid or ""] if has_wnids else []
        style = "bold green" if prediction.rank == 1 else ""
        label = Text(one_line(prediction.label), style)
        share = Text(f"{prediction.probability:.2%}", style)
        rows.add_row(str(prediction.rank), label, *wnid, share, _probability_bar(prediction, out))
    empty = [] if result.predictions else [Text("    no class reaches the threshold", "dim")]
    return Group(Text(one_line(result.path), "bold"), rows, *empty)


def _probability_bar(prediction: Prediction, out: Console) -> RenderableType:
    if out.options.ascii_only:
        return Text("#" * round(prediction.probability * BAR_WIDTH))
    return Bar(1, 0, prediction.probability, width=BAR_WIDTH, color="green" if prediction.rank == 1 else "blue")


def _failure(record: Failure) -> RenderableType:
    reason = Text.assemble((record.type, "bold red"), ": ", one_line(record.message))
    return Group(Text(one_line(record.path), "bold"), Padding(reason, (0, 0, 0, 4)))
