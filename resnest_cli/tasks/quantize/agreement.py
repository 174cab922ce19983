"""How near an int8 graph is to fp32: first classes, probabilities and, where classes are known, accuracy.

In: logits of the same images in fp32 and in int8. Out: an `Agreement`. Does not know how the graphs were made.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from resnest_cli.engines import int8
from resnest_cli.models import folders
from resnest_cli.tasks.ranking import softmax
from resnest_cli.tasks.validate.metrics import wilson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from resnest_cli.models.graphs import Graph
    from resnest_cli.types import ModelSpec


@dataclass(frozen=True)
class Agreement:
    """How near int8 is to fp32 on images that it was not calibrated on.

    Attributes:
        images: images that were judged.
        same_class: those whose first class is the same.
        max_probability_change: of any class of any image.
        mean_probability_change: of the class that was first in fp32.
        labelled: images whose true class is known.
        right_before: labeled images whose first class in fp32 is the true one.
        right_after: likewise in int8.
    """

    images: int
    same_class: int
    max_probability_change: float
    mean_probability_change: float
    labelled: int = 0
    right_before: int = 0
    right_after: int = 0

    @property
    def share(self) -> float:
        """The share of images whose first class is the same, 0..1."""
        return self.same_class / self.images

    def figures(self) -> dict[str, Any]:
        """Return the counts with what follows from them: shares, 0..1, and their 95% intervals (Wilson)."""
        found = {**asdict(self), "agreement": self.share, "agreement_ci95": wilson(self.same_class, self.images)}
        if self.labelled:
            for name, right in (("accuracy_before", self.right_before), ("accuracy_after", self.right_after)):
                found |= {name: right / self.labelled, f"{name}_ci95": wilson(right, self.labelled)}
        return found


@dataclass(frozen=True)
class Exam:
    """What an int8 graph is judged by.

    Attributes:
        spec: the model.
        pixels: images that it was not calibrated on, uint8 [N, H, W, 3].
        before: their logits in fp32, float32 [N, C].
        truths: their true classes, where known.
        min_agreement: the share of images whose first class must stay.
    """

    spec: ModelSpec
    pixels: NDArray[np.uint8]
    before: NDArray[np.float32]
    truths: Sequence[int | None]
    min_agreement: float

    def judge(self, graph: Graph) -> Agreement:
        """Run an int8 graph on the images and compare its answers."""
        return compare(self.before, int8.rows(graph, self.spec, self.pixels, folders.INT8), self.truths)


def compare(before: NDArray[np.float32], after: NDArray[np.float32], truths: Sequence[int | None]) -> Agreement:
    """Compare logits [N, C] of the same images; `truths` has their true classes, None where unknown."""
    first, now = before.argmax(axis=1), after.argmax(axis=1)
    changes = np.abs(_probabilities(before) - _probabilities(after))
    known = [(one, other, truth) for one, other, truth in zip(first, now, truths, strict=True) if truth is not None]
    return Agreement(
        images=len(first),
        same_class=int((first == now).sum()),
        max_probability_change=float(changes.max()),
        mean_probability_change=float(changes[np.arange(len(first)), first].mean()),
        labelled=len(known),
        right_before=sum(bool(one == truth) for one, _, truth in known),
        right_after=sum(bool(other == truth) for _, other, truth in known),
    )


def _probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.stack([softmax(row) for row in logits])
