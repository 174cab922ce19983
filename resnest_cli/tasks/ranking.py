"""From the logits of an image to its record: the best classes, with their probabilities.

In: a row of logits float32 [C], class names, and what a calibration says, if there is one. Out: a `Result`. Does not
know where a row comes from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from resnest_cli.types import Certainty, Failure, Prediction, Result

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnest_cli.models.labels import Labels
    from resnest_cli.pipeline.stream import Row
    from resnest_cli.tasks.calibrate.assessment import Assessment
    from resnest_cli.types import Record


@dataclass(frozen=True)
class Ranking:
    """Turns a row of logits into the record of its best classes; a value, so that other machines can do it too."""

    labels: Labels
    topk: int
    threshold: float
    assessment: Assessment | None = None

    def __call__(self, item: Row | Failure) -> Record:
        """Return the record; a failure stays one."""
        if isinstance(item, Failure):
            return item
        best = self._best(item.values, self.probabilities(item.values))
        if not self.assessment:
            return Result(item.path, best, thumbnail=item.thumbnail, exif=item.exif)
        found = self.assessment(item.values)
        names = tuple(self.labels.names[index] for index in found.set)
        certainty = Certainty(found.set, names, _exact(np.float32(found.strangeness)), found.abstained)
        return Result(item.path, best, thumbnail=item.thumbnail, certainty=certainty, exif=item.exif)

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probabilities [C] of logits [C], float32, at the temperature of the calibration."""
        return self.assessment.probabilities(logits).astype(np.float32) if self.assessment else softmax(logits)

    def _best(self, logits: NDArray[np.float32], probabilities: NDArray[np.float32]) -> tuple[Prediction, ...]:
        best = np.argsort(-logits, kind="stable")[: self.topk]
        return tuple(
            Prediction(rank, int(i), self.labels.wnids[i], self.labels.names[i], _exact(probabilities[i]))
            for rank, i in enumerate(best, 1)
            if probabilities[i] >= self.threshold
        )


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probabilities [C], float32, of logits [C]; subtracts the largest first, against overflow."""
    powers = np.exp(logits - logits.max())
    probabilities: NDArray[np.float32] = powers / powers.sum()
    return probabilities


def _exact(value: np.float32) -> float:
    """Return the float whose shortest decimal form is that of the float32: 0.1, not 0.10000000149011612."""
    return float(str(value))
