"""What is fitted to labeled logits, and how good it is on others.

In: logits float32 [N, C] and true classes. Out: a `Fit`, and figures. Which images do what:

* one half chooses: the temperature, the form of the sets (`sets.Regularization`), the energy of each class;
* the other half has no say in these. It judges the probabilities, and gives the scores and energies in the file;
* so that no image judges a limit that it helped to set, the figures of sets have limits from one half of that half, and
  are judged on its rest. The limits in the file are from both, so they vary less than the figures tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from resnest_cli.errors import UsageError
from resnest_cli.options import DEFAULT_COVERAGE
from resnest_cli.tasks.calibrate import scores, sets, splits, strangeness, temperature
from resnest_cli.tasks.calibrate.file import Fit
from resnest_cli.tasks.calibrate.scale import Scale
from resnest_cli.tasks.calibrate.scores import Figure, bootstrapped
from resnest_cli.tasks.calibrate.sets import Ranked
from resnest_cli.tasks.validate.metrics import BINS, wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnest_cli.tasks.calibrate.sets import Regularization

COVERAGES = (0.8, 0.9, 0.95, 0.99)
LEAST = 2 * sets.least(DEFAULT_COVERAGE)  # images: each half must do for the default coverage


class Logits:
    """Logits [N, C] with true classes [N]."""

    def __init__(self, logits: NDArray[np.float32], truth: NDArray[np.int64]) -> None:
        self.logits, self.truth = logits, truth

    def __len__(self) -> int:
        """Return N."""
        return len(self.truth)

    def halves(self, seed: int) -> tuple[Logits, Logits]:
        """Return two halves, see `splits.halves`."""
        one, other = splits.halves(self.truth, seed)
        return self.at(one), self.at(other)

    def at(self, places: NDArray[np.int64]) -> Logits:
        """Return the images at some positions."""
        return Logits(self.logits[places], self.truth[places])

    def ranked(self, degree: float) -> Ranked:
        """Return the classes of each image by their probability at a temperature."""
        return Ranked.of(temperature.softmax(self.logits, degree), self.truth)


def require(images: int, what: str) -> None:
    """Refuse too few images.

    Raises:
        UsageError: a half of them is too small for sets of the default coverage.
    """
    if images < LEAST:
        raise UsageError(
            f"{what}: {images} labeled images are too few: at least {LEAST} are needed, and some hundreds for figures "
            "that mean something."
        )


def fit(choosing: Logits, scoring: Logits) -> Fit:
    """Return what the first half chooses, with the scores and energies of the second."""
    degree = temperature.fit(choosing.logits, choosing.truth)
    rule = sets.choose(choosing.ranked(degree), COVERAGES)
    centers = strangeness.centers(choosing.logits, degree).astype(np.float32)
    above = strangeness.above_center(scoring.logits, degree, centers.astype(np.float64))
    return Fit(
        degree,
        rule,
        Scale.of(scoring.ranked(degree).scores(rule)),
        tuple(float(str(center)) for center in centers),
        Scale.of(above),
    )


def figures(judging: Logits, found: Fit, seed: int) -> dict[str, Any]:
    """Return how good the answers are, as JSON values; a figure is [value, low, high] with its 95% interval.

    Returns:
        "top1": the share of right first classes. "nll", "ece", "brier": {"before", "after"} the temperature. "bins":
        {"before", "after"}, of each bin of the calibration error with images [mean confidence, share of right ones,
        images]. "sets": a row for each coverage, see `_row`.
    """
    before, after = (temperature.softmax(judging.logits, degree) for degree in (1.0, found.temperature))
    one, other = (scores.figures(shares, judging.truth, seed) for shares in (before, after))
    limiting, rest = judging.halves(seed)
    ranked = limiting.ranked(found.temperature), rest.ranked(found.temperature)
    right = judging.logits.argmax(axis=1) == judging.truth
    return {
        "top1": _share(right),
        **{name: {"before": _rounded(one[name]), "after": _rounded(other[name])} for name in one},
        "bins": {"before": _bins(before.max(axis=1), right), "after": _bins(after.max(axis=1), right)},
        "sets": [_row(coverage, *ranked, rest.ranked(1.0), found.rule, seed) for coverage in COVERAGES],
    }


def _row(  # noqa: PLR0913, PLR0917 - what is compared
    coverage: float, limiting: Ranked, judged: Ranked, uncalibrated: Ranked, rule: Regularization, seed: int
) -> dict[str, Any]:
    """Return the figures of sets for a coverage.

    Returns:
        "coverage"; "before": of the classes whose probabilities, as the network gives them, first add up to the
        coverage; "after": of our sets, None where there are too few images. Both have "covered", the share of sets
        with the true class, and "size", the mean number of classes. "after" has "sure" too, the share of sets with one
        class, "sure_right", the share of these that are right, and "sizes", how many sets have 1, 2, ... classes.
    """
    row: dict[str, Any] = {"coverage": coverage, "before": _of_sets(uncalibrated, sets.NONE, coverage, seed)}
    count = len(limiting.place)
    if count < sets.least(coverage):
        return row | {"after": None}
    limit = float(np.sort(limiting.scores(rule))[sets.rank(count, coverage) - 1])
    sizes, is_right = judged.sizes(rule, limit), judged.place == 0
    after = _of_sets(judged, rule, limit, seed)
    after |= {"sure": _share(sizes == 1), "sure_right": _share(is_right[sizes == 1])}
    return row | {"after": after | {"sizes": np.bincount(sizes)[1:].tolist()}}


def _of_sets(judged: Ranked, rule: Regularization, limit: float, seed: int) -> dict[str, Any]:
    sizes = judged.sizes(rule, limit)
    size = bootstrapped(lambda drawn: float(sizes[drawn].mean()), len(sizes), seed)
    return {"covered": _share(judged.scores(rule) <= limit), "size": _rounded(size)}


def _share(hits: NDArray[np.bool_]) -> list[float] | None:
    """Return a share with Wilson's interval; None of nothing."""
    count, of = int(hits.sum()), len(hits)
    return _rounded(Figure(count / of, *wilson(count, of))) if of else None


def _bins(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> list[list[float]]:
    bins = scores.bins_of(confidence)
    sums = [np.bincount(bins, values, BINS) for values in (confidence, right)]
    counts = np.bincount(bins, minlength=BINS)
    return [
        [round(float(mean), 6), round(float(share), 6), int(count)]
        for mean, share, count in zip(*(total / np.maximum(counts, 1) for total in sums), counts, strict=True)
        if count
    ]


def _rounded(figure: Figure) -> list[float]:
    return [round(value, 6) for value in figure]
