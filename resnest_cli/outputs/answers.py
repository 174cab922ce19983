"""The format "table": the answers to each image, for people; a ranked list with bars, or one line per image.

In: records, and the screen. Out: lines of text. Nothing is cut but the front of a long path.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

from resnest_cli.text.layout import BOLD, DIM, GAP, Screen, beside, columns, wrap
from resnest_cli.text.terminal import as_text, write_lines
from resnest_cli.types import Failure, Result

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from resnest_cli.outputs.rows import About
    from resnest_cli.types import Certainty, Prediction, Record

ROOM_FOR_BARS, ROOM_FOR_WNIDS, ROOM_FOR_MARGINS = 60, 50, 40  # columns of a screen
BAR_WIDTH = 20
WIDEST_LABEL = 30  # of the class in an image's line: all of ImageNet's fit
RANK, WNID, SHARE = 3, 9, 7  # columns
NO_CLASS = "no class reaches the threshold"
UNSURE = "(unsure)"
MOST_CLASSES = 5  # of a set, in words
EIGHTHS = " ▏▎▍▌▋▊▉"
RED, GREEN, BLUE = "31", "32", "34"


def write(records: Iterable[Record], out: IO[bytes], about: About) -> None:
    """Write each record as it comes: a list, or a line where one class per image is asked for."""
    for record in records:
        with as_text(out) as text:  # each time anew: a progress bar replaces sys.stdout while it is shown
            write_lines(text, lines(record, Screen.of(text), single=about.topk == 1))


def lines(record: Record, screen: Screen, *, single: bool = False) -> Iterator[str]:
    """Yield the lines of a record."""
    if single and screen.width >= ROOM_FOR_MARGINS:
        yield from _line(record, screen)
        return
    yield from (screen.styled(line, BOLD) for line in wrap(screen.shown(record.path), screen.width))
    if isinstance(record, Result):
        yield from _ranked(record, screen)
    else:
        margin = 4 if screen.width >= ROOM_FOR_MARGINS else 1
        yield from (" " * margin + line for line in _reason(record, screen, screen.width - margin))


def _ranked(result: Result, screen: Screen) -> Iterator[str]:
    """Yield a line for each class; WordNet ids and bars only where there is room."""
    if not result.predictions:
        yield from (screen.styled(line, DIM) for line in wrap(f"    {NO_CLASS}", screen.width))
    roomy = screen.width >= ROOM_FOR_MARGINS
    bar = min(BAR_WIDTH, screen.width - ROOM_FOR_BARS)
    wnids = screen.width >= ROOM_FOR_WNIDS and any(prediction.wnid for prediction in result.predictions)
    gap = GAP if roomy else 1
    rank = RANK if roomy else len(str(len(result.predictions)))
    others = [*[WNID] * wnids, SHARE, *[bar] * (bar > 0)]
    widths = [rank, screen.width - rank - sum(others) - gap * (len(others) + 1), *others]
    for prediction in result.predictions:
        best = f"{BOLD};{GREEN}" if prediction.rank == 1 else ""
        cells = [str(prediction.rank), screen.shown(prediction.label)]
        cells += [screen.shown(prediction.wnid or "")] * wnids
        cells += [_share(prediction), *[_bar(prediction, bar, screen)] * (bar > 0)]
        styles = [DIM, best, *[DIM] * wnids, best, GREEN if prediction.rank == 1 else BLUE]
        yield from beside(screen, cells, widths, right={0, 2 + wnids}, styles=styles, gap=gap)
    if result.certainty:
        margin = 4 if roomy else 1
        style = BOLD if result.certainty.abstained else DIM
        for line in wrap(screen.shown(in_words(result.certainty)), screen.width - margin):
            yield " " * margin + screen.styled(line, style)


def in_words(certainty: Certainty) -> str:
    """Return how sure an answer is: sure, which classes it may be, or how strange the image is."""
    if not certainty.abstained:
        return "sure"
    names, rest = certainty.labels[:MOST_CLASSES], len(certainty.set) - MOST_CLASSES
    first, last = (names, f"{rest} more") if rest > 0 else (names[:-1], names[-1])
    if not first:
        return f"strange: stranger than {certainty.strangeness:.1%} of the calibration images"
    return f"unsure: {', '.join(first)} or {last}"


def _line(record: Record, screen: Screen) -> Iterator[str]:
    """Yield one line: name, class, probability; errors and long class names may wrap."""
    room = screen.width - 2 * GAP - SHARE
    label = min(WIDEST_LABEL, room // 2)
    path = _end_of(screen.shown(record.path), room - label, "…" if screen.encoding.startswith("utf") else "...")
    if isinstance(record, Failure):
        first, *more = _reason(record, screen, label + GAP + SHARE)
        yield f"{path}{' ' * (room - label - columns(path) + GAP)}{first}"
        yield from (" " * (room - label + GAP) + line for line in more)
        return
    best = record.predictions[0] if record.predictions else None
    unsure = f" {UNSURE}" if record.certainty and record.certainty.abstained else ""
    cells = [path, screen.shown(best.label) + unsure, _share(best)] if best else [path, NO_CLASS, ""]
    styles = ["", *[f"{BOLD};{GREEN}" if best else DIM] * 2]
    yield from beside(screen, cells, [room - label, label, SHARE], right={2}, styles=styles)


def _reason(record: Failure, screen: Screen, room: int) -> list[str]:
    """Return the lines that say why there is no answer."""
    first, *more = wrap(f"{record.type}: {screen.shown(record.message)}", room)
    kind = record.type if first.startswith(record.type) else first  # of a narrow screen
    return [screen.styled(kind, f"{BOLD};{RED}") + first.removeprefix(kind), *more]


def _share(prediction: Prediction) -> str:
    return f"{prediction.probability:.2%}"


def _bar(prediction: Prediction, width: int, screen: Screen) -> str:
    if not screen.encoding.startswith("utf"):
        return "#" * round(prediction.probability * width)
    whole, eighths = divmod(int(prediction.probability * width * 8), 8)
    return "█" * whole + EIGHTHS[eighths].strip()


def _end_of(text: str, width: int, dots: str) -> str:
    """Cut a path at its front: its end says most."""
    if columns(text) <= width:
        return text
    while columns(dots) + columns(text) > width and text:
        text = text[1:]
    return dots + text
