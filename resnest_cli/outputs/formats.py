r"""The formats of predictions: how rows become bytes.

In: rows, a binary stream, and what holds `About` all rows. Out: UTF-8 text, Parquet or a page. A format of `Lines`
grows row by row and can be read back, so a job can continue it; other formats are composed at the end.

A path that is not valid UTF-8 keeps its bytes: JSON has the escape \udcXX (Python's `json` reads it back), CSV the
bytes themselves; for Parquet see `outputs.parquet`.
"""

from __future__ import annotations

import csv
import io
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from resnest_cli.errors import UsageError
from resnest_cli.outputs import answers, html
from resnest_cli.outputs.rows import EXIF, read_json, to_json, to_row, with_thumbnail
from resnest_cli.text import cells

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from resnest_cli.outputs.rows import About, Row

Writer: TypeAlias = "Callable[[Iterable[Any], IO[bytes], About], None]"

_COLUMNS = ("index", "wnid", "label", "probability")
_CERTAINTY = ("set", "strangeness", "abstained")
# Cells after those of the predictions, by what is left of all cells by four: none, certainty and EXIF, one of them.
_MORE = {0: 0, 2: len(_CERTAINTY) + len(EXIF), 3: len(EXIF)}


@dataclass(frozen=True)
class Lines:
    """A format in which each row stands by itself.

    Attributes:
        header: the first bytes of a file.
        encode: a row as text with its line end.
        decode: the row again; ValueError if the text is none.
        is_whole: whether a text that ends in a line end is a row, or continues in the next line.
    """

    header: Callable[[About], bytes]
    encode: Callable[[Row, About], bytes]
    decode: Callable[[bytes], Row]
    is_whole: Callable[[bytes], bool]

    def write(self, rows: Iterable[Row], out: IO[bytes], about: About) -> None:
        """Write header and rows, each as it comes."""
        out.write(self.header(about))
        for row in rows:
            out.write(self.encode(row, about))
            out.flush()


@dataclass(frozen=True)
class Format:
    """How an output holds the records of a job.

    Attributes:
        name: what `--format` calls it; part of what a resumed job must share with its beginning.
        lines: how rows are kept while they come; None if rows cannot be read back, so that no job can resume.
        compose: writes all rows at the end; None if the lines are the file.
        to_row: makes a record the row that the format takes.
        has_facts: the output itself says what made its rows.
        needs_file: a pipe cannot take it.
        companions: the other files that lie beside the finished file.
        begun: writes what lies beside the file from its beginning.
    """

    name: str
    lines: Lines | None
    compose: Writer | None = None
    to_row: Callable[[Any], Any] = to_row
    has_facts: bool = False
    needs_file: bool = False
    companions: tuple[Path, ...] = ()
    begun: Callable[[About], None] | None = None

    @property
    def write(self) -> Writer:
        """The function that writes all rows, from the first byte of the output to the last."""
        if self.compose:
            return self.compose
        if self.lines:
            return self.lines.write
        raise TypeError(self.name)


def write_json(rows: Iterable[Row], out: IO[bytes], about: About) -> None:  # noqa: ARG001 - JSON needs no columns
    """Write one JSON array of the objects that are lines in jsonl."""
    separator = b"[\n"
    for row in rows:
        out.write(separator + to_json(row))
        out.flush()
        separator = b",\n"
    out.write(b"[]\n" if separator == b"[\n" else b"\n]\n")


def write_parquet(rows: Iterable[Row], out: IO[bytes], about: About) -> None:
    """Write a Parquet file; see `outputs.parquet`."""
    from resnest_cli.outputs import parquet  # noqa: PLC0415 - pyarrow is heavy, and an extra

    parquet.write(rows, out, about)


def parquet_table(about: About, rows: list[Row], _: int = 0) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Return rows as the Arrow table that a Parquet file has."""
    from resnest_cli.outputs import parquet  # noqa: PLC0415 - pyarrow is heavy, and an extra

    return parquet.table(rows, about)


def _header(delimiter: str, about: About) -> bytes:
    groups = [f"{column}_{rank}" for rank in range(1, about.topk + 1) for column in _COLUMNS]
    more = [*(_CERTAINTY if about.is_calibrated else ()), *(EXIF if about.has_exif else ())]
    return _line(["path", "status", *groups, *more, "error_type", "error_message"], delimiter)


def _encode(delimiter: str, row: Row, about: About) -> bytes:
    values = [cells.escape_surrogates(prediction[column]) for prediction in row["predictions"] for column in _COLUMNS]
    padding = [""] * (about.topk * len(_COLUMNS) - len(values))
    more = [*(_certainty(row) if about.is_calibrated else ()), *(_exif(row) if about.has_exif else ())]
    error = row.get("error", {"type": "", "message": ""})
    ends = [error["type"], cells.escape_surrogates(error["message"])]
    return _line([row["path"], row["status"], *values, *padding, *more, *ends], delimiter)


def _certainty(row: Row) -> list[object]:
    if "set" not in row:
        return [""] * len(_CERTAINTY)
    return [";".join(map(str, row["set"])), row["strangeness"], str(row["abstained"]).lower()]


def _exif(row: Row) -> list[object]:
    return ["" if row.get(name) is None else row[name] for name in EXIF]


def _line(values: list[object], delimiter: str) -> bytes:
    return cells.line(values, delimiter).encode("utf-8", "surrogateescape")


def _decode(delimiter: str, text: bytes) -> Row:
    try:
        (found,) = csv.reader(io.StringIO(text.decode("utf-8", "surrogateescape"), newline=""), delimiter=delimiter)
    except csv.Error as odd:  # which is no ValueError
        raise ValueError(*odd.args) from odd
    path, status, *values, error, message = map(cells.unescape, found)
    row: Row = {"path": path, "status": status}
    cut = len(values) - _MORE.get(left := len(values) % len(_COLUMNS), left)
    groups = [values[at : at + len(_COLUMNS)] for at in range(0, cut, len(_COLUMNS)) if values[at]]
    row["predictions"] = [_prediction(rank, *group) for rank, group in enumerate(groups, 1)]
    if error:
        return row | {"error": {"type": error, "message": message}}
    return row | _more_of(values[cut:])


def _prediction(rank: int, index: str, wnid: str, label: str, probability: str) -> Row:
    values = (int(index), wnid or None, label, float(probability))
    return {"rank": rank, **dict(zip(_COLUMNS, values, strict=True))}


def _more_of(values: list[str]) -> Row:
    """Return certainty, EXIF or both; where there are three cells, the last of a certainty is true or false."""
    has_certainty = len(values) == len(_CERTAINTY) + len(EXIF) or values[-1:] in (["true"], ["false"])
    cut = len(_CERTAINTY) * has_certainty
    return _certainty_of(values[:cut]) | _exif_of(values[cut:])


def _exif_of(values: list[str]) -> Row:
    if not values:
        return {}
    taken, latitude, longitude = values
    return {
        "taken": taken or None,
        "latitude": float(latitude) if latitude else None,
        "longitude": float(longitude) if longitude else None,
    }


def _certainty_of(values: list[str]) -> Row:
    if not any(values):
        return {}
    found, strangeness, abstained = values
    return {
        "set": [int(index) for index in found.split(";")],
        "strangeness": float(strangeness),
        "abstained": abstained == "true",
    }


def separated(delimiter: str) -> Lines:
    """Return the format of cells with `delimiter` between them, quoted and made harmless as in CSV."""
    return Lines(
        header=partial(_header, delimiter),
        encode=partial(_encode, delimiter),
        decode=partial(_decode, delimiter),
        is_whole=lambda text: text.count(b'"') % 2 == 0,  # else the line end stands inside a quoted cell
    )


JSONL = Lines(
    header=lambda _: b"",
    encode=lambda row, _: to_json(row) + b"\n",
    decode=read_json,
    is_whole=lambda _: True,
)
_ALL = (
    Format("jsonl", JSONL),
    Format("json", JSONL, write_json),
    Format("csv", separated(",")),
    Format("tsv", separated("\t")),
    Format("parquet", JSONL, write_parquet, has_facts=True, needs_file=True),
    Format("html", JSONL, html.write, to_row=with_thumbnail, has_facts=True),
)
FORMATS = {format.name: format for format in _ALL}
TABLE = Format("table", None, answers.write, to_row=lambda record: record)  # for people
AUTO = "auto"


def named(name: str, output: Path | str | None) -> Format:
    """Return the format called `name`, with what it needs loaded.

    For "auto" it is the one of the output's suffix; for standard output (None) the table on a terminal, else jsonl. A
    folder (text) has Parquet files.

    Raises:
        UsageError: there is no such format, the suffix names none, or a package is missing.
    """
    if isinstance(output, str) and name not in {AUTO, "parquet"}:
        raise UsageError(f"-o {output}: a folder has Parquet files; leave out -f {name}, or name a file.")
    if name == TABLE.name or (name == AUTO and output is None and sys.stdout.isatty()):
        return TABLE
    if isinstance(output, Path):
        suffix = output.suffix.lower().removeprefix(".")
    else:
        suffix = "jsonl" if output is None else "parquet"
    if name == AUTO and suffix not in FORMATS:
        message = f"-o {output}: its suffix names no format; add --format, or use one of .{', .'.join(FORMATS)}."
        raise UsageError(message)
    found = suffix if name == AUTO else name
    if found not in FORMATS:
        message = f"--format {name}: use one of {', '.join((AUTO, *FORMATS))}."
        raise UsageError(message)
    require(found)
    if found == "html" and isinstance(output, Path):  # its links are relative to it
        return replace(FORMATS[found], compose=partial(html.write, page=output))
    return FORMATS[found]


def require(format: str) -> None:
    """Load what a format needs.

    Raises:
        UsageError: it is not installed; the message has the command that installs it.
    """
    if format != "parquet":
        return
    try:
        from resnest_cli.outputs import parquet  # noqa: F401, PLC0415 - pyarrow is heavy, and an extra
    except ImportError as error:
        message = "Parquet needs pyarrow, which is not installed: pip install 'resnest-cli[parquet]'."
        raise UsageError(message) from error
