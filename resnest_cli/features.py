"""Pooled features as files: written row by row, continued after an interruption, read back as one array.

In: rows and failures in the order of the inputs. Out: `.npy`, `.parquet` or `.jsonl`, and `Features` from each of them.
Row i always belongs to input i: a failed input has a row of NaN (null in Parquet and JSON), and its error beside it.

A `.npy` or `.parquet` file gets its name when it is complete; until then its rows are in `.part` files, from which
`resume` goes on. JSON lines are in place as they come. Beside each file lie the facts of how it was made (`FILE.json`;
in Parquet they are in the file's metadata too), by which a search knows the network that a query must go through.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from resnest_cli.errors import OutputError, UsageError
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import ModuleType

    from numpy.typing import NDArray
    from typing_extensions import Self

    from resnest_cli.stream import Row
    from resnest_cli.types import Source

    Item = Row | Failure

BLOCK = 4096  # rows in memory at a time
_ANEW = "Use --overwrite to begin anew."
_DTYPE = np.dtype("<f4")


@dataclass(frozen=True)
class Features:
    """What a file holds: `values` float32 [N, F], NaN where an input failed, its `paths`, and the facts of its making.

    The values of a `.npy` file stay on the disk until they are used.
    """

    facts: dict[str, Any]
    paths: list[str]
    values: NDArray[np.float32]


class FeatureStream:
    """JSON lines to a stream that is open already, such as stdout; `failed` counts the inputs that have no features."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self.done = 0
        self.failed = 0

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the stream open."""

    def remaining(self, found: Iterable[Source | Failure]) -> Iterator[Source | Failure]:
        """Pass on the inputs that have no row yet: all of them."""
        return iter(found)

    def write(self, item: Item) -> None:
        """Add the next input's row, or its failure."""
        self._out.write(to_json(item, with_values=True) + b"\n")
        self._out.flush()
        self.done += 1
        self.failed += isinstance(item, Failure)

    def finish(self) -> None:
        """Do nothing: a stream is complete as it is."""


class FeatureFile:
    """A file that is being written; use it as a context manager, and `finish` it.

    Args:
        path: where the result goes; the suffix is the format.
        facts: how the features are made, JSON values only.
        width: F, the numbers in a row.
        resume: go on with what an interrupted run left.
        overwrite: replace a file that is there.

    Attributes:
        done: inputs that have a row, those of an interrupted run included once `remaining` has seen them.
        failed: those of them that have no features.

    Raises:
        UsageError: the suffix names no format, or what is to be resumed was made otherwise.
        OutputError: the file is there already, or cannot be written.
    """

    def __init__(self, path: Path, facts: dict[str, Any], width: int, *, resume: bool, overwrite: bool) -> None:
        if path.suffix not in _READERS:
            message = f"-o {path}: its suffix names no format; use one of {', '.join(_READERS)}."
            raise UsageError(message)
        self.path = path
        self.done = 0
        self.failed = 0
        self._facts = json.loads(json.dumps(facts))
        self._width = width
        if path.suffix == ".parquet":
            _pyarrow()  # before the first image, not after the last
        in_place = path.suffix == ".jsonl"
        self._lines = path if in_place else path.with_name(f"{path.name}.paths.part")
        self._rows = None if in_place else _part(path)
        self._sidecar = _facts_of(path) if in_place else _part(_facts_of(path))
        is_begun = self._sidecar.exists()
        if not overwrite:
            _refuse(path, is_begun=is_begun, resume=resume)
        try:
            self._files = self._continue() if resume and is_begun else self._begin()
        except OSError as error:
            message = f"{path} cannot be written: {error.strerror}."
            raise OutputError(message) from error

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close; what is not finished stays as it is, to be resumed."""
        for file in self._files:
            file.close()

    def remaining(self, found: Iterable[Source | Failure]) -> Iterator[Source | Failure]:
        """Pass on the inputs that have no row yet.

        Raises:
            UsageError: those that have one are not the inputs that come now.
        """
        inputs = iter(found)
        with self._lines.open("rb") as lines:
            for line in lines:
                row, now = json.loads(line), next(inputs, None)
                self._count(is_failure=row["status"] == "error")
                if now is None or now.path != row["path"]:
                    name = now.path if now else "not there"
                    message = f"--resume: input {self.done} was {row['path']} and is now {name}. {_ANEW}"
                    raise UsageError(message)
        return inputs

    def write(self, item: Item) -> None:
        """Add the next input's row, or its failure."""
        *rows, lines = self._files
        for file in rows:  # first, so that each whole line has its row
            file.write(_values(item, self._width).tobytes())
            file.flush()
        lines.write(to_json(item, with_values=not rows) + b"\n")
        lines.flush()
        self._count(is_failure=isinstance(item, Failure))

    def finish(self) -> None:
        """Give the file its name, now that it is complete."""
        self.__exit__()
        if self._rows is None:
            return
        count = (self._rows.stat().st_size - len(_header(0, self._width))) // self._bytes_a_row
        with self._rows.open("r+b") as file:
            file.write(_header(count, self._width))
            os.fsync(file.fileno())
        if self.path.suffix == ".parquet":
            _to_parquet(self._rows, self._lines, self._facts, self.path)
            for part in (self._rows, self._lines, self._sidecar):
                part.unlink()
        else:
            self._sidecar.replace(_facts_of(self.path))
            self._lines.replace(_paths_of(self.path))
            self._rows.replace(self.path)  # last: where it is, the others are

    def _count(self, *, is_failure: bool) -> None:
        self.done += 1
        self.failed += is_failure

    @property
    def _bytes_a_row(self) -> int:
        return self._width * _DTYPE.itemsize

    def _continue(self) -> list[IO[bytes]]:
        self._check_facts()
        files: list[IO[bytes]] = [path.open("r+b") for path in (self._rows, self._lines) if path]
        self._cut(files)
        return files

    def _begin(self) -> list[IO[bytes]]:
        files: list[IO[bytes]] = [path.open("wb") for path in (self._rows, self._lines) if path]
        if self._rows:
            files[0].write(_header(0, self._width))
        self._sidecar.write_text(json.dumps(self._facts, indent=1) + "\n", encoding="utf-8")
        return files

    def _check_facts(self) -> None:
        try:
            before = _read_facts(self._sidecar)
        except ValueError as error:
            message = f"--resume: {error}. {_ANEW}"
            raise UsageError(message) from error
        changed = sorted(key for key in before.keys() | self._facts.keys() if before.get(key) != self._facts.get(key))
        if changed:
            name = changed[0]
            now = self._facts.get(name)
            message = f"--resume: {self.path} was begun with another {name} ({before.get(name)}, now {now}). {_ANEW}"
            raise UsageError(message)

    def _cut(self, files: list[IO[bytes]]) -> None:
        """Cut off what an interruption tore, so that rows and lines are whole and as many."""
        *rows, lines = files
        count, header = sum(1 for line in lines if line.endswith(b"\n")), len(_header(0, self._width))
        for file in rows:
            count = min(count, max(0, file.seek(0, os.SEEK_END) - header) // self._bytes_a_row)
            file.seek(0)
            file.write(_header(0, self._width))  # it may have been torn too
            file.truncate(file.seek(header + count * self._bytes_a_row))
        lines.seek(0)
        for _ in range(count):
            lines.readline()
        lines.truncate()


def to_json(item: Item, *, with_values: bool) -> bytes:
    """Give an input's line: path, status, its features (read back exactly as the float32 they are) or its error."""
    row: dict[str, Any] = {"path": item.path}
    if isinstance(item, Failure):
        row |= {"status": item.status, "error": {"type": item.type, "message": item.message}}
    else:
        row["status"] = "ok"
    if with_values:
        row["embedding"] = None if isinstance(item, Failure) else [float(str(value)) for value in item.values]
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace")


def read(path: Path) -> Features:
    """Read a file of features.

    Raises:
        UsageError: it is not there, not complete, or not one that `resnest embed` wrote.
    """
    if path.suffix not in _READERS:
        message = f"--index {path}: not a file of features; `resnest embed ... -o FILE.npy` makes one."
        raise UsageError(message)
    try:
        features = _READERS[path.suffix](path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"--index {path} cannot be read ({error}): make it anew with `resnest embed`."
        raise UsageError(message) from error
    if features.values.ndim != 2 or len(features.paths) != len(features.values):  # noqa: PLR2004 - a table
        message = f"--index {path}: {len(features.paths)} paths for {len(features.values)} rows: make it anew."
        raise UsageError(message)
    return features


def _read_npy(path: Path) -> Features:
    lines = _paths_of(path).read_bytes().splitlines()
    return Features(
        _read_facts(_facts_of(path)), [json.loads(line)["path"] for line in lines], np.load(path, mmap_mode="r")
    )


def _read_jsonl(path: Path) -> Features:
    facts = _read_facts(_facts_of(path))
    width = int(facts["width"])
    paths: list[str] = []
    blocks: list[NDArray[np.float32]] = [np.empty((0, width), np.float32)]
    with path.open("rb") as lines:
        for line in lines:
            row = json.loads(line)
            paths.append(row["path"])
            values = row["embedding"] or [np.nan] * width
            blocks.append(np.array([values], np.float32))
    return Features(facts, paths, np.concatenate(blocks))


def _read_parquet(path: Path) -> Features:
    parquet = _pyarrow()
    table = parquet.read_table(path)
    facts = json.loads(table.schema.metadata[b"resnest"])
    blocks = [np.empty((0, facts["width"]), np.float32)]
    for chunk in table["embedding"].chunks:
        values = np.full((len(chunk), facts["width"]), np.nan, np.float32)
        valid = chunk.is_valid().to_numpy(zero_copy_only=False)
        values[valid] = chunk.flatten().to_numpy().reshape(-1, facts["width"])
        blocks.append(values)
    return Features(facts, table["path"].to_pylist(), np.concatenate(blocks))


_READERS = {".npy": _read_npy, ".parquet": _read_parquet, ".jsonl": _read_jsonl}


def _to_parquet(rows: Path, lines: Path, facts: dict[str, Any], path: Path) -> None:
    """Turn the finished parts into a Parquet file, a block at a time."""
    parquet = _pyarrow()
    import pyarrow as pa  # noqa: PLC0415 - of the extra "parquet"

    values = np.load(rows, mmap_mode="r")
    schema = _schema(facts["width"]).with_metadata({"resnest": json.dumps(facts)})
    whole = path.with_name(f"{path.name}.whole.part")
    with lines.open("rb") as file, parquet.ParquetWriter(whole, schema) as writer:
        for begin in range(0, len(values), BLOCK):
            block = values[begin : begin + BLOCK]
            records = [json.loads(next(file)) for _ in block]
            writer.write_batch(pa.record_batch(_columns(records, block), schema=schema))
    whole.replace(path)


def table(items: list[Item], width: int) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Give rows and failures as an Arrow table, with the columns of a `.parquet` file."""
    import pyarrow as pa  # noqa: PLC0415 - of the extra "parquet"

    records = [json.loads(to_json(item, with_values=False)) for item in items]
    values = [_values(item, width) for item in items]
    return pa.table(_columns(records, values), schema=_schema(width))


def _schema(width: int) -> Any:  # noqa: ANN401 - pyarrow has no types
    import pyarrow as pa  # noqa: PLC0415 - of the extra "parquet"

    texts = [(name, pa.string()) for name in ("path", "status")]
    errors = [(name, pa.string()) for name in ("error_type", "error_message")]
    return pa.schema([*texts, ("embedding", pa.list_(pa.float32(), width)), *errors])


def _columns(records: list[dict[str, Any]], values: Iterable[NDArray[np.float32]]) -> list[list[Any]]:
    failures = [record.get("error") or {} for record in records]
    return [
        [record["path"].encode("utf-8", "backslashreplace").decode() for record in records],
        [record["status"] for record in records],
        [None if error else row for row, error in zip(values, failures, strict=True)],
        [error.get("type") for error in failures],
        [error.get("message") for error in failures],
    ]


def _pyarrow() -> ModuleType:
    try:
        from pyarrow import parquet  # noqa: PLC0415 - of the extra "parquet"
    except ImportError as error:
        message = "Parquet needs pyarrow: pip install 'resnest-cli[parquet]'"
        raise UsageError(message) from error
    module: ModuleType = parquet
    return module


def _refuse(path: Path, *, is_begun: bool, resume: bool) -> None:
    """Keep what is there unless it is to go on.

    Raises:
        OutputError: a finished file, or one that is begun and not to be resumed.
    """
    is_stream = path.suffix == ".jsonl"
    if path.exists() and not (is_stream and is_begun and resume):
        message = f"{path} exists; add --overwrite to replace it{', or --resume to go on' if is_stream else ''}."
        raise OutputError(message)
    if is_begun and not resume:
        message = f"{path} is begun and not finished: add --resume to go on, or --overwrite to begin anew."
        raise OutputError(message)


def _values(item: Item, width: int) -> NDArray[np.float32]:
    return np.full(width, np.nan, _DTYPE) if isinstance(item, Failure) else item.values.astype(_DTYPE, copy=False)


def _header(count: int, width: int) -> bytes:
    """Give the header of a `.npy` file; numpy leaves room in it, so that it is as long for any number of rows."""
    out = io.BytesIO()
    facts = {"descr": _DTYPE.str, "fortran_order": False, "shape": (count, width)}
    np.lib.format.write_array_header_1_0(out, facts)
    return out.getvalue()


def _read_facts(path: Path) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        facts = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(facts, dict):
            return facts
    message = f"{path.name} is damaged"
    raise ValueError(message)


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _paths_of(path: Path) -> Path:
    return path.with_suffix(".paths.jsonl")


def _facts_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")
