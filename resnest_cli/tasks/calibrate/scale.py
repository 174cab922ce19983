"""Numbers of calibration images in their order, to place others among them.

In: numbers. Out: a `Scale`, small enough for a file. Does not know what the numbers mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

MOST = 2000  # values that are kept


@dataclass(frozen=True)
class Scale:
    """Sorted numbers.

    Of more than `MOST`, value i of `MOST` is the one of rank ceil(i * count / MOST). A rank is then rounded up and a
    share down, each by less than 1 / `MOST`: 0.05% of the images.

    Attributes:
        count: how many numbers there were.
        values: the kept ones, ascending.
    """

    count: int
    values: tuple[float, ...]

    @classmethod
    def of(cls, numbers: NDArray[np.floating]) -> Self:
        """Return the scale of numbers [N], rounded to float32."""
        ordered = np.sort(numbers.astype(np.float32))
        kept = ordered[_ranks(len(ordered)) - 1]
        return cls(len(ordered), tuple(float(str(value)) for value in kept))

    def at(self, rank: int) -> float:
        """Return the number of a rank, from 1 to `count`."""
        return self.values[int(np.searchsorted(_ranks(self.count), rank))]

    def share_below(self, number: float) -> float:
        """Return the share of the numbers that are smaller, 0..1."""
        kept = int(np.searchsorted(self._sorted, np.float32(number)))
        return float(_ranks(self.count)[kept - 1]) / self.count if kept else 0.0

    @cached_property
    def _sorted(self) -> NDArray[np.float32]:
        return np.array(self.values, np.float32)


def _ranks(count: int) -> NDArray[np.int64]:
    """Return the ranks that are kept, from 1."""
    kept = min(count, MOST)
    return -(-np.arange(1, kept + 1) * count // kept)
