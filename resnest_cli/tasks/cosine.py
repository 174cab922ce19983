"""Which images look alike, by the cosine of their features: exact, with numpy.

In: features [N, F] from a file. Out: the nearest rows of some queries, or groups of near-duplicates. Compares block by
block, so that features on the disk stay there. Exact is fast enough up to about a million images (some queries read the
file once); beyond that an approximate index such as faiss is the tool, and takes the same `.npy` file.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from resnest_cli.errors import UsageError
from resnest_cli.tasks.embed import normalized

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Rows = NDArray[np.float32]

BLOCK = 4096  # rows compared at a time: 32 MB of 2048 features
MAX_PAIRS = 20_000_000  # that groups are made of: 400 MB, a minute

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
    """Group rows so that every pair within a group is among the pairs `found`; each group is given by its pairs.

    A row is in one group only. Pairs are taken by likeness, the most alike first (equal ones in the order of the
    index), and two groups become one as soon as all pairs between them have been seen: complete linkage.

    Raises:
        UsageError: there are more than `MAX_PAIRS` of them.
    """
    kept = _as_array(found)
    members: dict[int, list[int]] = {}
    group_of: dict[int, int] = {}
    seen: dict[int, Counter[int]] = {}  # of each group: with which others how many pairs
    order = np.lexsort((kept["second"], kept["first"], -kept["similarity"]))
    for row, other in zip(kept["first"][order].tolist(), kept["second"][order].tolist(), strict=True):
        one, two = (group_of.setdefault(each, each) for each in (row, other))
        for here, there in ((one, two), (two, one)):
            members.setdefault(here, [here])
            seen.setdefault(here, Counter())[there] += 1
        if seen[one][two] == len(members[one]) * len(members[two]):
            small, large = sorted((one, two), key=lambda group: len(seen[group]) + len(members[group]))
            _join(small, large, members, group_of, seen)
    together: dict[int, list[Pair]] = {}
    for first, second, similarity in kept.tolist():
        if group_of[first] == group_of[second]:
            together.setdefault(group_of[first], []).append(Pair(first, second, similarity))
    return sorted(together.values(), key=lambda group: group[0].first)


def _as_array(found: Iterator[Pair]) -> NDArray[Any]:
    """Keep pairs as numbers: ten times smaller than as objects."""
    kinds = [("first", np.int64), ("second", np.int64), ("similarity", np.float32)]
    kept = np.fromiter(
        ((pair.first, pair.second, pair.similarity) for pair in islice(found, MAX_PAIRS + 1)), np.dtype(kinds)
    )
    if len(kept) > MAX_PAIRS:
        message = f"more than {MAX_PAIRS:,} pairs are so alike: give --duplicates a higher threshold."
        raise UsageError(message)
    return kept


def _join(
    small: int, large: int, members: dict[int, list[int]], group_of: dict[int, int], seen: dict[int, Counter[int]]
) -> None:
    """Make one group of two, with the name of the large one."""
    for row in members[small]:
        group_of[row] = large
    members[large] += members.pop(small)
    for third, count in seen.pop(small).items():
        del seen[third][small]
        if third != large:
            seen[large][third] += count
            seen[third][large] += count


def _cosines(one: Rows, other: Rows) -> Rows:
    return np.asarray(np.clip(one @ other.T, -1, 1), np.float32)


def _blocks(values: Rows) -> Iterator[tuple[int, Rows]]:
    for begin in range(0, len(values), BLOCK):
        yield begin, normalized(values[begin : begin + BLOCK])
