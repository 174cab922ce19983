"""How right is a model on labeled images? The trunk, with the true classes beside it.

In: a labeled folder, archive or table (`Dataset`), and a model. Out: a `Validation`. An image without an answer is
counted and handed to the caller, and never replaced by another. Streams: of an image, only counts are kept, and
thumbnails of the worst mistakes.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from resnest_cli.errors import UsageError
from resnest_cli.inputs.labelled.dataset import Dataset, Labelled
from resnest_cli.models import labels
from resnest_cli.models.check import require_torch
from resnest_cli.options import Options
from resnest_cli.pipeline.trunk import Trunk
from resnest_cli.tasks.calibrate import chosen
from resnest_cli.tasks.calibrate.scoring import Score
from resnest_cli.tasks.labelled import log_side, rows, scratch
from resnest_cli.tasks.opened import settled
from resnest_cli.tasks.validate.metrics import Hits, Tally, judge
from resnest_cli.tasks.validate.real_labels import RealLabels
from resnest_cli.tasks.validate.result import Validation, Worst
from resnest_cli.types import EngineFacts, Failure

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from typing_extensions import Unpack

    from resnest_cli.engines.base import Engine
    from resnest_cli.options import Keywords
    from resnest_cli.tasks.calibrate.chosen import Chosen
    from resnest_cli.tasks.labelled import Scored
    from resnest_cli.types import ModelSpec


def validate(  # noqa: PLR0913 - what may be asked of it
    data: str | os.PathLike[str],
    model: str | Options = Options.model,
    *,
    real_labels: str | os.PathLike[str] | None = None,
    subset: bool = False,
    split: str | None = None,
    exclude: Sequence[str] = (),
    keep_worst: bool = False,
    on_failure: Callable[[Failure], None] = lambda _: None,
    progress: Callable[[Iterable[Scored], int], Iterator[Scored]] = lambda items, _: iter(items),
    engine: str | Engine | None = None,
    **changes: Unpack[Keywords],
) -> Validation:
    """Return the score of a model on labeled images.

    Images are turned by their EXIF orientation, but for models with a published number, which was made without;
    `exif` overrides that.

    >>> found = validate("images/", "digits", split="val")
    >>> print(found.top1, found.n, found.errors)

    Args:
        data: a folder of class folders, a tar archive of one, or a table, see `Dataset`.
        model: as for `Classifier`.
        real_labels: a file of ReaL labels, see `RealLabels`.
        subset: score only among the classes that the images have, as ImageNet-A and ImageNet-R are scored.
        split: "train", "val", "test" or "all"; by default see `Dataset`.
        exclude: patterns of what to leave out of a folder or archive, see `selection.Rule`.
        keep_worst: keep the worst mistakes, with thumbnails.
        on_failure: is called with each image without an answer, in order.
        progress: passes images on as they are done; its second argument is their number.
        engine: as for `Classifier`.
        **changes: every other field of `Options`, such as `device="cpu"`. With `calibration`, coverage and the rest are
            scored too; a model folder's own is not used here.

    Raises:
        TypeError: a keyword that is no field of `Options`.
        UsageError: labels that name no class, nothing to score, or an option needs torch, which is not installed.
        UnreadableInput: a damaged archive or list.
        OutputError: no room to unpack an archive.
        ModelError: the model cannot be opened.
    """
    spec, options = settled(model, engine, changes)
    require_torch(options)
    spec, options = _as_measured(spec, options, keep_worst=keep_worst)
    named = labels.load(spec, options.labels)
    dataset = Dataset(data, named, split, exclude=exclude)
    log_side(dataset)
    real = RealLabels(real_labels, spec.num_classes) if real_labels else None
    trunk = Trunk(spec, options, engine=None if isinstance(engine, str) else engine)
    calibrated = _calibrated(spec, options, subset=subset)
    among = np.array(dataset.present if subset else range(spec.num_classes), np.int64)
    parameters = EngineFacts.of(trunk.engine).param_count
    result = Validation(spec, named, among, parameters, options.upright, dataset.split, Tally(spec.num_classes))
    result.calibrated = Score(calibrated.assessment, options.coverage) if calibrated else None
    with contextlib.closing(trunk), scratch(dataset) as folder:
        if calibrated:
            calibrated.require(spec, options, trunk.engine)
        _score(result, progress(rows(trunk, dataset, folder), dataset.total), real, on_failure, keep_worst=keep_worst)
    return result


def _calibrated(spec: ModelSpec, options: Options, *, subset: bool) -> Chosen | None:
    """Return the calibration that was named.

    Raises:
        UsageError: it cannot be used, or not all classes are scored.
    """
    found = chosen.choose(spec, options, own=False)
    if found and subset:
        raise UsageError("--subset goes without --calibration, which is of all classes: leave one of them out.")
    return found


def _as_measured(spec: ModelSpec, options: Options, *, keep_worst: bool) -> tuple[ModelSpec, Options]:
    """Return the model without published numbers that are not its own, and the options with nothing left open."""
    if options.random_weights:
        spec = replace(spec, facts={})  # published numbers are of trained weights
    exif = "top1_timm" not in spec.facts if options.exif is None else options.exif
    return spec, replace(options, exif=exif, thumbnails=keep_worst)


def _score(
    result: Validation,
    scored: Iterator[Scored],
    real: RealLabels | None,
    on_failure: Callable[[Failure], None],
    *,
    keep_worst: bool,
) -> None:
    """Count every image in `result`."""
    result.real = Hits() if real else None
    worst = Worst()
    for found, row in scored:
        if isinstance(row, Failure):
            result.errors += 1
            on_failure(row)
        elif isinstance(found, Labelled):
            answer = judge(row.values, found.truth, result.among)
            result.tally.add(answer)
            if result.calibrated:
                result.calibrated.add(row.values, found.truth)
            if real and result.real:
                result.real.add(answer, real.right(found.item.path))
            if keep_worst:
                worst.add(found.item.path, answer, row.thumbnail)
    result.worst = worst.ranked()
