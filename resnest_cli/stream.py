"""Sources through decoding and an engine, in order, with bounded look-ahead. numpy only.

In: sources (and failures that were found with them), a function that loads one image, an engine. Out: for each item, in
the order it came, its path and row of numbers, or its failure. A bad image never moves its neighbours: rows are handed
out to the very list of items that their batch was made from. Knows nothing of classes, files or the terminal.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np

from resnest_cli.errors import ImageError
from resnest_cli.sources import STDIN
from resnest_cli.types import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from resnest_cli.engines import Engine

AHEAD_PER_WORKER = 4  # images decoded or waiting a worker: hides a slow one, and holds little memory
MAX_FAILURES_A_BATCH = 64  # a folder of nothing but bad files must still give its records as it goes

_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclass(frozen=True, slots=True)
class Row:
    """The engine's numbers for one input: float32 [F]."""

    path: str
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Pixels:
    """One image ready for the engine: uint8 [height, width, 3]."""

    path: str
    values: NDArray[np.uint8]


Decoded: TypeAlias = Pixels | Failure


def decode(
    items: Iterable[Source | Failure], load: Callable[[Source], NDArray[np.uint8]], workers: int
) -> Iterator[Decoded]:
    """Load every source with `workers` threads (0: in this one); an `ImageError` becomes a `Failure`.

    Threads, because Pillow's decoding and resizing release the interpreter lock.
    """

    def one(item: Source | Failure) -> Decoded:
        if isinstance(item, Failure):
            return item
        try:
            return Pixels(item.path, load(item))
        except ImageError as error:
            return Failure.of(item.path, error)

    return _map_in_order(one, items, workers, here=_may_wait)


def infer(items: Iterable[Decoded], engine: Engine, batch: int) -> Iterator[Row | Failure]:
    """Run decoded images through `engine`, `batch` at a time, and give each item's row or failure in order."""
    waiting: deque[list[str | Failure]] = deque()

    def batches() -> Iterator[NDArray[np.uint8]]:
        for group in _group(items, batch):
            waiting.append([item if isinstance(item, Failure) else item.path for item in group])
            pixels = [item.values for item in group if isinstance(item, Pixels)]
            yield np.stack(pixels) if pixels else np.empty((0, *engine.shape), np.uint8)

    for output in engine.run(batches()):
        rows = iter(output)
        for item in waiting.popleft():
            yield item if isinstance(item, Failure) else Row(item, next(rows))


def _group(items: Iterable[Decoded], batch: int) -> Iterator[list[Decoded]]:
    """Collect items until they hold `batch` images; failures ride along in their place."""
    group: list[Decoded] = []
    images = 0
    for item in items:
        group.append(item)
        images += isinstance(item, Pixels)
        if images == batch or len(group) - images >= MAX_FAILURES_A_BATCH:
            yield group
            group, images = [], 0
    if group:
        yield group


def _may_wait(item: Source | Failure) -> bool:
    """Tell what must be read in the calling thread: standard input may never come, and only there a signal ends it."""
    return item.path == STDIN


def _map_in_order(
    function: Callable[[_In], _Out], items: Iterable[_In], workers: int, *, here: Callable[[_In], bool]
) -> Iterator[_Out]:
    """Map with threads, yielding results in order and never running more than a few items ahead.

    Items for which `here` holds are mapped in the calling thread.
    """
    if workers == 0:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="resnest-decode")
    pending: deque[Future[_Out]] = deque()
    try:
        for item in items:
            pending.append(_done(function(item)) if here(item) else pool.submit(function, item))
            if len(pending) >= workers * AHEAD_PER_WORKER:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:  # also when the consumer stops early: finish what runs, forget what waits
        pool.shutdown(cancel_futures=True)


def _done(result: _Out) -> Future[_Out]:
    future: Future[_Out] = Future()
    future.set_result(result)
    return future
