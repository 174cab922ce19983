"""How sure may one be of a model's answers? It is fitted and judged on labeled images that it was not trained on.

In: a model and labeled images. Out: a `Calibration`. An image without an answer is counted and handed to the caller.
Keeps the logits of all images: 4 bytes per class and image.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np

from resnest_cli.inputs.labelled.dataset import Dataset, Labelled
from resnest_cli.models import labels, provenance
from resnest_cli.models.check import require_torch
from resnest_cli.pipeline.trunk import Trunk
from resnest_cli.tasks.calibrate import judging
from resnest_cli.tasks.calibrate.file import Calibration
from resnest_cli.tasks.labelled import log_side, rows, scratch
from resnest_cli.tasks.opened import settled
from resnest_cli.types import Failure

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from typing_extensions import Unpack

    from resnest_cli.engines.base import Engine
    from resnest_cli.options import Keywords, Options
    from resnest_cli.tasks.labelled import Scored


def calibrate(  # noqa: PLR0913 - what may be asked of it
    model: str | Options,
    data: str | os.PathLike[str],
    *,
    split: str | None = None,
    exclude: Sequence[str] = (),
    seed: int = 0,
    on_failure: Callable[[Failure], None] = lambda _: None,
    progress: Callable[[Iterable[Scored], int], Iterator[Scored]] = lambda items, _: iter(items),
    engine: str | Engine | None = None,
    **changes: Unpack[Keywords],
) -> Calibration:
    """Return what makes a model's answers as sure as they are right, from labeled images.

    >>> found = calibrate("digits", "held-out/")
    >>> found.save("calibration.json")
    >>> model = Classifier("digits", calibration="calibration.json")

    Args:
        model: as for `Classifier`.
        data: a folder of class folders, a tar archive of one, or a table, see `Dataset`; images that the model was not
            trained on.
        split: "train", "val", "test" or "all"; by default see `Dataset`.
        exclude: patterns of what to leave out of a folder or archive, see `selection.Rule`.
        seed: of the halves that fit and judge.
        on_failure: is called with each image without an answer, in order.
        progress: passes images on as they are done; its second argument is their number.
        engine: as for `Classifier`.
        **changes: every other field of `Options`, such as `device="cpu"`.

    Raises:
        TypeError: a keyword that is no field of `Options`.
        UsageError: labels that name no class, too few images, or an option needs torch, which is not installed.
        UnreadableInput: a damaged archive or list.
        OutputError: no room to unpack an archive.
        ModelError: the model cannot be opened.
    """
    spec, options = settled(model, engine, changes)
    require_torch(options)
    dataset = Dataset(data, labels.load(spec, options.labels), split, exclude=exclude)
    log_side(dataset)
    judging.require(dataset.total, dataset.place)
    trunk = Trunk(spec, options, engine=None if isinstance(engine, str) else engine)
    with contextlib.closing(trunk), scratch(dataset) as folder:
        failed, images = _read(progress(rows(trunk, dataset, folder), dataset.total), on_failure)
        facts = provenance.predictions(spec, options, trunk.engine)
    judging.require(len(images), dataset.place)
    made_with = provenance.identity(spec, facts)
    return of(images, made_with, seed=seed, failed=failed, versions=facts["versions"])


def of(  # noqa: PLR0913 - what a file says
    images: judging.Logits,
    made_with: dict[str, object],
    *,
    seed: int,
    failed: int = 0,
    notes: tuple[str, ...] = (),
    versions: dict[str, str] | None = None,
) -> Calibration:
    """Return the calibration of labeled logits; see `Calibration` for the rest."""
    choosing, scoring = images.halves(seed)
    found = judging.fit(choosing, scoring)
    counts = {"all": len(images) + failed, "fitting": len(choosing), "scoring": len(scoring), "failed": failed}
    return Calibration(found, made_with, counts, seed, judging.figures(scoring, found, seed), notes, versions)


def _read(scored: Iterator[Scored], on_failure: Callable[[Failure], None]) -> tuple[int, judging.Logits]:
    """Return how many images have no answer, and the logits of the others."""
    failed, logits, truth = 0, [], []
    for found, row in scored:
        if isinstance(row, Failure):
            failed += 1
            on_failure(row)
        elif isinstance(found, Labelled):
            logits.append(row.values)
            truth.append(found.truth)
    return failed, judging.Logits(np.array(logits, np.float32), np.array(truth, np.int64))
