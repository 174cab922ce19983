"""The answers of `resnest predict` on a screen: a ranked list with bars per image, or one line per image.

In: records. Out: text on a console. Nothing is cut but the front of a long path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.bar import Bar
from rich.cells import cell_len
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from resnest_cli.cli.output import BAR_WIDTH, GAP, ROOM_FOR_BARS, Shown, grid
from resnest_cli.text.terminal import one_line
from resnest_cli.types import Failure, Result

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console, RenderableType

    from resnest_cli.types import Prediction, Record

ROOM_FOR_WNIDS, ROOM_FOR_MARGINS = 50, 40  # columns of a screen
WIDEST_LABEL = 30  # of the class in an image's line: all of ImageNet's fit
SHARE = 7  # columns of a probability
NO_CLASS = "no class reaches the threshold"


def print_records(records: Iterable[Record], out: Console, *, single: bool = False) -> None:
    """Print each record as it comes: a ranked list with bars, or an error; `single` records on a line each."""
    for record in records:
        if single and out.width >= ROOM_FOR_MARGINS:
            out.print(_line(record, out))
        else:
            out.print(_answer(record, out) if isinstance(record, Result) else _failure(record, out))


def _answer(result: Result, out: Console) -> RenderableType:
    """Return the ranked classes; WordNet ids and bars only where there is room."""
    bar_width = min(BAR_WIDTH, out.width - ROOM_FOR_BARS)
    has_wnids = out.width >= ROOM_FOR_WNIDS and any(prediction.wnid for prediction in result.predictions)
    roomy = out.width >= ROOM_FOR_MARGINS
    rows = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2 if roomy else 1, 0, 0), expand=True)
    rows.add_column(justify="right", width=3 if roomy else None, style="dim", no_wrap=True)
    rows.add_column(ratio=1, overflow="fold")
    if has_wnids:
        rows.add_column(width=9, style="dim")
    rows.add_column(justify="right", width=SHARE, no_wrap=True)
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


def _line(record: Record, out: Console) -> RenderableType:
    """Return one line: name, class, probability; errors and long class names may wrap."""
    room = out.width - 2 * GAP - SHARE
    label = min(WIDEST_LABEL, room // 2)
    row = grid()
    row.add_column(width=room - label, no_wrap=True)
    path = Text(_end_of(one_line(record.path, out.encoding), room - label, "..." if out.options.ascii_only else "…"))
    if isinstance(record, Failure):
        row.add_column(width=label + GAP + SHARE, overflow="fold")
        row.add_row(path, _reason(record, out))
        return row
    row.add_column(width=label, overflow="fold")
    row.add_column(width=SHARE, justify="right", no_wrap=True)
    best = record.predictions[0] if record.predictions else None
    row.add_row(path, *((Shown(best.label, _style(best)), _share(best)) if best else (Text(NO_CLASS, "dim"), "")))
    return row


def _failure(record: Failure, out: Console) -> RenderableType:
    indented = (0, 0, 0, 4) if out.width >= ROOM_FOR_MARGINS else (0, 0, 0, 1)
    return Group(Shown(record.path, "bold"), Padding(_reason(record, out), indented, expand=False))


def _reason(record: Failure, out: Console) -> Text:
    return Text.assemble((record.type, "bold red"), ": ", one_line(record.message, out.encoding))


def _style(prediction: Prediction) -> str:
    return "bold green" if prediction.rank == 1 else ""


def _share(prediction: Prediction) -> str:
    return f"{prediction.probability:.2%}"


def _probability_bar(prediction: Prediction, width: int, out: Console) -> RenderableType:
    if out.options.ascii_only:
        return Text("#" * round(prediction.probability * width))
    return Bar(1, 0, prediction.probability, width=width, color="green" if prediction.rank == 1 else "blue")


def _end_of(text: str, width: int, dots: str) -> str:
    """Cut a path at its front: its end says most."""
    if cell_len(text) <= width:
        return text
    while cell_len(dots) + cell_len(text) > width and text:
        text = text[1:]
    return dots + text
