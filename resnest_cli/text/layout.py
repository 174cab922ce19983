"""Tables, and names with values, as lines of text for a screen of any width.

In: texts from anywhere. Out: harmless lines: cells wrap between words, and where columns do not fit, each row is a list
of names and values. Standard library only: rich takes 60 ms to import, a fifth of `resnest show`.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import unicodedata
from dataclasses import dataclass
from itertools import zip_longest
from typing import IO, TYPE_CHECKING

from resnest_cli.text.terminal import has_color, one_line, write_lines

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence

KEPT = "\u00a0"  # a blank at which no line breaks
GAP = 2  # columns between cells
LEAST_WIDTH = 20  # of a screen: a smaller one, or 0, does not know its width
LEAST_TEXT, LEAST_VALUE = 16, 20  # columns that text needs beside others
BOLD, DIM = "1", "2"


@dataclass(frozen=True)
class Screen:
    """What lines are laid out for: a terminal, a pipe or a file.

    Attributes:
        width: its columns.
        wraps: whether longer lines break; in a pipe they stay whole, for programs.
        encoding: what it can show.
        color: whether it has colors.
    """

    width: int = 80
    wraps: bool = True
    encoding: str = "utf-8"
    color: bool = False

    @classmethod
    def of(cls, stream: IO[str]) -> Screen:
        """Return what a stream shows; COLUMNS sets the width of any."""
        width = max(LEAST_WIDTH, shutil.get_terminal_size().columns)
        wraps = os.environ.get("COLUMNS", "").isdecimal() or stream.isatty()
        return cls(width, wraps, (getattr(stream, "encoding", None) or "utf-8").lower(), has_color(stream))

    @property
    def room(self) -> int:
        """Columns until a line breaks."""
        return self.width if self.wraps else sys.maxsize

    def shown(self, text: str) -> str:
        """Return a text from anywhere, harmless, on one line; `KEPT` blanks stay for `wrap`."""
        return KEPT.join(one_line(part, self.encoding) for part in text.split(KEPT))

    def styled(self, text: str, style: str) -> str:
        """Return a text in a style of the terminal, such as "1;32"."""
        return f"\x1b[{style}m{text}\x1b[0m" if self.color and style and text else text


def put_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numeric: Iterable[int] = (),
    stream: IO[str] | None = None,
) -> None:
    """Write a table, to stdout by default; columns in `numeric` are aligned right, and never wrap."""
    out = stream or sys.stdout
    write_lines(out, table([headings, *rows], Screen.of(out), {*numeric}))


def put_facts(rows: Iterable[tuple[str, str]], stream: IO[str] | None = None) -> None:
    """Write names with values beside them, to stdout by default; on a narrow screen below them."""
    out = stream or sys.stdout
    write_lines(out, facts([*rows], Screen.of(out)))


def put_paragraphs(paragraphs: Iterable[Sequence[str]]) -> None:
    """Write a title and lines for each to stdout, as it comes; nothing wraps."""
    screen = Screen.of(sys.stdout)
    for title, *lines in paragraphs:
        write_lines(sys.stdout, [screen.styled(screen.shown(title), BOLD), *map(screen.shown, lines)])


def put_note(text: str) -> None:
    """Write a note below a table to stdout."""
    screen = Screen.of(sys.stdout)
    lines = wrap(screen.shown(f"Note: {text}"), screen.room)
    write_lines(sys.stdout, ["", *(screen.styled(line, DIM) for line in lines)])


def table(rows: Sequence[Sequence[str]], screen: Screen, numeric: set[int]) -> Iterator[str]:
    """Yield the lines of a table, whose first row has the headings."""
    cells = [[screen.shown(cell) for cell in row] for row in rows]
    widths = [max(map(columns, column)) for column in zip(*cells, strict=True)]
    room = screen.room - GAP * (len(widths) - 1)
    if sum(width if i in numeric else min(width, LEAST_TEXT) for i, width in enumerate(widths)) > room:
        yield from _listed(cells, screen)
        return
    while sum(widths) > room:  # the widest text gives way
        widest = max((i for i in range(len(widths)) if i not in numeric), key=widths.__getitem__)
        widths[widest] -= 1
    for row in cells:
        style = BOLD if row is cells[0] else ""
        yield from beside(screen, row, widths, right=numeric, styles=[style] * len(row))


def facts(rows: Sequence[tuple[str, str]], screen: Screen) -> Iterator[str]:
    """Yield the lines of names and values."""
    cells = [(screen.shown(name), screen.shown(value)) for name, value in rows]
    names, values = (max((columns(row[i]) for row in cells), default=0) for i in (0, 1))
    room = screen.room - names - GAP
    for name, value in cells:
        if room < min(values, LEAST_VALUE):
            yield from (screen.styled(line, BOLD) for line in wrap(name, screen.room))
            yield from (" " * GAP + line for line in wrap(value, screen.room - GAP))
            continue
        first, *more = wrap(value, room)
        yield f"{screen.styled(name, BOLD)}{' ' * (names - columns(name) + GAP)}{first}".rstrip()
        yield from (" " * (names + GAP) + line for line in more)


def beside(  # noqa: PLR0913 - the first three by position
    screen: Screen,
    cells: Sequence[str],
    widths: Sequence[int],
    *,
    right: Container[int],
    styles: Sequence[str],
    gap: int = GAP,
) -> Iterator[str]:
    """Yield the lines of cells side by side, each wrapped in its width; those in `right` are aligned there."""
    for parts in zip_longest(*map(wrap, cells, widths), fillvalue=""):
        padded = []
        for i, part in enumerate(parts):
            space = " " * (widths[i] - columns(part))
            shown = screen.styled(part, styles[i])
            padded.append(space + shown if i in right else shown + space)
        yield (" " * gap).join(padded).rstrip()


def wrap(text: str, width: int) -> list[str]:
    """Break a harmless text into lines of `width` columns: between words; within a word that is longer than a line.

    `KEPT` blanks belong to their word, and become common ones.
    """
    lines, line = [], ""
    for word in re.findall(r" *[^ ]+", text):
        if line and columns(line + word) > width:
            lines.append(line)
            line = word.lstrip(" ")
        else:
            line += word
        while columns(line) > width and len(line) > 1:
            end = next((i for i in range(len(line) - 1, 1, -1) if columns(line[:i]) <= width), 1)
            lines.append(line[:end])
            line = line[end:]
    return [text.replace(KEPT, " ") for text in (*lines, line)]


def columns(text: str) -> int:
    """Return how many columns of a screen a harmless text takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me"}:  # drawn over the one before
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _listed(cells: Sequence[Sequence[str]], screen: Screen) -> Iterator[str]:
    """Yield each row as a title with names and values below it, those that there are."""
    headings, *rows = cells
    narrower = Screen(screen.width - GAP, screen.wraps, screen.encoding, screen.color)
    for title, *values in rows:
        yield from (screen.styled(line, BOLD) for line in wrap(title, screen.room))
        named = [(name, value) for name, value in zip(headings[1:], values, strict=True) if value]
        yield from (" " * GAP + line for line in facts(named, narrower))
