"""A `Validation`: the counts of a model's answers on labeled images, and the numbers that follow from them.

In: answers. Out: numbers with timm's names, the worst mistakes, and files of both. Does not know where images are.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnest_cli.errors import UsageError
from resnest_cli.outputs import mistakes
from resnest_cli.tasks.validate import files
from resnest_cli.tasks.validate.metrics import wilson
from resnest_cli.tasks.validate.request import Results

if TYPE_CHECKING:
    from os import PathLike

    import numpy as np
    from numpy.typing import NDArray

    from resnest_cli.models.labels import Labels
    from resnest_cli.tasks.calibrate.scoring import Score
    from resnest_cli.tasks.validate.metrics import Answer, Hits, Tally
    from resnest_cli.types import ModelSpec

WORST = mistakes.MOST  # that are kept


@dataclass(frozen=True, slots=True)
class Mistake:
    """One wrong answer: the image's path as listed, and a thumbnail (a `data:` URI, "" where there is none)."""

    path: str
    answer: Answer
    thumbnail: str


class Worst:
    """The wrong answers with the highest loss, at most `WORST`."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Mistake]] = []  # the lowest loss first
        self._order = count(0, -1)  # of equal losses, the first image stays

    def add(self, path: str, answer: Answer, thumbnail: str) -> None:
        """Keep an answer if it is among the worst."""
        if answer.right or (len(self._heap) == WORST and answer.loss <= self._heap[0][0]):
            return
        mistake = Mistake(path, answer, thumbnail)
        push = heapq.heappushpop if len(self._heap) == WORST else heapq.heappush
        push(self._heap, (answer.loss, next(self._order), mistake))

    def ranked(self) -> list[Mistake]:
        """Return the mistakes, the highest loss first."""
        return [mistake for *_, mistake in sorted(self._heap, reverse=True)]


@dataclass(repr=False)
class Validation:
    """The result; it grows with each image.

    Attributes:
        among: the class indices that were scored, all of the model's or a subset, int64 in order.
        param_count: parameters of the network.
        exif: whether images were turned by their EXIF orientation.
        split: the side of the data that was scored; "all" where it has none.
        tally: the counts.
        real: the accuracy by ReaL labels, if there are any.
        errors: images without an answer: unreadable, or NaN; they count nowhere else.
        worst: wrong answers, the highest loss first, at most `WORST`.
        calibrated: the counts of calibrated answers, if there is a calibration.
    """

    spec: ModelSpec
    labels: Labels
    among: NDArray[np.int64]
    param_count: int
    exif: bool
    split: str
    tally: Tally
    real: Hits | None = None
    errors: int = 0
    worst: list[Mistake] = field(default_factory=list)
    calibrated: Score | None = None

    @property
    def n(self) -> int:
        """Images that were scored."""
        return self.tally.images

    @property
    def top1(self) -> float | None:
        """Percent of them whose first class is the true one; None without images."""
        return _accuracy(self.tally)["top1"]

    @property
    def top5(self) -> float | None:
        """Percent of them whose true class is among the first five; None without images."""
        return _accuracy(self.tally)["top5"]

    def __repr__(self) -> str:
        """Return the model and its score."""
        return f"Validation({self.spec.name!r}, top1={self.top1}, top5={self.top5}, n={self.n}, errors={self.errors})"

    def save(
        self,
        *,
        output: str | PathLike[str] | None = None,
        per_class: str | PathLike[str] | None = None,
        confusion: str | PathLike[str] | None = None,
        mistakes: str | PathLike[str] | None = None,
        overwrite: bool = False,
    ) -> None:
        """Write files of the result.

        Args:
            output: the numbers of `summary` as JSON.
            per_class: the table of classes, as CSV.
            confusion: the confusion matrix; the name ends in .csv or .png.
            mistakes: a page of the worst mistakes, as HTML; they are there if `validate` had `keep_worst=True`.
            overwrite: replace files that exist.

        Raises:
            UsageError: a suffix that is not known, one path for two files, a picture without matplotlib, or mistakes
                that were not kept.
            OutputError: a file exists, or cannot be written.
        """
        if mistakes and not self.worst and self.tally.right < self.n:
            raise UsageError("the worst mistakes were not kept: validate with keep_worst=True.")
        wanted = Results(
            output=Path(output) if output else None,
            per_class=Path(per_class) if per_class else None,
            confusion=(Path(confusion),) if confusion else (),
            mistakes=Path(mistakes) if mistakes else None,
            overwrite=overwrite,
        )
        files.claim(wanted).save(self)

    def summary(self) -> dict[str, Any]:
        """Return the numbers with timm's names, rounding and units: accuracy in percent, parameters in millions.

        `loss` is the mean cross-entropy in nats, `ece` the expected calibration error, 0..1. Unknown numbers are None:
        all without images, and `published_top1` of the user's own models and of random weights. Of calibrated answers
        it has the numbers of `Score.summary` too.
        """
        tally, data, facts = self.tally, self.spec.data, self.spec.facts
        row: dict[str, Any] = {
            "model": self.spec.name,
            **_accuracy(tally),
            "param_count": round(self.param_count / 1e6, 2),
            "img_size": data.input_size[1],
            "crop_pct": data.crop_pct,
            "interpolation": data.interpolation,
            "n": tally.images,
            "errors": self.errors,
            "top1_ci95": _interval(tally.right, tally.images),
            "top5_ci95": _interval(tally.right_in_5, tally.images),
            "loss": tally.loss if tally.images else None,
            "ece": tally.calibration_error if tally.images else None,
            "published_top1": facts.get("top1_timm"),
            "exif": self.exif,
            "split": self.split,
        }
        if self.real:
            row |= {f"real_{name}": value for name, value in _accuracy(self.real).items()}
            row |= {"real_n": self.real.images, "published_real_top1": facts.get("top1_imagenet_real")}
        if self.calibrated:
            row |= self.calibrated.summary()
        return row

    def is_as_published(self) -> bool:
        """Return whether images were prepared as for the published numbers."""
        facts, data = self.spec.facts, self.spec.data
        published = [facts.get(key) for key in ("input_size", "crop_pct", "interpolation", "mean", "std")]
        here = [data.input_size[1], data.crop_pct, data.interpolation, list(data.mean), list(data.std)]
        return not self.exif and here == published


def _accuracy(counted: Tally | Hits) -> dict[str, float | None]:
    """Return timm's four keys, in percent."""
    right = {"top1": counted.right, "top5": counted.right_in_5}
    top = {name: _percent(hits / counted.images) if counted.images else None for name, hits in right.items()}
    errors = {f"{name}_err": None if value is None else round(100 - value, 4) for name, value in top.items()}
    return {name: (top | errors)[name] for name in ("top1", "top1_err", "top5", "top5_err")}


def _interval(right: int, images: int) -> list[float] | None:
    return [_percent(bound) for bound in wilson(right, images)] if images else None


def _percent(share: float) -> float:
    return round(100 * share, 4)
