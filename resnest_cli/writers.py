r"""Records as bytes: one function a format, each a consumer of a stream that writes rows as they come.

In: records, a binary stream, the number of classes a row has room for. Out: UTF-8. A path that is not valid UTF-8 keeps
its bytes: in JSON as the escape \udcXX (what Python's `json` reads back), in CSV as the very bytes.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from contextlib import contextmanager
from dataclasses import asdict
from typing import IO, TYPE_CHECKING, Any

from resnest_cli.errors import OutputError
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from resnest_cli.types import Record


def write_jsonl(records: Iterable[Record], out: IO[bytes], topk: int) -> None:  # noqa: ARG001 - JSON needs no columns
    """Write one JSON object a line."""
    for record in records:
        out.write(to_json(record) + b"\n")
        out.flush()


def write_json(records: Iterable[Record], out: IO[bytes], topk: int) -> None:  # noqa: ARG001 - JSON needs no columns
    """Write one JSON array of the objects that `write_jsonl` writes."""
    separator = b"[\n"
    for record in records:
        out.write(separator + to_json(record))
        out.flush()
        separator = b",\n"
    out.write(b"[]\n" if separator == b"[\n" else b"\n]\n")


def write_csv(records: Iterable[Record], out: IO[bytes], topk: int) -> None:
    """Write CSV with a header and `topk` groups of index, wnid, label and probability."""
    columns = ("index", "wnid", "label", "probability")
    with as_text(out) as text:
        table = csv.writer(text, lineterminator="\n")
        groups = [f"{column}_{rank}" for rank in range(1, topk + 1) for column in columns]
        table.writerow(["path", "status", *groups, "error_type", "error_message"])
        for record in records:
            values = [getattr(prediction, column) for prediction in record.predictions for column in columns]
            padding = [""] * (len(groups) - len(values))
            error = [record.type, record.message] if isinstance(record, Failure) else ["", ""]
            table.writerow([record.path, record.status, *values, *padding, *error])
            out.flush()


@contextmanager
def as_text(out: IO[bytes]) -> Iterator[IO[str]]:
    """Write text to a binary stream: UTF-8, with the bytes of names that are not; the stream stays open."""
    text = io.TextIOWrapper(out, encoding="utf-8", errors="surrogateescape", newline="", write_through=True)
    try:
        yield text
    finally:
        text.detach()  # or the wrapper would close the stream when it is collected


@contextmanager
def open_output(path: Path | None, *, overwrite: bool, whole: bool) -> Iterator[IO[bytes]]:
    """Open `path`, or stdout if None. With `whole` the file gets its name only when it is complete.

    Raises:
        OutputError: it exists and is not to be replaced, or cannot be written.
    """
    if path is None:
        yield sys.stdout.buffer
        return
    if path.exists() and not overwrite:
        message = f"{path} exists; add --overwrite to replace it."
        raise OutputError(message)
    target = path.with_name(f"{path.name}.part") if whole else path
    try:
        out = target.open("wb")
    except OSError as error:
        message = f"{target} cannot be written: {error.strerror}."
        raise OutputError(message) from error
    with out:
        yield out
    target.replace(path)


WRITERS: dict[str, Callable[[Iterable[Record], IO[bytes], int], None]] = {
    "jsonl": write_jsonl,
    "json": write_json,
    "csv": write_csv,
}


def to_json(record: Record) -> bytes:
    """Give the record as one JSON object; probabilities read back exactly as the float32 they were."""
    row: dict[str, Any] = {"path": record.path, "status": record.status}
    row["predictions"] = [asdict(prediction) for prediction in record.predictions]
    if isinstance(record, Failure):
        row["error"] = {"type": record.type, "message": record.message}
    # A lone surrogate cannot be encoded; "backslashreplace" writes it as the JSON escape of the same code point.
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace")


class Summary:
    """Counts the records that pass through `watch`, and so knows the exit code."""

    def __init__(self) -> None:
        self.ok = 0
        self.failed = 0

    def watch(self, records: Iterable[Record]) -> Iterator[Record]:
        """Pass records on, counting them."""
        for record in records:
            if isinstance(record, Failure):
                self.failed += 1
            else:
                self.ok += 1
            yield record
