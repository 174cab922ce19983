"""The validation images that a trained model contradicts most: its mistakes, or wrong labels.

In: a `Setup` and a `Judgement`. Out: `mistakes.html` in the folder of the run.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from resnest_cli.inputs import loading, splits
from resnest_cli.outputs import mistakes
from resnest_cli.system import atomic
from resnest_cli.training.data import Decoder
from resnest_cli.types import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from resnest_cli.training.judgement import Judgement
    from resnest_cli.training.setup import Setup

FILENAME = "mistakes.html"
NOTE = "The model contradicts these labels most, the first one most of all. Some may be wrong labels."


def worst(judgement: Judgement) -> NDArray[np.int64]:
    """Return the rows with wrong answers, the highest loss first, at most `mistakes.MOST`."""
    losses, wrong = judgement.losses.numpy(), (judgement.predicted != judgement.targets).numpy()
    rows = np.flatnonzero(wrong)
    return rows[np.argsort(-losses[rows], kind="stable")][: mistakes.MOST]


def write(setup: Setup, judgement: Judgement) -> None:
    """Write the page; nothing where every answer is right.

    Raises:
        OutputError: it cannot be written.
    """
    if not len(rows := worst(judgement)):
        return
    names, images = setup.data.classes, setup.data.side(splits.VAL)
    paths = [images[row][0] for row in rows]
    items = []
    for row, path, picture in zip(rows.tolist(), paths, _thumbnails(setup, paths), strict=True):
        loss, truth, taken = judgement.losses[row], int(judgement.targets[row]), int(judgement.predicted[row])
        facts = (
            ("label", f"{names[truth]}, {float((-loss).exp()):.1%}"),
            ("taken for", f"{names[taken]}, {float(judgement.confidence[row]):.1%}"),
            ("loss", f"{float(loss):.2f}"),
        )
        items.append(mistakes.Item(path, picture, facts))
    wrong = int((judgement.predicted != judgement.targets).sum())
    title = f"{setup.out.name}: {len(rows)} worst of {wrong} mistakes in {len(images)} validation images"
    atomic.write(setup.out / FILENAME, mistakes.page(title, items, NOTE).encode())


def _thumbnails(setup: Setup, paths: Sequence[str]) -> Iterator[str]:
    """Yield the thumbnail of each image, "" where it cannot be read any more; decoded as the run decodes."""
    options = replace(setup.job.options(), thumbnails=True)
    load, workers = loading.Loader.of(setup.result.data, options), min(setup.decoders, len(paths))
    with Decoder(load, workers) as decoder:
        for image in decoder.images(Source(path) for path in paths):
            yield "" if isinstance(image, Failure) else image.thumbnail
