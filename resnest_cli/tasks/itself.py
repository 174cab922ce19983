"""Which rows of an index are the query's own file.

In: the paths of queries and of an index, as given to `predict` or `embed`. Out: rows. Knows nothing of what the images
look like: a copy of the query under another name is another image.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING

from resnest_cli.types import STDIN, is_position

if TYPE_CHECKING:
    from collections.abc import Sequence


def rows(queries: Sequence[str], paths: Sequence[str]) -> list[set[int]]:
    """Return, for each query, the rows of `paths` that name the same file in the same folder.

    Relative paths are those of the current folder, and links to folders are followed. URLs are the same if their
    redacted texts are. Standard input and images in memory without a name are never in an index.
    """
    found: dict[str, set[int]] = {os.path.basename(query): set() for query in queries}  # noqa: PTH119 - as typed
    for row, path in enumerate(paths):  # a million in half a second: folders are compared only where the names agree
        if (name := os.path.basename(path)) in found:  # noqa: PTH119 - as typed
            found[name].add(row)
    return [
        {row for row in found[os.path.basename(query)] if _is_same(query, paths[row])}  # noqa: PTH119 - as typed
        for query in queries
    ]


def _is_same(query: str, path: str) -> bool:
    if query == STDIN or is_position(query):
        return False
    return query == path or _folder(os.path.dirname(query)) == _folder(os.path.dirname(path))  # noqa: PTH120 - as typed


@lru_cache
def _folder(path: str) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):  # a loop of links, or a NUL in an index that others made
        return os.path.abspath(path)  # noqa: PTH100 - never raises
