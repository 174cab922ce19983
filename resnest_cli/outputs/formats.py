r"""Records as bytes: one function a format, each a consumer of a stream that writes rows as they come.

In: rows (records as `to_row` gives them), a binary stream, and what there is to say `About` them. Out: UTF-8. Two
formats are `Lines`: a file of them grows row by row, can be read back, and so can be continued.

A path that is not valid UTF-8 keeps its bytes: in JSON as the escape \udcXX (what Python's `json` reads back), in CSV
as the very bytes; for Parquet see `writers.parquet`.
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import IO, TYPE_CHECKING, Any, TypeAlias, TypeVar

from resnest_cli.errors import UsageError, counted
from resnest_cli.outputs.limits import MaxFailures
from resnest_cli.text import cells, jsons
from resnest_cli.types import Failure, Stages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from resnest_cli.types import Record

Row: TypeAlias = "dict[str, Any]"
_Item = TypeVar("_Item")
Writer: TypeAlias = "Callable[[Iterable[Row], IO[bytes], About], None]"

_COLUMNS = ("index", "wnid", "label", "probability")


@dataclass(frozen=True)
class About:
    """What holds for all rows: how many classes each has room for (features: 0), and what made them."""

    topk: int
    facts: Mapping[str, Any]


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


def to_row(record: Record) -> Row:
    """Return the record as the object that JSON has for it."""
    row: Row = {"path": record.path, "status": record.status}
    row["predictions"] = [asdict(prediction) for prediction in record.predictions]
    if isinstance(record, Failure):
        row["error"] = {"type": record.type, "message": record.message}
    return row


def to_json(row: Row) -> bytes:
    """Return the row as one JSON object; probabilities read back exactly as the float32 they were."""
    text = json.dumps(row, ensure_ascii=False)
    if not text.isprintable():  # lone surrogates; and what would move a terminal's cursor or turn its text around
        text = "".join(character if character.isprintable() else _escaped(character) for character in text)
    return text.encode()


def _escaped(character: str) -> str:
    return json.dumps(character)[1:-1] if character != "\x7f" else r"\u007f"  # which ASCII has, and is no letter


def write_json(rows: Iterable[Row], out: IO[bytes], about: About) -> None:  # noqa: ARG001 - JSON needs no columns
    """Write one JSON array of the objects that are lines in jsonl."""
    separator = b"[\n"
    for row in rows:
        out.write(separator + to_json(row))
        out.flush()
        separator = b",\n"
    out.write(b"[]\n" if separator == b"[\n" else b"\n]\n")


def write_parquet(rows: Iterable[Row], out: IO[bytes], about: About) -> None:
    """Write a Parquet file; see `writers.parquet`."""
    from resnest_cli.outputs import parquet  # noqa: PLC0415 - pyarrow is heavy, and an extra

    parquet.write(rows, out, about)


def write_html(rows: Iterable[Row], out: IO[bytes], about: About) -> None:
    """Write one page to look through; see `writers.html`."""
    from resnest_cli.outputs import html  # noqa: PLC0415 - reads its template

    html.write(rows, out, about)


def _header(delimiter: str, topk: int) -> bytes:
    groups = [f"{column}_{rank}" for rank in range(1, topk + 1) for column in _COLUMNS]
    return _line(["path", "status", *groups, "error_type", "error_message"], delimiter)


def _encode(delimiter: str, row: Row, topk: int) -> bytes:
    values = [cells.valid(prediction[column]) for prediction in row["predictions"] for column in _COLUMNS]
    padding = [""] * (topk * len(_COLUMNS) - len(values))
    error = row.get("error", {"type": "", "message": ""})
    ends = [error["type"], cells.valid(error["message"])]
    return _line([row["path"], row["status"], *values, *padding, *ends], delimiter)


def _line(values: list[object], delimiter: str) -> bytes:
    return cells.line(values, delimiter).encode("utf-8", "surrogateescape")


def _decode(delimiter: str, text: bytes) -> Row:
    try:
        (found,) = csv.reader(io.StringIO(text.decode("utf-8", "surrogateescape"), newline=""), delimiter=delimiter)
    except csv.Error as odd:  # which is no ValueError
        raise ValueError(*odd.args) from odd
    path, status, *_, error, message = map(cells.plain, found)
    return {"path": path, "status": status} | ({"error": {"type": error, "message": message}} if error else {})


def separated(delimiter: str) -> Lines:
    """Return the format of cells with `delimiter` between them, quoted and made harmless as in CSV."""
    return Lines(
        header=partial(_header, delimiter),
        encode=partial(_encode, delimiter),
        decode=partial(_decode, delimiter),
        is_whole=lambda text: text.count(b'"') % 2 == 0,  # else the line end stands inside a quoted cell
    )


def read_json(text: bytes) -> Row:
    """Read a row of `to_json` again.

    Raises:
        ValueError: the text is no row.
    """
    row = jsons.parse(text)
    if not (isinstance(row, dict) and isinstance(row.get("path"), str) and _is_error(row.get("error", {"type": ""}))):
        message = "not a row"
        raise ValueError(message)
    return row


def _is_error(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("type"), str)


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
    "html": write_html,
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
        message = "Parquet needs pyarrow, which is not here: pip install 'resnest-cli[parquet]'."
        raise UsageError(message) from error


@contextmanager
def as_text(out: IO[bytes]) -> Iterator[IO[str]]:
    """Write text to a binary stream: UTF-8, with the bytes of names that are not; the stream stays open."""
    text = io.TextIOWrapper(out, encoding="utf-8", errors="surrogateescape", newline="", write_through=True)
    try:
        yield text
    finally:
        text.detach()  # or the wrapper would close the stream when it is collected


def complete(rows: int) -> str:
    """Say that an earlier run has finished the job."""
    return f"complete: {rows:,} row{'s' * (rows != 1)}"


class Summary:
    """Counts the records that pass through `watch`, and so knows what to say at the end, and the exit code.

    Attributes:
        ok: records with an answer.
        failures: failed records by the type of their error.
        stages: seconds by stage; `watch` adds to `write` what its consumer takes.
        seconds: from the first record asked for to the last one written.
    """

    def __init__(self, stages: Stages | None = None, *, most: MaxFailures | None = None) -> None:
        self._most = most or MaxFailures()
        self.ok = 0
        self.failures: Counter[str] = Counter()
        self.stages = stages or Stages()
        self.seconds = 0.0

    @property
    def failed(self) -> int:
        """Records without an answer."""
        return self.failures.total()

    def watch(self, records: Iterable[_Item]) -> Iterator[_Item]:
        """Pass records on, counting them.

        Raises:
            TooManyFailures: more than `most` have failed; the last of them was passed on.
        """
        begun = time.perf_counter()
        for record in records:
            self.count(record.type if isinstance(record, Failure) else None)
            given = time.perf_counter()
            yield record
            self.seconds = time.perf_counter() - begun
            self.stages.write += time.perf_counter() - given
            self._most.check(self.ok, self.failures)
        self._most.check(self.ok, self.failures, at_end=True)

    def count(self, error: str | None) -> None:
        """Count one record: the type of its error, or None for an answer."""
        if error is None:
            self.ok += 1
        else:
            self.failures[error] += 1

    def words(self, earlier: int, output: Path | None = None) -> str:
        """Say how many there were or where they were written, how fast that was, what failed and why.

        `earlier` of them are of runs before this one.
        """
        total = self.ok + self.failed
        now = total - earlier
        rate = f", {now / self.seconds:.1f}/s" if self.seconds and now else ""
        before = f" after {earlier:,} done before" if earlier else ""
        done = f"wrote {output}, {counted(total, 'row')}," if output else counted(now, "input")
        lines = [f"{done} in {self.seconds:.1f} s{rate}{before}."]
        if self.failed:
            types = ", ".join(f"{kind} {count:,}" for kind, count in self.failures.most_common())
            lines.append(f"{self.failed:,} of {counted(total, 'input')} failed: {types}.")
        return "\n".join(lines)

    def times(self) -> str:
        """Say where the time went."""
        stages = [f"{name} {seconds:.2f} s" for name, seconds in asdict(self.stages).items() if seconds]
        return f"time by stage: {', '.join(stages)}."
