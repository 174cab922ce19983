"""Rows read back from a file that `resnest predict` wrote, in any of its formats.

In: a path, whose suffix names the format. Out: `Results`: the rows one by one, as JSON lines have them, and what holds
for all of them. The file may come from anybody, or be edited: each row is checked, and an error names its number.
"""

from __future__ import annotations

import os
import re
import shlex
from functools import cached_property, partial
from typing import IO, TYPE_CHECKING, Any, cast

from resnest_cli.errors import UsageError, message_of
from resnest_cli.inputs import columns
from resnest_cli.outputs import records
from resnest_cli.outputs.formats import FORMATS, separated
from resnest_cli.outputs.rows import About, is_row
from resnest_cli.system.paths import Kind, look
from resnest_cli.text.json_input import parse
from resnest_cli.types import names_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from resnest_cli.outputs.formats import Lines
    from resnest_cli.outputs.rows import Row

MAX_ROW_BYTES = 16 << 20  # of a row as text
MAX_JSON_BYTES = 1 << 30  # of an array that another program has laid out, and which is read as a whole
_FACTS = re.compile(rb'id="facts">(.*)</script>')
_HTML_ROWS = b'id="rows">[\n'


class Results:
    """The rows of a finished file.

    Args:
        path: the file; its suffix names its format.

    Raises:
        UsageError: it is not there, not finished, or its suffix names no format of predictions.
    """

    def __init__(self, path: Path) -> None:
        suffix = path.suffix.lower().removeprefix(".")
        self._record = records.read(path)
        if self._record and self._record.settings.get("format") in FORMATS:  # it may have another suffix
            suffix = self._record.settings["format"]
        if suffix not in FORMATS:
            raise UsageError(f"{path}: its suffix names no format of predictions: .{', .'.join(FORMATS)}.")
        seen = look(path)
        if not seen.is_file:
            why = seen.why if seen.kind in {Kind.MISSING, Kind.UNKNOWN} else "it is no file."
            raise UsageError(f"{path}: {why}")
        if look(records.unfinished(path)).is_there:
            again = records.again(path)
            raise UsageError(f"{path}: it is not finished; the same command with {again} finishes it.")
        self.path = path
        self.format = FORMATS[suffix]

    @cached_property
    def finished(self) -> records.Finished | None:
        """What is known of the job that wrote the file; None where nothing is, or the file was changed since."""
        found = self._record
        return found if found and self.path not in found.changed(self.path) else None

    @cached_property
    def about(self) -> About:
        """What holds for all rows. Of a file that was moved or changed, that is what it says of itself.

        Raises:
            UsageError: a row cannot be read.
        """
        if self.finished and self.finished.about:
            return self.finished.about
        topk, is_calibrated, has_exif = 0, False, False
        for row in self.rows():
            topk = max(topk, len(row["predictions"]))
            is_calibrated, has_exif = is_calibrated or "set" in row, has_exif or "taken" in row
        return About(topk, self._facts(), is_calibrated, has_exif)

    def require_here(self) -> None:
        """Check that relative paths of the rows begin in this folder.

        Raises:
            UsageError: they begin in another one, and files are there.
        """
        folder = self.finished.folder if self.finished else ""
        if not folder or os.path.realpath(folder) == os.path.realpath("."):
            return
        names = (row["path"] for row in self.rows() if names_file(row["path"]))
        if any(not os.path.isabs(name) and os.path.lexists(os.path.join(folder, name)) for name in names):  # noqa: PTH117, PTH118 - as typed
            where = shlex.quote(folder)
            raise UsageError(f"{self.path}: its paths begin in the folder where predict ran. Go there: cd {where}")

    def rows(self) -> Iterator[Row]:
        """Yield the rows, lazily; those of a page have their small pictures too.

        Raises:
            UsageError: the file cannot be read, or holds something else.
        """
        number = 0
        try:
            for row in _READERS[self.format.name](self.path):
                yield _checked(row)
                number += 1
        except (OSError, ValueError) as error:
            at = f"after row {number}" if number else "at its beginning"
            raise UsageError(f"{self.path} cannot be read {at}: {message_of(error)}.") from error

    def _facts(self) -> dict[str, Any]:
        """Return what the file itself says of what made its rows."""
        try:
            found = parse(_FACTS_OF[self.format.name](self.path) if self.format.has_facts else b"{}")
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def _checked(row: object) -> Row:
    if not is_row(row):
        raise ValueError("what follows is no row of predictions")
    return cast("Row", row)


def _text(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file.

    Raises:
        ValueError: a line is longer than a row can be.
    """
    with path.open("rb") as file:
        yield from _lines(file)


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    while line := file.readline(MAX_ROW_BYTES):
        if len(line) == MAX_ROW_BYTES:
            raise ValueError(f"a row has {MAX_ROW_BYTES >> 20} MB or more")
        yield line


def _jsonl(path: Path) -> Iterator[Row]:
    return (parse(line) for line in _text(path))


def _json(path: Path) -> Iterator[Row]:
    """Yield the objects of an array: one by one as we lay it out, else from the whole of it."""
    with path.open("rb") as file:
        is_ours = file.read(4) == b'[\n{"'
        file.seek(len("[\n") if is_ours else 0)
        if is_ours:
            yield from _objects(file, b"]\n")
            return
        whole = parse(file.read(MAX_JSON_BYTES))
    if not isinstance(whole, list):
        raise ValueError("it is no array")  # noqa: TRY004 - of a file, each is the same
    yield from whole


def _html(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        if not any(line.endswith(_HTML_ROWS) for line in _lines(file)):
            raise ValueError("it is no page of predictions")
        for row in _objects(file, b"]</script>\n"):
            if "heat" in row or "images" in row:
                raise ValueError("it is a page of explain or similar, not of predict")
            row.pop("link", None)  # where a page finds the image; each page has its own
            yield row


def _objects(file: IO[bytes], end: bytes) -> Iterator[Row]:
    """Yield the objects of an array with one in each line, up to the line that ends it.

    Raises:
        ValueError: it has no end.
    """
    for line in _lines(file):
        if line == end:
            return
        if text := line.removesuffix(b"\n").removesuffix(b","):
            yield parse(text)
    raise ValueError("its end is missing")


def _separated(delimiter: str, path: Path) -> Iterator[object]:
    lines = separated(delimiter)
    texts = _cells(path, lines)
    if not next(texts, b"").startswith((b"path,status,", b"path\tstatus\t")):
        raise ValueError("its first line is not that of rows of predictions")
    return map(partial(_decoded, lines), texts)


def _decoded(lines: Lines, text: bytes) -> object:
    try:
        return lines.decode(text)
    except (ValueError, IndexError):
        return None  # no row, see `_checked`


def _cells(path: Path, lines: Lines) -> Iterator[bytes]:
    """Yield the rows of a table as text: a line end may stand inside a cell."""
    text = b""
    for line in _text(path):
        text += line
        if len(text) > MAX_ROW_BYTES:
            raise ValueError(f"a row has {MAX_ROW_BYTES >> 20} MB or more")
        if lines.is_whole(text):
            yield text
            text = b""
    if text:
        raise ValueError("its end is missing")


def _parquet(path: Path) -> Iterator[Row]:
    from resnest_cli.outputs import parquet  # noqa: PLC0415 - pyarrow is heavy, and an extra

    with columns.opened(path) as file:
        names = [name for name in parquet.NAMES if name in file.names]
        for values in file.rows(names):
            yield parquet.row_of(dict(zip(names, values, strict=True)))


def _parquet_facts(path: Path) -> bytes:
    with columns.opened(path) as file:
        return file.facts


def _html_facts(path: Path) -> bytes:
    found = next(filter(None, map(_FACTS.search, _text(path))), None)
    return found[1] if found else b"{}"


_READERS: dict[str, Callable[[Path], Iterator[object]]] = {
    "jsonl": _jsonl,
    "json": _json,
    "csv": partial(_separated, ","),
    "tsv": partial(_separated, "\t"),
    "parquet": _parquet,
    "html": _html,
}
_FACTS_OF = {"parquet": _parquet_facts, "html": _html_facts}
