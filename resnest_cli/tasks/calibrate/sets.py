"""Sets of classes that hold the true class as often as asked: regularized adaptive prediction sets (RAPS).

In: probabilities [N, C] and true classes. Out: scores, and the classes whose scores are low enough. Angelopoulos,
Bates, Malik, Jordan, "Uncertainty Sets for Image Classifiers using Conformal Prediction", 2021 (arXiv:2009.14193).

The score of the class at rank k is the probability of all classes above it, and `weight` for each rank beyond `free`:
the paper's equation 4 with u = 0 in place of a random u. So one image has one answer, the first class is in every set,
and an image is unsure when its first class is not probable enough. For 90% of 1,881 photographs of clothes, sets have
2.63 classes so, 2.94 with a random u, and 4.62 with u = 1, which leaves the most confident images without a class
(`scripts/measure/calibration.py`). The weight is for the noisy tails of many classes; ten need none.

Where a model is right more often than asked, each set is the first class alone, and sets cover more than asked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from resnest_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray
    from typing_extensions import Self

WEIGHTS = (0.001, 0.01, 0.1, 0.2, 0.5)  # lambda, as in the paper's appendix E
FREE = (1, 2, 3, 5, 8, 13, 21)  # k_reg


@dataclass(frozen=True)
class Regularization:
    """What makes a score higher for a class of low rank.

    Attributes:
        free: ranks that cost nothing: the paper's k_reg.
        weight: the cost of each rank beyond: the paper's lambda.
    """

    free: int
    weight: float


NONE = Regularization(0, 0.0)  # adaptive prediction sets (APS)


def by_rank(descending: NDArray[np.float64], rule: Regularization) -> NDArray[np.float64]:
    """Return the score of each rank, ascending, of probabilities [..., C] in descending order."""
    above = np.cumsum(descending, axis=-1) - descending
    ranks = np.arange(1, descending.shape[-1] + 1)
    costs: NDArray[np.float64] = above + rule.weight * np.maximum(0, ranks - rule.free)
    return costs


@dataclass(frozen=True)
class Ranked:
    """Images whose true class is known, sorted once for many rules.

    Attributes:
        descending: probabilities of each image in descending order [N, C].
        place: of the true class in that order [N], from 0.
    """

    descending: NDArray[np.float64]
    place: NDArray[np.int64]

    @classmethod
    def of(cls, probabilities: NDArray[np.float64], truth: NDArray[np.int64]) -> Self:
        """Sort probabilities [N, C] with true classes [N]; of equal ones the lower index comes first."""
        order = np.argsort(-probabilities, axis=1, kind="stable")
        return cls(np.take_along_axis(probabilities, order, axis=1), np.argmax(order == truth[:, None], axis=1))

    def scores(self, rule: Regularization) -> NDArray[np.float64]:
        """Return the score of the true class of each image [N]."""
        found: NDArray[np.float64] = by_rank(self.descending, rule)[np.arange(len(self.place)), self.place]
        return found

    def sizes(self, rule: Regularization, limit: float) -> NDArray[np.int64]:
        """Return how many classes the set of each image has [N]."""
        counts: NDArray[np.int64] = (by_rank(self.descending, rule) <= limit).sum(axis=1)
        return counts


def rank(count: int, coverage: float) -> int:
    """Return which of `count` scores of true classes, in ascending order from 1, is the limit for a coverage.

    It is ceil((count + 1) * coverage). A new image of the same kind is then covered with at least that probability:
    Vovk, Gammerman, Shafer, "Algorithmic Learning in a Random World", 2005.

    Raises:
        UsageError: there are too few scores.
    """
    needed = math.ceil(round((count + 1) * coverage, 9))  # 0.9 * 30 is 27.000000000000004
    if needed > count:
        raise UsageError(
            f"--coverage {coverage:g} needs sets from at least {least(coverage):,} images, and they are from "
            f"{count:,}: calibrate with more labeled images, or ask for a lower coverage."
        )
    return needed


def least(coverage: float) -> int:
    """Return the least number of scores for a coverage 1 - a: 1/a - 1, rounded up."""
    return math.ceil(round(1 / (1 - coverage) - 1, 6))


def choose(images: Ranked, coverages: Iterable[float]) -> Regularization:
    """Return the regularization with the smallest sets on these images; of equals the one that weighs least.

    The size is the geometric mean over coverages; one that there are too few images for does not count.
    """
    count, classes = images.descending.shape
    places = [rank(count, coverage) - 1 for coverage in coverages if least(coverage) <= count]

    def size(rule: Regularization) -> float:
        costs = by_rank(images.descending, rule)
        limits = np.sort(costs[np.arange(count), images.place])[places]
        return sum(math.log((costs <= limit).sum() / count) for limit in limits)

    rules = [Regularization(free, weight) for weight in WEIGHTS for free in FREE if free <= classes]
    return min([Regularization(1, 0.0), *rules], key=size)
