"""Which images look alike, by the cosine of their features: exact, with numpy.

In: features [N, F] from a file. Out: the nearest rows of some queries, or groups of near-duplicates. Compares block by
block, so that features on the disk stay there. Exact is fast enough up to about a million images (some queries read the
file once); beyond that an approximate index such as faiss is the tool, and takes the same `.npy` file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from resnest_cli.embed import normalized

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Rows = NDArray[np.float32]

BLOCK = 4096  # rows compared at a time: 32 MB of 2048 features

ROUNDING = 1e-6  # of a cosine in float32: that of an image with itself is 1 but for so much


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A row of the index and its cosine with the query, -1..1."""

    row: int
    similarity: float


@dataclass(frozen=True, slots=True)
class Pair:
    """Two rows of the index, the first before the second, and their cosine."""

    first: int
    second: int
    similarity: float


def nearest(values: Rows, queries: Rows | Sequence[Rows], k: int) -> list[list[Neighbour]]:
    """Find for each query [Q, F] the `k` rows of `values` [N, F] with the highest cosine, best first.

    Rows of NaN (failed inputs) are left out; equal ones come in the order of the index.
    """
    queries = normalized(np.reshape(queries, (-1, values.shape[1])))
    rows = np.empty((len(queries), 0), np.int64)
    cosines = np.empty((len(queries), 0), np.float32)
    for begin, block in _blocks(values):
        rows = np.hstack([rows, np.tile(np.arange(begin, begin + len(block)), (len(queries), 1))])
        cosines = np.hstack([cosines, _cosines(queries, block)])
        best = np.argsort(-np.nan_to_num(cosines, nan=-np.inf), axis=1, kind="stable")[:, :k]
        rows, cosines = np.take_along_axis(rows, best, 1), np.take_along_axis(cosines, best, 1)
    return [
        [Neighbour(int(row), float(cosine)) for row, cosine in zip(*found, strict=True) if not np.isnan(cosine)]
        for found in zip(rows, cosines, strict=True)
    ]


def pairs(values: Rows, threshold: float) -> Iterator[Pair]:
    """Find all pairs of rows with a cosine of at least `threshold`, in the order of the index."""
    for begin, block in _blocks(values):
        for start, others in _blocks(values[begin:]):
            cosines = _cosines(block, others)
            firsts, seconds = np.nonzero(cosines >= threshold - ROUNDING)  # never where one is NaN
            for i, j in zip(firsts.tolist(), (seconds + start).tolist(), strict=True):
                if i < j:
                    yield Pair(begin + i, begin + j, float(cosines[i, j - start]))


def groups(found: Iterator[Pair]) -> list[list[Pair]]:
    """Collect pairs into groups that hang together: A like B and B like C are one group, whatever A and C are."""
    parent: dict[int, int] = {}

    def root(row: int) -> int:
        while parent.setdefault(row, row) != row:
            parent[row] = row = parent[parent[row]]
        return row

    kept = list(found)
    for pair in kept:
        one, other = sorted((root(pair.first), root(pair.second)))
        parent[other] = one
    collected: dict[int, list[Pair]] = {}
    for pair in kept:
        collected.setdefault(root(pair.first), []).append(pair)
    return [collected[first] for first in sorted(collected)]


def _cosines(one: Rows, other: Rows) -> Rows:
    return np.asarray(np.clip(one @ other.T, -1, 1), np.float32)


def _blocks(values: Rows) -> Iterator[tuple[int, Rows]]:
    for begin in range(0, len(values), BLOCK):
        yield begin, normalized(values[begin : begin + BLOCK])
