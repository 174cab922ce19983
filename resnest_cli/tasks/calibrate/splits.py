"""Halves of labeled images, drawn at random within each class.

In: true classes and a seed. Out: two lists of positions. Knows no images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def halves(truth: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of two halves of `truth` [N], each in order.

    The halves differ by at most one image, and by at most one image of each class. The same seed gives the same halves.
    """
    drawn = np.random.default_rng(seed).permutation(len(truth))
    by_class = drawn[np.argsort(truth[drawn], kind="stable")]
    return np.sort(by_class[::2]), np.sort(by_class[1::2])
