"""The temperature of a network: one number that makes its probabilities as sure as it is right.

In: logits and true classes. Out: the T of softmax(logits / T). Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern
Neural Networks", 2017 (arXiv:1706.04599), section 4.2. Dividing by T changes no order of classes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLDEST, HOTTEST = 0.01, 100.0
_STEPS = 40  # of bisection: 1e-11 of T


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """Return the probabilities float64 of logits [..., C] at a temperature."""
    scaled = logits.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def fit(logits: NDArray[np.floating], truth: NDArray[np.int64]) -> float:
    """Return the temperature with the least negative log-likelihood, from 0.01 to 100.

    The likelihood is concave in 1/T, so its slope is zero once, and bisection finds where. If every image is right, the
    likelihood grows for ever as T falls. Each image then counts as wrong by 1 / (N + 2), after Platt, "Probabilistic
    Outputs for Support Vector Machines", 1999: N right images do not show that the network is never wrong.

    Args:
        logits: [N, C].
        truth: the class index of each [N].
    """
    values = logits.astype(np.float64)
    own, best = values[np.arange(len(truth)), truth], values.max(axis=1)
    if (own == best).all():
        doubt = 1 / (len(truth) + 2)
        others = (values.sum(axis=1) - own) / (values.shape[1] - 1)
        own = (1 - doubt) * own + doubt * others
    cold, hot = math.log(COLDEST), math.log(HOTTEST)
    for _ in range(_STEPS):
        middle = (cold + hot) / 2
        is_too_hot = (softmax(values, math.exp(middle)) * values).sum(axis=1).mean() < own.mean()
        cold, hot = (cold, middle) if is_too_hot else (middle, hot)
    return math.exp((cold + hot) / 2)
