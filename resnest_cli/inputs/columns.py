"""Columns of a Parquet file from an untrusted source, read in a process of its own, with limits.

In: the path of a file or of an object. Out: the names of its columns, our facts about it, and rows, a block at a time.
A file of 2 KB can hold a million names of 64 MB each (one, in a dictionary), or crash its reader. So the process that
reads it has limits of memory and time, and returns texts of a bounded length. Does not know what columns mean.
"""

from __future__ import annotations

import contextlib
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from resnest_cli.errors import DecodeTimeout, ResnestError, UrlRefused, UsageError, WorkerDied, message_of
from resnest_cli.inputs import buckets
from resnest_cli.inputs.pool import Worker, limit_memory
from resnest_cli.system import imports
from resnest_cli.system.paths import reason
from resnest_cli.text.listing import few

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

FACTS = b"resnest"  # in the metadata of a file of ours
ROWS = 1024  # per block
MAX_TEXT_BYTES = 1 << 14
MAX_COLUMNS = 10_000
TIMEOUT_S = 60.0  # per block
MOST_TIMES = 100  # rows, or bytes of their values, per byte of the file: equal values take no room in it
_TEXTS = {"string", "large_string", "string_view"}
_FLOATS = {"float", "double", "halffloat"}
_SCALARS = ("int", "uint", "float", "double", "halffloat", "bool", "date", "null")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes of memory of the reading process, and rows and bytes of values that any file may hold."""

    memory: int = 1 << 30  # a block of the widest features has 256 MB
    rows: int = 1 << 20
    bytes: int = 1 << 28


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Ask:
    """A question to the reading process: block `number` of some columns; without names, which columns there are."""

    names: tuple[str, ...] = ()
    number: int = 0


class Columns:
    """An open file; `opened` returns one. `names` are its columns, `facts` the metadata under "resnest"."""

    def __init__(self, reader: _Reader, worker: Worker | None) -> None:
        self._reader = reader
        self._worker = worker
        self.names: list[str]
        self.facts: bytes
        self.names, self.facts = self._answer(Ask())

    def rows(self, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """Yield rows of some columns: text, a scalar, float32 [F], or None.

        Raises:
            ValueError: the file is damaged, or exceeds the limits.
        """
        for columns in self.blocks(names):
            yield from zip(*columns, strict=True)

    def blocks(self, names: Sequence[str]) -> Iterator[list[Any]]:
        """Yield blocks of rows, each as a list of columns; otherwise as `rows`."""
        number = 0
        while block := self._answer(Ask(tuple(names), number)):
            yield block
            number += 1

    def _answer(self, ask: Ask) -> Any:  # noqa: ANN401 - as asked
        if not self._worker:
            return self._reader(ask)
        self._worker.submit(ask)
        try:
            return self._worker.result()
        except DecodeTimeout:
            message = f"it takes longer than {TIMEOUT_S:g} s to read {ROWS} rows of it"
        except WorkerDied:
            message = "it ends the process that reads it"
        raise ValueError(message)


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Columns]:
    """Open a Parquet file, or an object that is one.

    Raises:
        ValueError: it is not there, or cannot be read; the message says why.
        UsageError: pyarrow is not here.
    """
    imports.require(f"{path}: Parquet", "parquet", "pyarrow")
    reader = _Reader(os.fspath(path), LIMITS)
    worker = Worker(reader, TIMEOUT_S) if os.name == "posix" else None
    try:
        yield Columns(reader, worker)
    finally:
        worker.stop() if worker else reader.close()


def index(path: str) -> Iterator[str]:
    """Read names from the column `path` of a Parquet file, lazily; empty ones are skipped.

    Raises:
        UsageError: there is no such file, or no such column.
        ResnestError: it cannot be read to its end.
    """
    with contextlib.ExitStack() as ends:
        try:
            file = ends.enter_context(opened(path))
        except (ValueError, UrlRefused) as error:
            raise UsageError(f"--files-from {path}: the index cannot be read: {message_of(error)}.") from error
        if "path" not in file.names:
            raise UsageError(f"--files-from {path}: it has no column `path`; it has {first_names(file.names)}.")
        try:
            for number, (name,) in enumerate(file.rows(["path"]), 1):
                if name:
                    yield _name(number, name)
        except ValueError as error:
            raise ResnestError(f"--files-from {path}: it cannot be read to its end: {error}.") from error


def _name(number: int, value: object) -> str:
    if isinstance(value, str):
        return value
    raise ValueError(f"row {number} holds {value!r}, and no name")


def first_names(names: Sequence[str]) -> str:
    """Return the first names of columns, for a message."""
    return few([name.strip()[:100] for name in names], 20)


class _Reader:
    """The work of the process; the `Load` of a `Worker`."""

    def __init__(self, path: str, limits: Limits) -> None:
        self._path = path
        self._limits = limits
        self._size = 0
        self._source: Any = None
        self._blocks: Iterator[list[Any]] = iter(())
        self._next: Ask | None = None

    def prepare(self) -> None:
        """Limit the memory of this process, where the system can."""
        limit_memory(self._limits.memory)

    def __call__(self, ask: Ask) -> Any:  # noqa: ANN401 - as asked
        """Return the answer.

        Raises:
            ValueError: why there is none.
        """
        try:
            return self._block(ask) if ask.names else self._about()
        except ResnestError:
            raise
        except MemoryError:
            message = f"it needs more than {self._limits.memory >> 20} MB of memory"
        except OSError as error:
            message = reason(error).rstrip(".") if error.strerror else str(error).splitlines()[0]
        except Exception as error:  # noqa: BLE001 - pyarrow raises many, and this is a file from anywhere
            message = (str(error).splitlines() or [type(error).__name__])[0][:500]
        raise ValueError(message)

    def close(self) -> None:
        """Close the file, if it was read in this process."""
        if self._source:
            self._source.close()

    def _about(self) -> tuple[list[str], bytes]:
        schema = self._opened().schema_arrow
        if len(schema.names) > MAX_COLUMNS:
            raise ValueError(f"it has more than {MAX_COLUMNS:,} columns")
        return schema.names, (schema.metadata or {}).get(FACTS, b"")

    def _block(self, ask: Ask) -> list[Any]:
        if ask != self._next:  # the first block, or an earlier process was killed
            self._blocks = self._all_blocks(ask.names)
            for _ in range(ask.number):
                next(self._blocks, None)
        self._next = Ask(ask.names, ask.number + 1)
        return next(self._blocks, [])

    def _all_blocks(self, names: tuple[str, ...]) -> Iterator[list[Any]]:
        schema = self._opened().schema_arrow
        for name in names:
            if schema.names.count(name) > 1:
                raise ValueError(f"it has more than one column {name}")
        texts = [name for name in names if str(schema.field(name).type) in _TEXTS]
        file, rows, held = self._opened(texts), 0, 0
        for batch in file.iter_batches(ROWS, columns=[*names], use_threads=False):
            block = [_values(name, batch.column(batch.schema.get_field_index(name))) for name in names]
            rows, held = rows + len(batch), held + sum(map(_bytes, block))
            most = MOST_TIMES * self._size
            if rows > max(self._limits.rows, most) or held > max(self._limits.bytes, most):
                raise ValueError(
                    f"it has {rows:,} rows or more, of {held >> 20:,} MB, in a file of {self._size:,} bytes"
                )
            yield block

    def _opened(self, texts: Sequence[str] = ()) -> Any:  # noqa: ANN401 - pyarrow has no types
        """Open the file; equal texts in the columns `texts` are read once."""
        from pyarrow import parquet  # noqa: PLC0415 - of the extra "parquet"

        self.close()
        if buckets.is_bucket(self._path):
            store, place = buckets.opened(self._path)
            self._source = store.open_input_file(place)
        else:
            self._source = open(self._path, "rb")  # noqa: PTH123, SIM115 - as typed; `close` closes it
        self._size = self._source.seek(0, os.SEEK_END)
        return parquet.ParquetFile(self._source, read_dictionary=[*texts], pre_buffer=False)


def _values(name: str, column: Any) -> Sequence[Any] | NDArray[np.float32]:  # noqa: ANN401 - pyarrow has no types
    """Return the values of a column: texts, scalars, a row of floats each, or lists of integers or of structs.

    Raises:
        ValueError: it holds other values, or a text that is too long.
    """
    from pyarrow import types  # noqa: PLC0415 - of the extra "parquet"

    values: Sequence[Any]
    if types.is_dictionary(column.type):
        words = _values(name, column.dictionary)
        return [None if at is None else words[at] for at in column.indices.to_pylist()]
    if types.is_fixed_size_list(column.type) or types.is_list(column.type):
        inner = column.type.value_type
        if types.is_struct(inner):
            for field, child in zip(inner, column.flatten().flatten(), strict=True):
                _check(f"{name}.{field.name}", child)
        elif not types.is_integer(inner):
            return _vectors(name, column)
    else:
        _check(name, column)
    values = column.to_pylist()
    return values


def _check(name: str, column: Any) -> None:  # noqa: ANN401 - pyarrow has no types
    """Check that a column holds scalars, or texts that are not too long.

    Raises:
        ValueError: it does not.
    """
    if str(column.type) in _TEXTS:
        from pyarrow import compute  # noqa: PLC0415 - as above

        if (compute.max(compute.binary_length(column)).as_py() or 0) > MAX_TEXT_BYTES:
            raise ValueError(f"a text in its column {name} has more than {MAX_TEXT_BYTES:,} bytes")
    elif not str(column.type).startswith(_SCALARS):
        raise ValueError(f"its column {name} holds {str(column.type)[:100]}")


def _vectors(name: str, column: Any) -> NDArray[np.float32]:  # noqa: ANN401 - pyarrow has no types
    """Return lists of equal length as float32 [N, F]; a missing list is NaN."""
    from pyarrow import compute  # noqa: PLC0415 - of the extra "parquet"

    if str(column.type.value_type) not in _FLOATS:
        raise ValueError(f"its column {name} holds {str(column.type)[:100]}")
    lengths = [length for length in compute.unique(compute.list_value_length(column)).to_pylist() if length is not None]
    if len(lengths) > 1:
        raise ValueError(f"the rows of its column {name} have {lengths[0]} and {lengths[1]} numbers")
    there = column.is_valid().to_numpy(zero_copy_only=False)
    vectors = np.full((len(column), *lengths), np.nan, np.float32)
    vectors[there] = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, *lengths)
    return vectors


def _bytes(values: Sequence[Any] | NDArray[np.float32]) -> int:
    """Return the bytes of the values of a column."""
    if isinstance(values, np.ndarray):
        return values.nbytes
    return sum(map(len, {text for value in values for text in _texts(value)}))


def _texts(value: object) -> Iterator[str]:
    """Yield the texts in a value: itself, or those in its structs."""
    match value:
        case str():
            yield value
        case list():
            for each in value:
                yield from filter(_is_text, each.values() if isinstance(each, dict) else ())


def _is_text(value: object) -> bool:
    return isinstance(value, str)
