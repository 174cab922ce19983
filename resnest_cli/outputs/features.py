"""The formats of pooled features.

In: rows and failures in the order of the inputs. Out: `.npy`, `.parquet`, `.jsonl` or `.csv`; `index` reads each of
them back. Row i always belongs to input i: a failed input has a row of NaN (null in Parquet and JSON, empty cells in
CSV) with its error beside it.

JSON lines and CSV are written in place as they come; the other two formats are composed at the end, of lines that hold
each row's bytes (see `resumable`). How the features were made is in `FILE.json` beside the file, in Parquet in the
file's metadata: from there a search takes the network for its query.
"""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from resnest_cli.errors import UsageError
from resnest_cli.outputs.formats import Format, Lines, require, separated
from resnest_cli.outputs.rows import error_of, read_json, to_json
from resnest_cli.system import atomic, files
from resnest_cli.text import cells
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from resnest_cli.outputs.rows import About, Row
    from resnest_cli.pipeline import stream

BLOCK = 4096  # rows in memory at a time
SUFFIXES = (".npy", ".parquet", ".jsonl", ".csv")
DTYPE = np.dtype("<f4")


def to_row(item: stream.Row | Failure) -> Row:
    """Return an input's row: path, status, its error if it has one, and its "embedding", float32 [F] or None."""
    row: Row = {"path": item.path}
    if isinstance(item, Failure):
        return row | {"status": item.status} | error_of(item) | {"embedding": None}
    return row | {"status": "ok", "embedding": item.values}


def _as_numbers(row: Row, _: About) -> bytes:
    values = row["embedding"]
    # float(str(...)): the shortest decimal form that reads back exactly as the float32 it is.
    return to_json(row | {"embedding": values if values is None else [float(str(value)) for value in values]}) + b"\n"


def _as_bytes(row: Row, _: About) -> bytes:
    values = row["embedding"]
    packed = None if values is None else base64.b64encode(values.astype(DTYPE, copy=False).tobytes()).decode()
    return to_json(row | {"embedding": packed}) + b"\n"


def _from_bytes(text: bytes) -> Row:
    row = read_json(text)
    match row:
        case {"embedding": None}:
            return row
        case {"embedding": str(packed)}:
            return row | {"embedding": np.frombuffer(base64.b64decode(packed), DTYPE)}
    message = "not a row of features"
    raise ValueError(message)


def columns(width: int) -> list[str]:
    """Name the columns of a CSV file of features, F = `width`."""
    return ["path", "status", *(f"feature_{number}" for number in range(width)), "error_type", "error_message"]


def _csv_header(about: About) -> bytes:
    return cells.line(columns(about.facts["width"])).encode()


def _as_cells(row: Row, about: About) -> bytes:
    values = row["embedding"]  # float32, of which str is the shortest that reads back exactly
    numbers = [None] * about.facts["width"] if values is None else values
    error = row.get("error", {"type": "", "message": ""})
    texts = [row["path"], row["status"], *numbers, error["type"], cells.escape_surrogates(error["message"])]
    return cells.line(texts).encode("utf-8", "surrogateescape")


JSONL = Format(
    "jsonl", Lines(header=lambda _: b"", encode=_as_numbers, decode=read_json, is_whole=lambda _: True), to_row=to_row
)
CSV = Format("csv", replace(separated(","), header=_csv_header, encode=_as_cells), to_row=to_row)
GROWING = {".jsonl": JSONL, ".csv": CSV}  # row by row under their names; others get them when they are complete
_PACKED = Lines(header=lambda _: b"", encode=_as_bytes, decode=_from_bytes, is_whole=lambda _: True)


def named(path: Path | str | None) -> Format:
    """Return the format of features in the file at `path`, by its suffix; on standard output (None) JSON lines.

    A folder (text), which a cluster writes, has a format of its own.

    Raises:
        UsageError: the suffix names no format, or what the format needs is not installed.
    """
    if path is None or isinstance(path, str):
        return JSONL
    facts, paths = facts_of(path), paths_of(path)
    if path.suffix in GROWING:
        return replace(GROWING[path.suffix], companions=(facts,), begun=partial(_write_facts, path))
    if path.suffix == ".npy":
        return Format(
            "npy", _PACKED, partial(_write_npy, path), to_row=to_row, needs_file=True, companions=(paths, facts)
        )
    if path.suffix == ".parquet":
        require("parquet")  # before the first image, not after the last
        return Format("parquet", _PACKED, _write_parquet, to_row=to_row, needs_file=True)
    message = f"-o {path}: its suffix names no format; use one of {', '.join(SUFFIXES)}."
    raise UsageError(message)


def _write_facts(path: Path, about: About) -> None:
    """Write how features are made beside their file.

    Raises:
        OSError: it cannot be written.
    """
    atomic.write(facts_of(path), (json.dumps(dict(about.facts), indent=1) + "\n").encode())


def _write_npy(path: Path, rows: Iterable[Row], out: IO[bytes], about: About) -> None:
    """Write float32 [N, F]; what belongs beside `path`, the paths and the facts, is there before it gets that name."""
    width, count = about.facts["width"], 0
    out.write(_header(0, width))
    with atomic.writer(paths_of(path)) as lines:
        for row in rows:
            values = row.pop("embedding")
            out.write((np.full(width, np.nan, DTYPE) if values is None else values).tobytes())
            lines.write(to_json(row) + b"\n")
            count += 1
        out.seek(0)
        out.write(_header(count, width))
        _withdraw(path, out)
    _write_facts(path, about)


def _withdraw(path: Path, new: IO[bytes]) -> None:
    """Remove the array that `new` replaces, whose permissions it gets: new paths must never stand beside old rows."""
    place = files.resolve(path)
    files.copy_mode(place, new)
    place.unlink(missing_ok=True)


def _write_parquet(rows: Iterable[Row], out: IO[bytes], about: About) -> None:
    """Write a Parquet file, a block at a time; the facts are in its metadata, under the key "resnest"."""
    from pyarrow import parquet as pq  # noqa: PLC0415 - of the extra "parquet"

    rows, width = iter(rows), about.facts["width"]
    schema = _schema(width).with_metadata({"resnest": json.dumps(dict(about.facts))})
    with pq.ParquetWriter(out, schema) as file:
        while block := list(islice(rows, BLOCK)):
            file.write_table(table(block, width).cast(schema))


def table(rows: list[Row], width: int) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Return rows of features, F = `width`, as an Arrow table, with the columns of a `.parquet` file."""
    import pyarrow as pa  # noqa: PLC0415 - of the extra "parquet"

    from resnest_cli.outputs import parquet  # noqa: PLC0415

    errors = [row.get("error") or {} for row in rows]
    columns = [
        [parquet.utf8_path(row["path"]) for row in rows],
        [row["status"] for row in rows],
        [row["embedding"] for row in rows],
        [error.get("type") for error in errors],
        [parquet.utf8(error.get("message", "")) or None for error in errors],
    ]
    return pa.table(columns, schema=_schema(width))


def _schema(width: int) -> Any:  # noqa: ANN401 - pyarrow has no types
    import pyarrow as pa  # noqa: PLC0415 - of the extra "parquet"

    texts = [(name, pa.string()) for name in ("path", "status")]
    errors = [(name, pa.string()) for name in ("error_type", "error_message")]
    return pa.schema([*texts, ("embedding", pa.list_(pa.float32(), width)), *errors])


def _header(count: int, width: int) -> bytes:
    """Return the header of a `.npy` file; numpy leaves room in it, so that it is as long for any number of rows."""
    out = io.BytesIO()
    facts = {"descr": DTYPE.str, "fortran_order": False, "shape": (count, width)}
    np.lib.format.write_array_header_1_0(out, facts)
    return out.getvalue()


def paths_of(path: Path) -> Path:
    """Name the file of the paths that belong to the rows of the array at `path`."""
    return path.with_suffix(".paths.jsonl")


def facts_of(path: Path) -> Path:
    """Name the file that says how the features at `path` were made."""
    return path.with_name(f"{path.name}.json")
