"""How unlike the calibration images an image is, by the energy of its logits.

In: logits. Out: energies, lower for images that are more alike. Liu, Wang, Owens, Li, "Energy-based Out-of-distribution
Detection", 2020 (arXiv:2010.03759): E(x) = -T log sum exp(logits / T). Here it is divided by T, which orders images
alike, and the mean energy of calibration images with the same first class is taken off: classes have energies of their
own (digits against noise: AUROC 0.92 without that, 0.96 with it; `scripts/measure/strangeness.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PRIOR = 5  # images with the mean of all, that each class has besides its own


def energies(logits: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Return -log sum exp(logits / T) of logits [..., C]."""
    scaled = logits.astype(np.float64) / temperature
    most = scaled.max(axis=-1)
    found: NDArray[np.float64] = -most - np.log(np.exp(scaled - most[..., None]).sum(axis=-1))
    return found


def centers(logits: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Return the mean energy of the images [N, C] that have each class first [C]; a class of few is near the mean."""
    found, first = energies(logits, temperature), logits.argmax(axis=1)
    classes = logits.shape[1]
    sums = np.bincount(first, found, classes) + _PRIOR * found.mean()
    means: NDArray[np.float64] = sums / (np.bincount(first, minlength=classes) + _PRIOR)
    return means


def above_center(logits: NDArray[np.floating], temperature: float, center: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by how much the energy of each image [..., C] is above that of its first class."""
    found: NDArray[np.float64] = energies(logits, temperature) - center[logits.argmax(axis=-1)]
    return found
