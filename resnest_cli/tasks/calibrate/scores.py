"""How good probabilities are, with intervals: likelihood, calibration error, Brier score, selective risk.

In: probabilities [N, C] and true classes, or confidences and hits. Out: numbers. Does not know how they came about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from resnest_cli.tasks.validate.metrics import BINS, Z95

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_RESAMPLES = 1000
LEAST = float(np.finfo(np.float64).tiny)  # a probability that is 0 in floating point


class Figure(NamedTuple):
    """A number with its 95% interval."""

    value: float
    low: float
    high: float


def figures(probabilities: NDArray[np.float64], truth: NDArray[np.int64], seed: int) -> dict[str, Figure]:
    """Return the mean negative log-likelihood in nats, the calibration error and the Brier score of images [N, C]."""
    losses, squares = losses_of(probabilities, truth), squares_of(probabilities, truth)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    count = len(truth)
    return {
        "nll": bootstrapped(lambda drawn: float(losses[drawn].mean()), count, seed),
        "ece": bootstrapped(lambda drawn: calibration_error(confidence[drawn], right[drawn]), count, seed),
        "brier": bootstrapped(lambda drawn: float(squares[drawn].mean()), count, seed),
    }


def losses_of(probabilities: NDArray[np.float64], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the negative log-likelihood of each image [N] in nats."""
    own = probabilities[np.arange(len(truth)), truth]
    losses: NDArray[np.float64] = -np.log(np.maximum(own, LEAST))
    return losses


def squares_of(probabilities: NDArray[np.float64], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the Brier score of each image [N], 0..2: the squared distance of the probabilities from the truth.

    G. W. Brier, "Verification of Forecasts Expressed in Terms of Probability", 1950.
    """
    own = probabilities[np.arange(len(truth)), truth]
    squares: NDArray[np.float64] = (probabilities**2).sum(axis=1) - 2 * own + 1
    return squares


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error, 0..1, as `validate.metrics.Tally` defines it."""
    return float(np.abs(np.bincount(bins_of(confidence), confidence - right)).sum() / len(confidence))


def bins_of(confidence: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the bin of each confidence [N]: bin m, from 0, has m/15 < p <= (m+1)/15."""
    bins: NDArray[np.int64] = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    return bins


def risk_coverage(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Return the area under the risk-coverage curve, 0..1: lower is better.

    The curve has, for each k, the share of wrong answers among the k most confident; the area is their mean. Geifman,
    Uziel, El-Yaniv, "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", 2019 (arXiv:1805.08206). Equal
    confidences keep the order of the images.
    """
    wrong = ~right[np.argsort(-confidence, kind="stable")]
    return float((np.cumsum(wrong) / np.arange(1, len(wrong) + 1)).mean())


def bootstrapped(figure: Callable[[NDArray[np.int64]], float], count: int, seed: int) -> Figure:
    """Return a figure of `count` images, a function of their positions, from 0, with 1.96 standard errors beside it.

    The standard error is the deviation of the figure over resamples: Efron, "Bootstrap Methods: Another Look at the
    Jackknife", 1979. Their quantiles would not do: the calibration error of a resample is too high.
    """
    random = np.random.default_rng(seed)
    half = Z95 * float(np.std([figure(random.integers(0, count, count)) for _ in range(_RESAMPLES)]))
    value = figure(np.arange(count))
    return Figure(value, max(0.0, value - half), value + half)
