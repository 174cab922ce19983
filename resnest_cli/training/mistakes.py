"""The validation images that a trained model contradicts most: its mistakes, or wrong labels.

In: a `Setup` and its answers. Out: `mistakes.html` in the folder of the run.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from resnest_cli.inputs import loading
from resnest_cli.outputs import mistakes
from resnest_cli.pipeline.decoders import Decoders
from resnest_cli.system import atomic
from resnest_cli.types import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resnest_cli.training.answers import Answer
    from resnest_cli.training.setup import Setup

FILENAME = "mistakes.html"
NOTE = "The model contradicts these labels most, the first one most of all. Some may be wrong labels."


def worst(found: Sequence[Answer]) -> list[Answer]:
    """Return the wrong answers, the highest loss first, at most `mistakes.MOST`."""
    wrong = [answer for answer in found if not answer.right]
    return sorted(wrong, key=lambda answer: -answer.loss)[: mistakes.MOST]


def write(setup: Setup, found: Sequence[Answer]) -> None:
    """Write the page; nothing where every answer is right.

    Raises:
        OutputError: it cannot be written.
    """
    if not (shown := worst(found)):
        return
    pictures = _thumbnails(setup, [answer.path for answer in shown])
    items = [
        mistakes.Item(answer.path, picture, _facts(answer)) for answer, picture in zip(shown, pictures, strict=True)
    ]
    wrong = sum(not answer.right for answer in found)
    title = f"{setup.out.name}: {len(shown)} worst of {wrong} mistakes in {len(found)} validation images"
    atomic.write(setup.out / FILENAME, mistakes.page(title, items, NOTE).encode())


def _facts(answer: Answer) -> tuple[tuple[str, str], ...]:
    return (
        ("label", f"{answer.label}, {math.exp(-answer.loss):.1%}"),
        ("taken for", f"{answer.taken_for}, {answer.probability:.1%}"),
        ("loss", f"{answer.loss:.2f}"),
    )


def _thumbnails(setup: Setup, paths: Sequence[str]) -> Iterator[str]:
    """Yield the thumbnail of each image, "" where it cannot be read any more; decoded as the run decodes."""
    options = replace(setup.job.options(), thumbnails=True)
    load, workers = loading.Loader.of(setup.result.data, options), min(setup.decoders, len(paths))
    with Decoders(load, workers, options.timeout) as decoders:
        for image in decoders.images(Source(path) for path in paths):
            yield "" if isinstance(image, Failure) else image.thumbnail
