"""Pooled features as files: how a row of them is written, and how a file is read back as one array.

In: rows and failures in the order of the inputs. Out: `.npy`, `.parquet` or `.jsonl`, and `Features` from each of them.
Row i always belongs to input i: a failed input has a row of NaN (null in Parquet and JSON), and its error beside it.

JSON lines are written in place, as they come; the other two are composed at the end of lines that hold each row's bytes
(see `jobs` for what happens to these in between). A file's facts, how it was made, are in `FILE.json` beside it, in
Parquet in its metadata: by them a search knows the network that a query must go through.
"""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from resnest_cli.errors import UsageError
from resnest_cli.inputs import columns
from resnest_cli.outputs import records
from resnest_cli.outputs.formats import Lines, require
from resnest_cli.outputs.rows import error_of, read_json, to_json
from resnest_cli.system import atomic, files
from resnest_cli.system.paths import Kind, look
from resnest_cli.text.jsons import Entries, parse
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from resnest_cli.outputs.formats import Writer
    from resnest_cli.outputs.rows import About, Row
    from resnest_cli.pipeline import stream

BLOCK = 4096  # rows in memory at a time
MAX_WIDTH = 1 << 16  # numbers in a row; the networks that there are have 2048
MAX_LINE_BYTES = 32 * MAX_WIDTH  # of a row as JSON
SUFFIXES = (".npy", ".parquet", ".jsonl")
_DTYPE = np.dtype("<f4")


@dataclass(frozen=True)
class Features:
    """What a file holds: `values` float32 [N, F], NaN where an input failed, its `paths`, and the facts of its making.

    The values of a `.npy` file stay on the disk until they are used.
    """

    facts: dict[str, Any]
    paths: list[str]
    values: NDArray[np.float32]


def to_row(item: stream.Row | Failure) -> Row:
    """Return an input's row: path, status, its error if it has one, and its "embedding", float32 [F] or None."""
    row: Row = {"path": item.path}
    if isinstance(item, Failure):
        return row | {"status": item.status} | error_of(item) | {"embedding": None}
    return row | {"status": "ok", "embedding": item.values}


def _as_numbers(row: Row, _: int) -> bytes:
    values = row["embedding"]
    # float(str(...)): the shortest decimal form that reads back exactly as the float32 it is.
    return to_json(row | {"embedding": values if values is None else [float(str(value)) for value in values]}) + b"\n"


def _as_bytes(row: Row, _: int) -> bytes:
    values = row["embedding"]
    packed = None if values is None else base64.b64encode(values.astype(_DTYPE, copy=False).tobytes()).decode()
    return to_json(row | {"embedding": packed}) + b"\n"


def _from_bytes(text: bytes) -> Row:
    row = read_json(text)
    match row:
        case {"embedding": None}:
            return row
        case {"embedding": str(packed)}:
            return row | {"embedding": np.frombuffer(base64.b64decode(packed), _DTYPE)}
    message = "not a row of features"
    raise ValueError(message)


JSONL = Lines(header=lambda _: b"", encode=_as_numbers, decode=read_json, is_whole=lambda _: True)
_PACKED = Lines(header=lambda _: b"", encode=_as_bytes, decode=_from_bytes, is_whole=lambda _: True)


def layout(path: Path) -> tuple[Lines, Writer | None]:
    """Tell how rows are kept while they come, and what makes the file at `path` of them (None: they are that file).

    Raises:
        UsageError: the suffix names no format, or what it needs is not installed.
    """
    if path.suffix == ".jsonl":
        return JSONL, None
    if path.suffix == ".npy":
        return _PACKED, partial(_write_npy, path)
    if path.suffix == ".parquet":
        require("parquet")  # before the first image, not after the last
        return _PACKED, _write_parquet
    message = f"-o {path}: its suffix names no format; use one of {', '.join(SUFFIXES)}."
    raise UsageError(message)


def companions(path: Path) -> list[Path]:
    """Return the files that lie beside the file of features at `path`."""
    beside = {".npy": [_paths_of(path), _facts_of(path)], ".jsonl": [_facts_of(path)]}
    return beside.get(path.suffix, [])


def write_facts(path: Path, facts: dict[str, Any]) -> None:
    """Say beside the file how its features are made.

    Raises:
        OSError: it cannot be written.
    """
    atomic.write(_facts_of(path), (json.dumps(facts, indent=1) + "\n").encode())


def _write_npy(path: Path, rows: Iterable[Row], out: IO[bytes], about: About) -> None:
    """Write float32 [N, F]; what belongs beside `path`, the paths and the facts, is there before it gets that name."""
    width, count = about.facts["width"], 0
    out.write(_header(0, width))
    with atomic.writer(_paths_of(path)) as lines:
        for row in rows:
            values = row.pop("embedding")
            out.write((np.full(width, np.nan, _DTYPE) if values is None else values).tobytes())
            lines.write(to_json(row) + b"\n")
            count += 1
        out.seek(0)
        out.write(_header(count, width))
        _withdraw(path, out)
    write_facts(path, dict(about.facts))


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


def read(path: Path) -> Features:
    """Read a file of features.

    Raises:
        UsageError: it is not there, not complete, or not one that `resnest embed` wrote.
    """
    if path.suffix not in _READERS:
        message = f"--index {path}: not a file of features; `resnest embed ... -o FILE.npy` makes one."
        raise UsageError(message)
    seen = look(path)
    if seen.kind is Kind.UNKNOWN:
        message = f"--index {path}: {seen.why}"
        raise UsageError(message)
    is_whole = seen.is_there and path.suffix != ".jsonl"  # while a job is to replace it, the old one stands
    if not is_whole and look(records.unfinished(path)).is_there:
        message = f"--index {path}: it is not finished; the same `resnest embed` with --resume continues."
        raise UsageError(message)
    if not seen.is_there:
        message = f"--index {path}: there is no such file; `resnest embed ... -o {path}` makes it."
        raise UsageError(message)
    try:
        features = _READERS[path.suffix](path)
    except (OSError, ValueError, KeyError, TypeError, MemoryError) as error:
        message = f"--index {path} cannot be read ({error}): make it anew with `resnest embed`."
        raise UsageError(message) from error
    if not all(isinstance(name, str) for name in features.paths):
        message = f"--index {path}: a path in it is no text: make it anew."
        raise UsageError(message)
    wanted = ((len(features.paths), features.facts["width"]), _DTYPE)
    if (features.values.shape, features.values.dtype) != wanted:
        message = f"--index {path}: {len(features.paths)} paths for {len(features.values)} rows: make it anew."
        raise UsageError(message)
    return features


def _read_npy(path: Path) -> Features:
    try:
        values = np.lib.format.open_memmap(path, mode="r")  # a shape that the file has no room for is refused
    except OSError:
        raise
    except Exception as error:  # of a hostile header, numpy raises what Python's own reader does
        message = f"it is not an array that numpy wrote ({type(error).__name__})"
        raise ValueError(message) from error
    if values.dtype != _DTYPE or values.ndim != 2:  # noqa: PLR2004 - a table
        message = f"it holds {values.dtype} in {values.ndim} dimensions, not float32 in 2"
        raise ValueError(message)
    paths = [row["path"] for row in _json_lines(_paths_of(path))]
    return Features(_read_facts(_facts_of(path)), paths, values)


def _read_jsonl(path: Path) -> Features:
    facts = _read_facts(_facts_of(path))
    width = facts["width"]
    paths: list[str] = []
    blocks: list[NDArray[np.float32]] = [np.empty((0, width), np.float32)]
    for row in _json_lines(path):
        paths.append(row["path"])
        values = row["embedding"] or [np.nan] * width
        blocks.append(np.array([values], np.float32))
    return Features(facts, paths, np.concatenate(blocks))


def _json_lines(path: Path) -> Iterator[Any]:
    """Yield the values of a file that has one in each line.

    Raises:
        ValueError: a line is no JSON, or longer than that of a row can be.
    """
    with path.open("rb") as file:
        while line := file.readline(MAX_LINE_BYTES):
            if len(line) == MAX_LINE_BYTES:
                message = f"{path.name} has a line of {MAX_LINE_BYTES >> 20} MB or more"
                raise ValueError(message)
            yield read_json(line)


def _read_parquet(path: Path) -> Features:
    with columns.opened(path) as file:
        facts = _facts(file.facts)
        paths: list[str] = []
        blocks = [np.empty((0, facts["width"]), np.float32)]
        for names, values in file.blocks(["path", "embedding"]):
            paths += names
            blocks.append(np.asarray(values))
    return Features(facts, paths, np.concatenate(blocks))


_READERS = {".npy": _read_npy, ".parquet": _read_parquet, ".jsonl": _read_jsonl}


def _schema(width: int) -> Any:  # noqa: ANN401 - pyarrow has no types
    import pyarrow as pa  # noqa: PLC0415 - of the extra "parquet"

    texts = [(name, pa.string()) for name in ("path", "status")]
    errors = [(name, pa.string()) for name in ("error_type", "error_message")]
    return pa.schema([*texts, ("embedding", pa.list_(pa.float32(), width)), *errors])


def _header(count: int, width: int) -> bytes:
    """Return the header of a `.npy` file; numpy leaves room in it, so that it is as long for any number of rows."""
    out = io.BytesIO()
    facts = {"descr": _DTYPE.str, "fortran_order": False, "shape": (count, width)}
    np.lib.format.write_array_header_1_0(out, facts)
    return out.getvalue()


def _read_facts(path: Path) -> dict[str, Any]:
    try:
        return _facts(files.read(path, records.MAX_BYTES))
    except ValueError as error:
        message = f"{path.name}: {error}"
        raise ValueError(message) from error


def _facts(text: bytes) -> dict[str, Any]:
    """Read facts, and check how wide they say that a row is.

    Raises:
        ValueError: they are none.
    """
    given = Entries(parse(text))
    given.integer("width", 1, MAX_WIDTH)
    return given.values


def _paths_of(path: Path) -> Path:
    return path.with_suffix(".paths.jsonl")


def _facts_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")
