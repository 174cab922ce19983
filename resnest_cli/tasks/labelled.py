"""Labeled images as rows of numbers: the trunk, with the true classes beside it.

In: a labeled folder, archive or table (`Dataset`), and an opened trunk. Out: each image with its row, or with its
failure under the path that lists it. Does not know what the numbers are for.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from resnest_cli.errors import OutputError
from resnest_cli.inputs import splits
from resnest_cli.inputs.labelled.dataset import Dataset, Labelled
from resnest_cli.pipeline.stream import Row
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resnest_cli.pipeline.trunk import Runner
    from resnest_cli.types import Source

_log = logging.getLogger(__name__)
Scored: TypeAlias = tuple[Labelled | Failure, Row | Failure]


def log_side(dataset: Dataset) -> None:
    """Log which side is scored and how many images of other sides are not read; nothing where all are."""
    others = {name or "no side": n for name, n in sorted(dataset.sides.items()) if n and not dataset.is_wanted(name)}
    if others:
        rest = ", ".join(f"{n:,} of {name}" for name, n in others.items())
        _log.info("the %s side of %s: %d images; not read: %s", dataset.split, dataset.place, dataset.total, rest)
    elif dataset.split == splits.TRAIN:
        _log.info("%s has a train side only, and that is scored", dataset.place)
    if dataset.left_out:
        _log.info("%s: %s", dataset.place, dataset.left_out.counts())


@contextlib.contextmanager
def scratch(dataset: Dataset) -> Iterator[Path]:
    """Yield a temporary folder, if images are to be unpacked.

    Raises:
        OutputError: there is none that can be written.
    """
    if not dataset.is_packed:
        yield Path()
        return
    try:
        folder = tempfile.TemporaryDirectory(prefix="resnest-")
    except OSError as error:
        message = f"no temporary folder can be made ({error.strerror}): make room, or name another folder in TMPDIR."
        raise OutputError(message) from error
    with folder:
        yield Path(folder.name)


def rows(trunk: Runner, dataset: Dataset, folder: Path) -> Iterator[Scored]:
    """Yield every image with its row, or with its failure under the path that lists it."""
    waiting: deque[Labelled | Failure] = deque()

    def found() -> Iterator[Source | Failure]:
        for image in dataset.images(folder):
            waiting.append(image)
            yield image if isinstance(image, Failure) else image.item.source

    for row in trunk.rows(found()):
        image = waiting.popleft()
        if isinstance(row, Failure) and isinstance(image, Labelled):
            row = replace(row, path=image.item.path)  # noqa: PLW2901 - the same, by another name
        yield image, row
        if isinstance(image, Labelled) and image.item.is_copy:
            Path(image.item.source.path).unlink()
