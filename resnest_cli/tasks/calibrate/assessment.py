"""What a calibration says of one image.

In: a row of logits float32 [C]. Out: its calibrated probabilities, and its `Certainty`. A value, so that other machines
can do it too. Does not know where the calibration is from.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from resnest_cli.tasks.calibrate import sets, strangeness
from resnest_cli.tasks.calibrate.temperature import softmax

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

    from resnest_cli.tasks.calibrate.file import Fit


@dataclass(frozen=True)
class Assessed:
    """An image as a calibration sees it.

    Attributes:
        probabilities: calibrated, float64 [C].
        set: the class indices that it may have, most probable first.
        strangeness: the share of the calibration images that are less strange, 0..1.
        abstained: there are several classes, or it is too strange.
    """

    probabilities: NDArray[np.float64]
    set: tuple[int, ...]
    strangeness: float
    abstained: bool


@dataclass(frozen=True)
class Assessment:
    """Assesses images.

    Attributes:
        fit: of the calibration.
        limit: the highest score of a class in a set.
        most: the highest strangeness that is not too strange.
    """

    fit: Fit
    limit: float
    most: float

    @classmethod
    def of(cls, fit: Fit, coverage: float, most: float) -> Self:
        """Return the assessment for a coverage and a highest strangeness.

        Raises:
            UsageError: the calibration has too few images for the coverage.
        """
        return cls(fit, fit.scores.at(sets.rank(fit.scores.count, coverage)), most)

    def __call__(self, logits: NDArray[np.float32]) -> Assessed:
        """Assess the image that has these logits."""
        fit, order = self.fit, np.argsort(-logits, kind="stable")
        probabilities = self.probabilities(logits)
        scores = sets.by_rank(probabilities[order], fit.rule).astype(np.float32)
        members = order[scores <= np.float32(self.limit)]
        above = strangeness.above_center(logits, fit.temperature, self._centers)
        share = fit.energies.share_below(float(above))
        return Assessed(probabilities, tuple(members.tolist()), share, len(members) != 1 or share > self.most)

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the calibrated probabilities [C] of logits [C]."""
        return softmax(logits, self.fit.temperature)

    @cached_property
    def _centers(self) -> NDArray[np.float64]:
        return np.array(self.fit.centers)
