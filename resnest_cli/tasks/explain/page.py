"""Explanations as a page to look through: what the network saw, and the heat map beside it.

In: explanations and failures, in order. Out: the page of `outputs.html`. Does not know how an explanation is computed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnest_cli.outputs import html, saving
from resnest_cli.outputs.rows import About, error_of
from resnest_cli.tasks.explain import pictures
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from resnest_cli.outputs.rows import Row
    from resnest_cli.tasks.explain.heatmap import Explanation


def to_row(found: Explanation | Failure) -> Row:
    """Return an explanation as a row of the page: the class explained is its only prediction."""
    row: Row = {"path": found.path}
    if isinstance(found, Failure):
        return row | {"status": found.status, "predictions": []} | error_of(found)
    explained = {"rank": 1, "index": found.index, "wnid": found.wnid, "label": found.label}
    thumbnail, heat = pictures.thumbnails_of(found)
    predictions = [explained | {"probability": found.probability}]
    return row | {"status": "ok", "predictions": predictions, "thumbnail": thumbnail, "heat": heat}


def words(row: Row) -> str:
    """Return a row in a line: the class, or what failed."""
    if error := row.get("error"):
        return f"{row['path']}: {error['type']}: {error['message']}"
    (explained,) = row["predictions"]
    return f"{row['path']}: {explained['label']} {explained['probability']:.2%}"


def write(rows: Iterable[Row], output: Path, facts: Mapping[str, Any]) -> None:
    """Write the page, which gets its name when it is complete.

    Raises:
        OutputError: it cannot be written.
    """
    with saving.writer(output) as out:
        html.write(rows, out, About(1, facts), output)
