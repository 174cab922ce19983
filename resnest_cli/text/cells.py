"""Cells of CSV and TSV: the one door for what a spreadsheet will open, and the way back.

In: values. Out: lines of a table. Class names, file names and messages come from outside, and a spreadsheet computes a
cell that begins like a formula (`=HYPERLINK(...)` sends its neighbours to a stranger): such text gets a `'` in front,
which is taken away where a table is read again. Numbers are no text. Standard library only.
"""

from __future__ import annotations

import csv
import io
import re
from numbers import Number
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# Signs that begin a formula, in their full-width and small forms too, also after what some programs pass over: blanks,
# control characters, and what has no width. And what may end a cell or begin a new one; and our own mark.
_FORMULA = re.compile(
    "[\t\r\n']|[\\s\x00-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]*"
    "[=+\\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u2212]"
)


def line(cells: Iterable[object], delimiter: str = ",") -> str:
    r"""Return a row with its "\n". Numbers stay as they are, None is empty, and all else is text."""
    text = io.StringIO(newline="")
    # With \r in the line end, it quotes a \r in a cell.
    csv.writer(text, delimiter=delimiter, lineterminator="\r\n").writerow([_escape(cell) for cell in cells])
    return text.getvalue().removesuffix("\r\n") + "\n"


def table(rows: Iterable[Iterable[object]], delimiter: str = ",") -> str:
    """Return rows as one text; see `line`."""
    return "".join(line(row, delimiter) for row in rows)


def escape_surrogates(value: object) -> object:
    """Escape lone surrogates in text that is no path; only there do they stand for bytes."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def unescape(cell: str) -> str:
    """Return the text that `line` made this cell of."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell


def _escape(value: object) -> object:
    """Mark what looks like a formula. Lone surrogates that stand for bytes stay, for whoever encodes; others cannot."""
    if value is None or isinstance(value, Number):
        return value
    text = str(value)
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        text = text.encode("utf-8", "backslashreplace").decode()
    return f"'{text}" if _FORMULA.match(text) else text
