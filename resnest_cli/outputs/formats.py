r"""Records as bytes: one function a format, each a consumer of a stream that writes rows as they come.

In: rows (records as `to_row` gives them), a binary stream, and what there is to say `About` them. Out: UTF-8. Two
formats are `Lines`: a file of them grows row by row, can be read back, and so can be continued.

A path that is not valid UTF-8 keeps its bytes: in JSON as the escape \udcXX (what Python's `json` reads back), in CSV
as the very bytes; for Parquet see `outputs.parquet`.
"""

from __future__ import annotations

import csv
import io
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import IO, TYPE_CHECKING, TypeAlias

from resnest_cli.errors import UsageError
from resnest_cli.outputs import html
from resnest_cli.outputs.rows import read_json, to_json
from resnest_cli.text import cells

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from resnest_cli.outputs.rows import About, Row

Writer: TypeAlias = "Callable[[Iterable[Row], IO[bytes], About], None]"

_COLUMNS = ("index", "wnid", "label", "probability")


@dataclass(frozen=True)
class Lines:
    """A format of which each row stands by itself.

    Attributes:
        header: what a file begins with, for a number of classes.
        encode: a row as text with its line end, for that number.
        decode: the row's path, status and error again; ValueError if the text is no row.
        is_whole: whether a text that ends in a line end is a row, or goes on in the next line.
    """

    header: Callable[[int], bytes]
    encode: Callable[[Row, int], bytes]
    decode: Callable[[bytes], Row]
    is_whole: Callable[[bytes], bool]

    def write(self, rows: Iterable[Row], out: IO[bytes], about: About) -> None:
        """Write header and rows, each as it comes."""
        out.write(self.header(about.topk))
        for row in rows:
            out.write(self.encode(row, about.topk))
            out.flush()


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


def _header(delimiter: str, topk: int) -> bytes:
    groups = [f"{column}_{rank}" for rank in range(1, topk + 1) for column in _COLUMNS]
    return _line(["path", "status", *groups, "error_type", "error_message"], delimiter)


def _encode(delimiter: str, row: Row, topk: int) -> bytes:
    values = [cells.escape_surrogates(prediction[column]) for prediction in row["predictions"] for column in _COLUMNS]
    padding = [""] * (topk * len(_COLUMNS) - len(values))
    error = row.get("error", {"type": "", "message": ""})
    ends = [error["type"], cells.escape_surrogates(error["message"])]
    return _line([row["path"], row["status"], *values, *padding, *ends], delimiter)


def _line(values: list[object], delimiter: str) -> bytes:
    return cells.line(values, delimiter).encode("utf-8", "surrogateescape")


def _decode(delimiter: str, text: bytes) -> Row:
    try:
        (found,) = csv.reader(io.StringIO(text.decode("utf-8", "surrogateescape"), newline=""), delimiter=delimiter)
    except csv.Error as odd:  # which is no ValueError
        raise ValueError(*odd.args) from odd
    path, status, *_, error, message = map(cells.unescape, found)
    return {"path": path, "status": status} | ({"error": {"type": error, "message": message}} if error else {})


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
LINES = {"jsonl": JSONL, "csv": separated(","), "tsv": separated("\t")}
WRITERS: dict[str, Writer] = {
    "jsonl": JSONL.write,
    "json": write_json,
    "csv": LINES["csv"].write,
    "tsv": LINES["tsv"].write,
    "parquet": write_parquet,
    "html": html.write,
}


def require(format: str) -> None:
    """Load what a format needs.

    Raises:
        UsageError: it is not installed; the message says how to.
    """
    if format != "parquet":
        return
    try:
        from resnest_cli.outputs import parquet  # noqa: F401, PLC0415 - pyarrow is heavy, and an extra
    except ImportError as error:
        message = "Parquet needs pyarrow, which is not installed: pip install 'resnest-cli[parquet]'."
        raise UsageError(message) from error


@contextmanager
def as_text(out: IO[bytes]) -> Iterator[IO[str]]:
    """Write text to a binary stream: UTF-8, with the bytes of names that are not; the stream stays open."""
    text = io.TextIOWrapper(out, encoding="utf-8", errors="surrogateescape", newline="", write_through=True)
    try:
        yield text
    finally:
        text.detach()  # or the wrapper would close the stream when it is collected
