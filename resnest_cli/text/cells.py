"""Cells of CSV and TSV, safe for spreadsheets: the only writer of tables, and its inverse.

In: values. Out: lines of a table. Class names, file names and messages come from outside, and a spreadsheet computes a
cell that begins like a formula (`=HYPERLINK(...)` sends other cells to a stranger). Such text gets a `'` in front;
`unescape` removes it. Standard library only.
"""

from __future__ import annotations

import csv
import io
import re
from numbers import Number
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# Signs that begin a formula, also full-width and small, also after characters that some programs skip: blanks, control
# and zero-width characters. And characters that may end a cell or begin a new one, and our own mark.
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
    """Return a value with escaped lone surrogates; for text that is no path, where they do not stand for bytes."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def unescape(cell: str) -> str:
    """Return the text that `line` made this cell from."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell


def _escape(value: object) -> object:
    """Mark a formula, and escape lone surrogates that do not stand for bytes, which cannot be encoded."""
    if value is None or isinstance(value, Number):
        return value
    text = str(value)
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        text = text.encode("utf-8", "backslashreplace").decode()
    return f"'{text}" if _FORMULA.match(text) else text
