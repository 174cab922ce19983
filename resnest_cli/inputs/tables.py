"""Tables of labeled images, as spreadsheets and label tools write them: one row per image, with its path and label.

In: a CSV file (commas, semicolons or tabs; UTF-8 or UTF-16) or a Parquet file. Out: one `Example` per row, in order;
and back to a CSV file. Knows where a path leads, not what a label means.
"""

from __future__ import annotations

import codecs
import csv
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

from resnest_cli.errors import BadDataSet, UnreadableInput
from resnest_cli.inputs import buckets, columns, splits, urls
from resnest_cli.system import atomic
from resnest_cli.system.paths import look
from resnest_cli.text import cells
from resnest_cli.types import Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import TextIO

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet")
# The names of each column, in any case, with or without blanks and underscores. The first name found is taken.
COLUMNS = {
    "path": ("path", "filepath", "file", "filename", "image", "imagepath"),
    "label": ("label", "class"),
    "split": ("split",),
    "reason": ("reason",),
    "sha256": ("sha256",),
}
NEEDED = {"path", "label"}
SPLIT_FILE = "split.csv"  # in a folder: the table of its images
MAX_LINE = 1 << 20  # characters
_HEAD_BYTES = 4096  # read to find the encoding
_DELIMITERS = ",;\t"
_ENCODINGS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_EXCEL_HINT = re.compile(r"\"?sep=.\"?\s*$", re.IGNORECASE)  # Excel may write it above the names of the columns
Cells: TypeAlias = "tuple[int, Sequence[str]]"  # a row and its number


@dataclass(frozen=True, slots=True)
class Example:
    """One labeled image.

    Attributes:
        path: as the table has it; absolute in a training set.
        label: its class by name.
        split: its side: "train", "val", "test", "left out" (for `reason`), or "" where nothing says one.
        reason: why it is left out.
        sha256: of the file's content; "" of a file that could not be read.
        group: what it belongs to, such as the animal that it shows; "" of an image by itself. It is not written.
        number: its row in the table.
    """

    path: str
    label: str
    split: str = ""
    reason: str = ""
    sha256: str = ""
    group: str = field(default="", compare=False)
    number: int = field(default=0, compare=False)


def read(table: Path, groups: str | None = None) -> Iterator[Example]:
    """Read the rows of a table, lazily; blank rows are skipped.

    Args:
        table: the file.
        groups: the column that has the group of each image, if any.

    Raises:
        UnreadableInput: it cannot be read as a table.
        BadDataSet: a column is missing; a row has no path, no label or too many cells; a split is unknown, or given in
            some rows only.
        UsageError: Parquet without pyarrow.
    """
    with _readable(table):
        cells = _parquet(table, groups) if table.suffix.lower() == ".parquet" else _text(table)
        _, header = next(cells, (0, ()))
        places = _required(table, header, groups)
        has_split = None
        for number, values in cells:
            row = _example(table, number, values, places, len(header))
            if row.split != splits.LEFT_OUT:
                if has_split not in {None, bool(row.split)}:
                    raise _bad(table, number, "some rows have a split, some have none; fill the column, or delete it")
                has_split = bool(row.split)
            yield row


def write(table: Path, examples: Iterable[Example]) -> None:
    """Write a CSV file, one row per example. A path that is not UTF-8 keeps its bytes."""
    rows = ((each.path, each.label, each.split, each.reason, each.sha256) for each in examples)
    atomic.write(table, cells.table([COLUMNS, *rows]).encode("utf-8", "surrogateescape"))


def of_folder(folder: Path) -> Path | None:
    """Return the file `split.csv` of a folder, if it is there and names the side of each image.

    Raises:
        UnreadableInput: it cannot be read as a table.
    """
    table = folder / SPLIT_FILE
    if not look(table).is_file:
        return None
    with _readable(table):
        _, header = next(_text(table), (0, ()))
    return table if {*NEEDED, "split"} <= set(_columns(header)) else None


def is_remote(path: str) -> bool:
    """Return whether a path is that of a URL or of an object in a store."""
    return urls.is_url(path) or buckets.is_bucket(path)


def source(table: Path, path: str) -> Source:
    """Return where the image of a row is: a URL, an object, or a file below the table's folder.

    If no file has the path as written, try it without blanks around it, then with slashes for backslashes.
    """
    bare = path.strip()
    if urls.is_url(bare):
        return urls.source(bare)
    if buckets.is_bucket(bare):
        return buckets.source(bare)
    spellings = dict.fromkeys((path, bare, bare.replace("\\", "/")))
    files = [os.path.join(table.parent, spelling) for spelling in spellings]  # noqa: PTH118 - pathlib would normalize it
    return Source(files[0] if len(files) == 1 else next(filter(os.path.lexists, files), files[0]))


def _example(table: Path, number: int, values: Sequence[str], places: dict[str, int], width: int) -> Example:
    if any(cell.strip() for cell in values[width:]):
        raise _bad(table, number, "more cells than columns; a path or label with a delimiter in it needs quotes")
    cells = {name: values[at] if at < len(values) else "" for name, at in places.items()}
    split = _split(table, number, cells.pop("split", "").strip())
    label, group = cells.pop("label").strip(), cells.pop("group", "").strip()
    if not cells["path"].strip():
        raise _bad(table, number, "it has no path")
    if not label and split != splits.LEFT_OUT:
        raise _bad(table, number, "it has no label")
    return Example(label=label, split=split, group=group, number=number, **cells)


def _split(table: Path, number: int, word: str) -> str:
    if word in {"", splits.LEFT_OUT}:
        return word
    if not (split := splits.side(word)):
        raise _bad(table, number, f"the split {word!r} is none of train, val and test")
    return split


def _bad(table: Path, number: int, problem: str) -> BadDataSet:
    return BadDataSet(f"{table}, row {number}: {problem}.")


def _required(table: Path, header: Sequence[str], groups: str | None) -> dict[str, int]:
    """Return the places of our columns in a header, and of the one for groups.

    Raises:
        BadDataSet: one that is needed is not there.
    """
    places, names = _columns(header, groups), columns.first_names(header) or "none"
    if not set(places) >= NEEDED:
        message = f"{table}: the first line must name the columns path and label (`path,label`); it has: {names}."
        raise BadDataSet(message)
    if groups and "group" not in places:
        message = f"{table} has no column {groups!r} for --groups; it has: {names}."
        raise BadDataSet(message)
    return places


def _columns(header: Sequence[str], groups: str | None = None) -> dict[str, int]:
    """Return the places of our columns in a header, by our names; that of the groups as "group"."""
    there = [_plain(name) for name in header]
    own = COLUMNS if groups is None else {**COLUMNS, "group": (_plain(groups),)}
    found = {name: next((word for word in words if word in there), "") for name, words in own.items()}
    return {name: there.index(word) for name, word in found.items() if word}


def _plain(name: str) -> str:
    return re.sub(r'[\s_"-]', "", name).casefold()


def _text(table: Path) -> Iterator[Cells]:
    with table.open(newline="", encoding=_encoding(table), errors="surrogateescape") as file:
        before, head = _head(file)
        delimiter = max(_DELIMITERS, key=lambda each: len(_columns(next(csv.reader([head], delimiter=each), ()))))
        lines = csv.reader(chain([head], _lines(file)), delimiter=delimiter, skipinitialspace=True, strict=True)
        for row in lines:
            if any(cell.strip() for cell in row):
                yield before + lines.line_num, [*map(cells.unescape, row)]


def _head(file: TextIO) -> tuple[int, str]:
    """Return the line with the names of the columns, and the number of lines above it."""
    for above, line in enumerate(_lines(file)):
        if line.strip() and not _EXCEL_HINT.match(line):
            return above, line
    return 0, ""


def _lines(file: TextIO) -> Iterator[str]:
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            message = f"a line has {MAX_LINE:,} characters or more"
            raise ValueError(message)
        yield line


def _encoding(table: Path) -> str:
    with table.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    marked = next((name for mark, name in _ENCODINGS.items() if head.startswith(mark)), None)
    if not marked and b"\0" in head:
        message = "it is no text, or UTF-16 without a mark; save it as UTF-8"
        raise ValueError(message)
    return marked or "utf-8"


def _parquet(table: Path, groups: str | None) -> Iterator[Cells]:
    with columns.opened(table) as file:
        found = _columns(file.names, groups)
        ours = [file.names[at] for at in dict.fromkeys(found.values())]
        is_whole = set(found) >= {*NEEDED, *(["group"] if groups else [])}
        yield 0, ours if is_whole else file.names
        for number, row in enumerate(file.rows(ours), 1):
            yield number, ["" if value is None else str(value) for value in row]


@contextmanager
def _readable(table: Path) -> Iterator[None]:
    """Raise what reading a table raises as `UnreadableInput`."""
    try:
        yield
    except (OSError, UnicodeError, csv.Error, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        message = f"{table} cannot be read as a table: {reason}."
        raise UnreadableInput(message) from error
