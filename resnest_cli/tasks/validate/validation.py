"""How right is a model on labelled images? The trunk with the truth beside it.

In: a labelled folder, archive or table (`dataset`), and options. Out: a `Validation`: the numbers with timm's names,
the counts they come from, and the worst mistakes. An image without an answer is counted and handed to the caller, and
never replaced by another. Streams: nothing of an image is kept but counts, and small pictures of the worst.
"""

from __future__ import annotations

import contextlib
import heapq
import logging
import re
import tempfile
from collections import deque
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from resnest_cli.errors import OutputError, UsageError
from resnest_cli.inputs import splits
from resnest_cli.inputs.labelled.dataset import Dataset, Labelled
from resnest_cli.models import catalog, labels
from resnest_cli.pipeline.stream import Row
from resnest_cli.pipeline.trunk import Trunk
from resnest_cli.tasks.validate.metrics import Answer, Hits, Tally, judge, wilson
from resnest_cli.text import jsons
from resnest_cli.types import Failure

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from resnest_cli.engines.base import Engine
    from resnest_cli.models.labels import Labels
    from resnest_cli.options import Options
    from resnest_cli.types import ModelSpec, Source

WORST = 50  # mistakes that are kept
REAL_IMAGES = 50_000  # in ImageNet's validation set
_NUMBERED = re.compile(r"ILSVRC2012_val_(\d{8})\.\w+$")

_log = logging.getLogger(__name__)
Scored: TypeAlias = tuple[Labelled | Failure, Row | Failure]


@dataclass(frozen=True, slots=True)
class Mistake:
    """One wrong answer: the image's path as listed, and a small picture (a `data:` URI, "" where there is none)."""

    path: str
    answer: Answer
    thumbnail: str


@dataclass
class Validation:
    """What was found; it grows while images come.

    Attributes:
        among: the class indices that were scored, all of the model's or a subset, int64 in order.
        exif: whether images were turned by their EXIF orientation.
        split: the side of the data that was scored; "all" where it has none.
        errors: images without an answer: unreadable, or NaN; they count nowhere else.
        real: the accuracy by ReaL labels, if these were given.
        worst: wrong answers, the highest loss first, at most `WORST`.
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

    def summary(self) -> dict[str, Any]:
        """Return the numbers with timm's names, rounding and units: accuracy in percent, parameters in millions.

        `loss` is the mean cross-entropy in nats, `ece` the expected calibration error, 0..1. What cannot be known is
        None: everything without images, and `published_top1` of one's own models and of random weights.
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
        return row

    def is_as_published(self) -> bool:
        """Tell whether images were prepared as for the published numbers."""
        facts, data = self.spec.facts, self.spec.data
        published = [facts.get(key) for key in ("input_size", "crop_pct", "interpolation", "mean", "std")]
        here = [data.input_size[1], data.crop_pct, data.interpolation, list(data.mean), list(data.std)]
        return not self.exif and here == published


def validate(  # noqa: PLR0913 - what may be asked of it
    place: str | os.PathLike[str],
    options: Options,
    *,
    real_labels: str | os.PathLike[str] | None = None,
    subset: bool = False,
    split: str | None = None,
    exclude: Sequence[str] = (),
    keep_worst: bool = False,
    on_failure: Callable[[Failure], None] = lambda _: None,
    progress: Callable[[Iterable[Scored], int], Iterator[Scored]] = lambda items, _: iter(items),
    engine: Engine | None = None,
) -> Validation:
    """Score the model that `options` name on the labelled images at `place` (see `Dataset`).

    Images are turned by their EXIF orientation, as everywhere else, but for models that have a published number to
    stand beside: these were made without. `options.exif` overrides that.

    Args:
        place: a folder of class folders, a tar archive of one, or a table.
        options: which model, and how it runs.
        real_labels: a file of ReaL labels, see `RealLabels`.
        subset: score among the classes that the images have only, as ImageNet-A and ImageNet-R are scored.
        split: the side of the data to score, "train", "val" or "test", or "all"; by default see `Dataset`.
        exclude: patterns of what to leave out of a folder or archive, see `photographs.Rule`.
        keep_worst: keep the worst mistakes, with thumbnails.
        on_failure: gets each image without an answer, in order.
        progress: sees each image as it is done, and is told how many there will be.
        engine: one of your own instead of what `options` ask for.

    Raises:
        UsageError: labels that cannot be understood, or nothing to score.
        UnreadableInput: a damaged archive or list.
        OutputError: no room to unpack an archive.
        ModelError: the model cannot be opened.
    """
    spec = catalog.resolve(options)
    if options.random_weights:
        spec = replace(spec, facts={})  # what was published is of trained ones
    options = replace(options, exif=_turns(options.exif, spec), thumbnails=keep_worst)
    named = labels.load(spec, options.labels)
    dataset = Dataset(place, named, split, exclude=exclude)
    _say_side(dataset)
    if dataset.left_out:
        _log.info("%s: %s", place, dataset.left_out.counts())
    real = RealLabels(real_labels, spec.num_classes) if real_labels else None
    trunk = Trunk(spec, options, engine=engine)
    result = Validation(
        spec,
        named,
        among=np.array(dataset.present if subset else range(spec.num_classes), np.int64),
        param_count=trunk.engine.facts["param_count"],
        exif=options.upright,
        split=dataset.split,
        tally=Tally(spec.num_classes),
        real=Hits() if real else None,
    )
    worst = _Worst() if keep_worst else None
    unpacked = _scratch() if dataset.is_packed else contextlib.nullcontext(Path())
    with contextlib.closing(trunk), unpacked as scratch:
        for found, row in progress(_rows(trunk, dataset, scratch), dataset.total):
            if isinstance(row, Failure):
                result.errors += 1
                on_failure(row)
            elif isinstance(found, Labelled):
                _count(result, found, row, real, worst)
    result.worst = worst.ranked() if worst else []
    return result


def _turns(asked: bool | None, spec: ModelSpec) -> bool:  # noqa: FBT001 - an option's value
    """Settle whether images are turned by EXIF: as asked, else unless a published number is to be met."""
    return "top1_timm" not in spec.facts if asked is None else asked


def _say_side(dataset: Dataset) -> None:
    """Say which side is scored, and what stays unread; nothing where all is."""
    others = {name or "no side": n for name, n in sorted(dataset.sides.items()) if n and not dataset.is_wanted(name)}
    if others:
        rest = ", ".join(f"{n:,} of {name}" for name, n in others.items())
        _log.info("the %s side of %s: %d images; not read: %s", dataset.split, dataset.place, dataset.total, rest)
    elif dataset.split == splits.TRAIN:
        _log.info("%s has a train side only, and that is scored", dataset.place)


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """Yield a temporary folder.

    Raises:
        OutputError: there is none that can be written.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="resnest-")
    except OSError as error:
        message = f"no temporary folder can be made ({error.strerror}): make room, or name another folder in TMPDIR."
        raise OutputError(message) from error
    with folder:
        yield Path(folder.name)


class RealLabels:
    """The right classes of each image of ImageNet's validation set, as people saw them anew: several, one or none.

    Args:
        path: the `real.json` of Beyer et al., "Are we done with ImageNet?" (2020, arXiv:2006.07159): a list of class
            indices for each image, in the order of their numbers.
        classes: how many the model has.

    Raises:
        UsageError: another file.
    """

    def __init__(self, path: str | os.PathLike[str], classes: int) -> None:
        try:
            rows = jsons.parse(Path(path).read_bytes())
            self._rows = [frozenset(map(int, row)) for row in rows]
        except (OSError, ValueError, TypeError, OverflowError) as error:
            message = f"--real-labels {path} cannot be read as a list of lists of class indices ({error})."
            raise UsageError(message) from error
        if len(self._rows) != REAL_IMAGES or not frozenset().union(*self._rows) <= set(range(classes)):
            message = (
                f"--real-labels {path}: expected {REAL_IMAGES} rows of class indices below {classes}; "
                f"it has {len(self._rows)} rows."
            )
            raise UsageError(message)

    def right(self, path: str) -> frozenset[int]:
        """Return the right classes of an image by the number in its name.

        Raises:
            UsageError: it is none of the validation set.
        """
        number = _NUMBERED.search(path)
        if not number or not 1 <= int(number[1]) <= REAL_IMAGES:
            message = f"--real-labels: {path} is not named like ILSVRC2012_val_00000001.JPEG, so it has no ReaL label."
            raise UsageError(message)
        return self._rows[int(number[1]) - 1]


class _Worst:
    """The wrong answers with the highest loss, and their thumbnails."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Mistake]] = []  # the least bad first
        self._order = count(0, -1)  # of equal losses, the first image stays

    def see(self, path: str, answer: Answer, thumbnail: str) -> None:
        """Keep it if it is among the worst."""
        if answer.right or (len(self._heap) == WORST and answer.loss <= self._heap[0][0]):
            return
        mistake = Mistake(path, answer, thumbnail)
        push = heapq.heappushpop if len(self._heap) == WORST else heapq.heappush
        push(self._heap, (answer.loss, next(self._order), mistake))

    def ranked(self) -> list[Mistake]:
        """List them, the worst first."""
        return [mistake for *_, mistake in sorted(self._heap, reverse=True)]


def _rows(trunk: Trunk, dataset: Dataset, scratch: Path) -> Iterator[Scored]:
    """Run every image; give it with its row, or its failure under the path that it is listed by."""
    waiting: deque[Labelled | Failure] = deque()

    def found() -> Iterator[Source | Failure]:
        for image in dataset.images(scratch):
            waiting.append(image)
            yield image if isinstance(image, Failure) else image.item.source

    for row in trunk.rows(found()):
        image = waiting.popleft()
        if isinstance(row, Failure) and isinstance(image, Labelled):
            row = Failure(image.item.path, row.type, row.message)  # noqa: PLW2901 - the same, by another name
        yield image, row
        if isinstance(image, Labelled) and image.item.is_copy:
            Path(image.item.source.path).unlink()


def _count(result: Validation, found: Labelled, row: Row, real: RealLabels | None, worst: _Worst | None) -> None:
    answer = judge(row.values, found.truth, result.among)
    result.tally.add(answer)
    if real and result.real:
        result.real.add(answer, real.right(found.item.path))
    if worst:
        worst.see(found.item.path, answer, row.thumbnail)


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
