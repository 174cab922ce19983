"""Pooled features of all images of a run, computed once with the fast engine and kept in its folder.

In: a `Setup`. Out: float32 [train + val, F], in the order of the data; every process computes its share.
"""

from __future__ import annotations

import contextlib
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import torch

from resnest_cli.errors import BadDataSet
from resnest_cli.inputs import splits
from resnest_cli.pipeline.trunk import Trunk
from resnest_cli.system import atomic
from resnest_cli.training.distributed import shared, summed
from resnest_cli.training.events import Cached
from resnest_cli.types import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from numpy.typing import NDArray

    from resnest_cli.training.setup import Setup
    from resnest_cli.training.signals import Signals

FILENAME = "features.npy"


def cached_features(setup: Setup, signals: Signals) -> Generator[Cached, None, NDArray[np.float32]]:
    """Return the features of all images, from the folder of the run if it has them.

    Raises:
        BadDataSet: an image can no longer be read.
        TrainingStopped: a signal came.
    """
    path = setup.checkpoints / FILENAME
    sources = [Source(path) for path in _paths(setup)]
    kept = shared(setup.rank, _read(path, len(sources)) if setup.rank.first else None)
    if kept is not None:
        return kept
    found = yield from _compute(setup, sources, signals)
    if setup.rank.first:
        _keep(path, found)
    return found


def hand_on(first: Setup, other: Setup) -> None:
    """Write the features that one run has kept for another run of the same images, in the order of its data."""
    kept = _read(first.checkpoints / FILENAME, len(paths := _paths(first)))
    if kept is not None:
        rows = {path: row for row, path in enumerate(paths)}
        _keep(other.checkpoints / FILENAME, kept[[rows[path] for path in _paths(other)]])


def _paths(setup: Setup) -> list[str]:
    return [path for split in (splits.TRAIN, splits.VAL) for path, _ in setup.data.side(split)]


def _compute(setup: Setup, sources: list[Source], signals: Signals) -> Generator[Cached, None, NDArray[np.float32]]:
    own = range(setup.rank.number, len(sources), setup.rank.processes)
    trunk = Trunk(setup.start, setup.job.options(device=str(setup.rank.device)), want="features")
    rows: list[NDArray[np.float32]] = []
    for row in trunk.rows(sources[i] for i in own):
        if isinstance(row, Failure):
            message = f"{row.path}: {row.message} It could be read when the data set was checked."
            raise BadDataSet(message)
        rows.append(row.values)
        if signals.number:
            raise signals.stopped("while features were computed, before any training")
        yield Cached(len(rows), len(own))
    trunk.close()
    width = int(summed(setup.rank, torch.tensor(len(rows[0]) if setup.rank.first else 0)))
    every = torch.zeros(len(sources), width)
    if rows:
        every[list(own)] = torch.from_numpy(np.stack(rows))
    features: NDArray[np.float32] = summed(setup.rank, every).numpy()
    return features


def _keep(path: Path, found: NDArray[np.float32]) -> None:
    content = BytesIO()
    np.save(content, found)
    with contextlib.suppress(OSError):  # the file only saves time
        atomic.write(path, content.getvalue())


def _read(path: Path, count: int) -> NDArray[np.float32] | None:
    """Return features that were kept, or None if there are none for so many images."""
    try:
        rows = np.lib.format.open_memmap(path, mode="r")  # refuses a shape that the file has no room for
    except Exception:  # noqa: BLE001 - of a hostile header, numpy raises what Python's own reader raises
        return None
    fits = rows.dtype == np.float32 and rows.ndim == 2 and len(rows) == count  # noqa: PLR2004 - a table
    return np.array(rows) if fits else None
