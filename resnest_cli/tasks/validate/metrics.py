"""Counts of right and wrong answers that grow with each image, and the numbers that follow from them.

In: the logits and the true class of each image. Out: accuracy with its interval, loss, calibration error, counts per
class, the confusion matrix. Keeps counts only, however many images come; knows nothing of files and names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

TOPK = 5
BINS = 15  # of the calibration error, as in its source
Z95 = NormalDist().inv_cdf(0.975)  # standard deviations on each side that hold 95% of a normal distribution


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer for one image.

    Attributes:
        truth: the true class index.
        best: the class indices with the highest logits, in order, at most five.
        confidence: the probability of the first, 0..1.
        loss: the cross-entropy in nats.
    """

    truth: int
    best: tuple[int, ...]
    confidence: float
    loss: float

    @property
    def right(self) -> bool:
        """Whether the first class is the true class."""
        return self.best[0] == self.truth


def judge(logits: NDArray[np.float32], truth: int, among: NDArray[np.int64]) -> Answer:
    """Return the answer of the logits float32 [C] for one image with this true class.

    Only the logits of the class indices `among` count, as if the network had no other classes; `truth` is one of them.
    Equal logits rank in the order of their indices.
    """
    values = logits[among].astype(np.float64)
    log_probabilities = values - values.max()
    log_probabilities -= math.log(np.exp(log_probabilities).sum())
    order = np.argsort(-values, kind="stable")[:TOPK]
    own = np.searchsorted(among, truth)
    return Answer(
        truth,
        tuple(among[order].tolist()),
        confidence=math.exp(log_probabilities[order[0]]),
        loss=-float(log_probabilities[own]),
    )


class Tally:
    """The counts over all images.

    Args:
        classes: the number of classes of the model.

    Attributes:
        confusion: images, int64 [true class, predicted class].
        top5: images with the true class among the best five, int64 [true class].
    """

    def __init__(self, classes: int) -> None:
        self.confusion = np.zeros((classes, classes), np.int64)
        self.top5 = np.zeros(classes, np.int64)
        self._loss = 0.0
        self._bins = np.zeros((3, BINS))  # images, right ones, sum of confidences

    def add(self, answer: Answer) -> None:
        """Count one image."""
        self.confusion[answer.truth, answer.best[0]] += 1
        self.top5[answer.truth] += answer.truth in answer.best
        self._loss += answer.loss
        at = max(math.ceil(answer.confidence * BINS) - 1, 0)
        self._bins[:, min(at, BINS - 1)] += (1, answer.right, answer.confidence)

    @property
    def images(self) -> int:
        """Images that were counted."""
        return int(self.confusion.sum())

    @property
    def right(self) -> int:
        """Images whose best class is the true class."""
        return int(self.confusion.trace())

    @property
    def right_in_5(self) -> int:
        """Images whose true class is among the best five."""
        return int(self.top5.sum())

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats; NaN without images."""
        return self._loss / self.images if self.images else math.nan

    @property
    def calibration_error(self) -> float:
        """Expected calibration error, 0..1; NaN without images.

        Images are put into 15 bins of equal width by the probability p of their best class: bin m has
        (m-1)/15 < p <= m/15. The error is the mean distance between a bin's accuracy and its mean p, weighted by the
        images in the bin: Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", 2017, equation 3
        (arXiv:1706.04599).
        """
        _, right, confidence = self._bins
        return float(np.abs(right - confidence).sum() / self.images) if self.images else math.nan


class Hits:
    """Accuracy where an image has several right classes; images without a right class do not count."""

    def __init__(self) -> None:
        self.images = self.right = self.right_in_5 = 0

    def add(self, answer: Answer, right: Collection[int]) -> None:
        """Count one image, unless `right` is empty."""
        if right:
            self.images += 1
            self.right += answer.best[0] in right
            self.right_in_5 += any(best in right for best in answer.best)


def wilson(right: int, images: int) -> tuple[float, float]:
    """Return the 95% interval of a share, 0..1: Wilson's score interval without continuity correction.

    E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927. NaN without images.
    """
    if not images:
        return math.nan, math.nan
    share, square = right / images, Z95**2 / images
    center = (share + square / 2) / (1 + square)
    half = math.sqrt(share * (1 - share) * square + square**2 / 4) / (1 + square)
    return max(0.0, center - half), min(1.0, center + half)
