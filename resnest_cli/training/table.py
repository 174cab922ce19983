"""Rows of a CSV or Parquet file, as dictionaries of text.

In: a path and the columns that must be there. Out: one dictionary a row. Knows nothing of what the columns mean.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

from resnest_cli.errors import BadDataSet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Read every row; values are text.

    Raises:
        BadDataSet: not readable, no such columns, or Parquet without pyarrow.
    """
    try:
        found = list(_parquet(path) if path.suffix.lower() == ".parquet" else _csv(path))
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        message = f"{path} cannot be read as a table: {error}"
        raise BadDataSet(message) from error
    missing = [name for name in columns if not found or name not in found[0]]
    if missing:
        have = ", ".join(found[0]) if found else "no rows"
        message = f"{path}: no column {' and no column '.join(missing)} (it has {have}). One row an image: path,label."
        raise BadDataSet(message)
    return found


def _csv(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        for row in csv.DictReader(file, restval=""):
            yield {name: value for name, value in row.items() if name is not None}


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    try:
        from pyarrow import parquet  # noqa: PLC0415 - an extra
    except ImportError as error:
        message = f"{path}: reading Parquet needs pyarrow: pip install pyarrow"
        raise BadDataSet(message) from error
    for row in parquet.read_table(path).to_pylist():
        yield {name: "" if value is None else str(value) for name, value in row.items()}
