"""A file of features, read back as one array: the index that a search compares with.

In: a file that `features` wrote, `.npy`, `.parquet`, `.jsonl` or `.csv`. Out: `Features`. The file may come from
anybody: whatever it says of itself is checked.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from resnest_cli.errors import UsageError
from resnest_cli.inputs import columns
from resnest_cli.outputs import records
from resnest_cli.outputs.features import DTYPE, GROWING, facts_of, paths_of
from resnest_cli.outputs.features import columns as csv_columns
from resnest_cli.outputs.rows import read_json
from resnest_cli.system import files
from resnest_cli.system.paths import Kind, look
from resnest_cli.text import cells
from resnest_cli.text.json_input import Entries, parse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

MAX_WIDTH = 1 << 16  # numbers in a row; the networks that there are have 2048
MAX_LINE_BYTES = 32 * MAX_WIDTH  # of a row as JSON


@dataclass(frozen=True)
class Features:
    """Features of N images.

    Attributes:
        facts: how they were made, see `provenance.features`.
        paths: the N paths.
        values: float32 [N, F], NaN where an input failed; those of a `.npy` file stay on disk until they are used.
    """

    facts: dict[str, Any]
    paths: list[str]
    values: NDArray[np.float32]


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
    is_whole = seen.is_there and path.suffix not in GROWING  # while a job is to replace it, the old one stands
    if not is_whole and look(records.unfinished(path)).is_there:
        message = f"--index {path}: it is not finished; the same `resnest embed` with --resume continues."
        raise UsageError(message)
    if not seen.is_there:
        message = f"--index {path}: there is no such file; `resnest embed ... -o {path}` makes it."
        raise UsageError(message)
    try:
        index = _READERS[path.suffix](path)
    except (OSError, ValueError, KeyError, TypeError, MemoryError, csv.Error) as error:
        message = f"--index {path} cannot be read ({error}): make it anew with `resnest embed`."
        raise UsageError(message) from error
    if not all(isinstance(name, str) for name in index.paths):
        message = f"--index {path}: a path in it is no text: make it anew."
        raise UsageError(message)
    wanted = ((len(index.paths), index.facts["width"]), DTYPE)
    if (index.values.shape, index.values.dtype) != wanted:
        message = f"--index {path}: {len(index.paths)} paths for {len(index.values)} rows: make it anew."
        raise UsageError(message)
    return index


def _read_npy(path: Path) -> Features:
    try:
        values = np.lib.format.open_memmap(path, mode="r")  # a shape that the file has no room for is refused
    except OSError:
        raise
    except Exception as error:  # of a hostile header, numpy raises what Python's own reader does
        message = f"it is not an array that numpy wrote ({type(error).__name__})"
        raise ValueError(message) from error
    if values.dtype != DTYPE or values.ndim != 2:  # noqa: PLR2004 - a table
        message = f"it holds {values.dtype} in {values.ndim} dimensions, not float32 in 2"
        raise ValueError(message)
    paths = [row["path"] for row in _json_lines(paths_of(path))]
    return Features(_read_facts(facts_of(path)), paths, values)


def _read_jsonl(path: Path) -> Features:
    facts = _read_facts(facts_of(path))
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
    return map(read_json, _lines(path))


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file.

    Raises:
        ValueError: a line is longer than that of a row can be.
    """
    with path.open("rb") as file:
        while line := file.readline(MAX_LINE_BYTES):
            if len(line) == MAX_LINE_BYTES:
                message = f"{path.name} has a line of {MAX_LINE_BYTES >> 20} MB or more"
                raise ValueError(message)
            yield line


def _read_csv(path: Path) -> Features:
    facts = _read_facts(facts_of(path))
    width = facts["width"]
    rows = csv.reader(line.decode("utf-8", "surrogateescape") for line in _lines(path))
    wanted = csv_columns(width)
    if next(rows, None) != wanted:
        message = f"its columns are not path, status, {width} features, error_type, error_message"
        raise ValueError(message)
    paths: list[str] = []
    blocks: list[NDArray[np.float32]] = [np.empty((0, width), np.float32)]
    for number, row in enumerate(rows, 1):
        if len(row) != len(wanted):
            message = f"row {number} has {len(row)} cells of {len(wanted)}"
            raise ValueError(message)
        paths.append(cells.unescape(row[0]))
        values = row[2:-2]
        blocks.append(np.array([values if any(values) else [np.nan] * width], np.float32))
    return Features(facts, paths, np.concatenate(blocks))


def _read_parquet(path: Path) -> Features:
    with columns.opened(path) as file:
        facts = _facts(file.facts)
        paths: list[str] = []
        blocks = [np.empty((0, facts["width"]), np.float32)]
        for names, values in file.blocks(["path", "embedding"]):
            paths += names
            blocks.append(np.asarray(values))
    return Features(facts, paths, np.concatenate(blocks))


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


_READERS = {".npy": _read_npy, ".parquet": _read_parquet, ".jsonl": _read_jsonl, ".csv": _read_csv}
