"""How well a calibration keeps what it says, on labeled images that come later.

In: the logits and the true class of each image. Out: coverage, set size, how often the sure answers are right, and the
area under the risk-coverage curve. Keeps three numbers for each image.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from resnest_cli.tasks.calibrate import scores
from resnest_cli.tasks.validate.metrics import wilson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from resnest_cli.tasks.calibrate.assessment import Assessment


class Score:
    """The counts over all images.

    Args:
        assessment: of the calibration.
        coverage: the one that is asked for.
    """

    def __init__(self, assessment: Assessment, coverage: float) -> None:
        self._assess, self._coverage = assessment, coverage
        self._covered = self._classes = self._sure = self._sure_right = 0
        self._strangeness = 0.0
        self._confidences: list[float] = []
        self._losses: list[float] = []
        self._right: list[bool] = []

    def add(self, logits: NDArray[np.float32], truth: int) -> None:
        """Count one image."""
        found = self._assess(logits)
        is_right = int(np.argmax(logits)) == truth
        self._covered += truth in found.set
        self._classes += len(found.set)
        self._sure += not found.abstained
        self._sure_right += is_right and not found.abstained
        self._strangeness += found.strangeness
        self._confidences.append(float(found.probabilities.max()))
        self._losses.append(-math.log(max(found.probabilities[truth], scores.LEAST)))
        self._right.append(is_right)

    def summary(self) -> dict[str, Any]:
        """Return the numbers: shares in percent with Wilson's 95% intervals; None without images.

        "coverage" is what is asked for, 0..1; "covered" the share of sets with the true class; "set_size" their mean
        number of classes; "sure" the share of images that the model does not abstain from, and "sure_top1" the share of
        these that are right; "mean_strangeness" is 0.5 for images as those of the calibration; "calibrated_loss" and
        "calibrated_ece" are of the calibrated probabilities; "aurc" is the area under the risk-coverage curve.
        """
        images = len(self._right)
        confidence, right = np.array(self._confidences), np.array(self._right, bool)
        return {
            "coverage": self._coverage,
            **_percent("covered", self._covered, images),
            "set_size": self._classes / images if images else None,
            **_percent("sure", self._sure, images),
            **_percent("sure_top1", self._sure_right, self._sure),
            "mean_strangeness": self._strangeness / images if images else None,
            "calibrated_loss": sum(self._losses) / images if images else None,
            "calibrated_ece": scores.calibration_error(confidence, right) if images else None,
            "aurc": scores.risk_coverage(confidence, right) if images else None,
        }

    def words(self) -> Iterator[tuple[str, str]]:
        """Yield the name and the text of each number; nothing without images."""
        row = self.summary()
        if not self._right:
            return
        yield "calibrated", f"loss {row['calibrated_loss']:.4f}, calibration error {row['calibrated_ece']:.4f}"
        asked = f"{row['coverage']:.2%} asked; {row['set_size']:.2f} classes"
        yield "sets cover", f"{_interval(row, 'covered')}, {asked}"
        right = f", right for {_interval(row, 'sure_top1')}" if self._sure else ""
        yield "sure of", f"{row['sure']:.2f} %{right}"
        yield "risk-coverage", f"AURC {row['aurc']:.5f}"


def _percent(name: str, hits: int, of: int) -> dict[str, Any]:
    if not of:
        return {name: None, f"{name}_ci95": None}
    return {
        name: round(100 * hits / of, 4),
        f"{name}_ci95": [round(100 * bound, 4) for bound in wilson(hits, of)],
    }


def _interval(row: dict[str, Any], name: str) -> str:
    low, high = row[f"{name}_ci95"]
    return f"{row[name]:.2f} % (95%: {low:.2f} to {high:.2f})"
