"""How right is a model? Counts that grow with each image, and the numbers they give in the end.

In: the logits and the true class of one image after another. Out: accuracy with its interval, loss, calibration, counts
by class, the confusion matrix. Keeps counts only, however many images come; knows nothing of files and names.
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
_Z95 = NormalDist().inv_cdf(0.975)  # standard deviations on each side that hold 95% of a normal distribution


@dataclass(frozen=True, slots=True)
class Answer:
    """One image's answer: the true class, the best classes in order (at most five), the first's probability, loss."""

    truth: int
    best: tuple[int, ...]
    confidence: float
    loss: float

    @property
    def right(self) -> bool:
        """Tell whether the first class is the true one."""
        return self.best[0] == self.truth


def judge(logits: NDArray[np.float32], truth: int, among: NDArray[np.int64]) -> Answer:
    """Compare the logits [C] of one image with its true class, which is one of the class indices `among`.

    Only the logits of `among` count, as if the network had no other classes. The loss is the cross-entropy in nats;
    equal logits rank in the order of their index.
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
        classes: how many the model has.

    Attributes:
        confusion: int64 [true class, predicted class], images.
        top5: int64 [true class], images with the true class among the best five.
    """

    def __init__(self, classes: int) -> None:
        self.confusion = np.zeros((classes, classes), np.int64)
        self.top5 = np.zeros(classes, np.int64)
        self._loss = 0.0
        self._bins = np.zeros((3, BINS))  # images, right ones, sum of confidences

    def add(self, answer: Answer) -> None:
        """Count one more."""
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
        """Images whose best class is the true one."""
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

        Images are put into 15 bins of equal width by the probability p of their best class, bin m holding
        (m-1)/15 < p <= m/15. Of each bin the distance between its accuracy and its mean p counts by its share of the
        images: Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", 2017, equation 3
        (arXiv:1706.04599).
        """
        _, right, confidence = self._bins
        return float(np.abs(right - confidence).sum() / self.images) if self.images else math.nan


class Hits:
    """Accuracy where an image may have several right classes, or none, and then does not count."""

    def __init__(self) -> None:
        self.images = self.right = self.right_in_5 = 0

    def add(self, answer: Answer, right: Collection[int]) -> None:
        """Count one more, unless `right` is empty."""
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
    share, square = right / images, _Z95**2 / images
    centre = (share + square / 2) / (1 + square)
    half = math.sqrt(share * (1 - share) * square + square**2 / 4) / (1 + square)
    return max(0.0, centre - half), min(1.0, centre + half)
