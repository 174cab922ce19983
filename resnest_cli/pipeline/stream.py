"""Sources through decoding and an engine, in order, with bounded look-ahead. numpy only.

In: sources (and failures that were found with them), what loads one image, an engine. Out: for each item, in the order
it came, its path and row of numbers, or its failure. A bad image never moves its neighbours: rows are handed out to the
very list of items that their batch was made from. Knows nothing of classes, files or the terminal.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from resnest_cli.errors import DecodeTimeout, NotANumber, OutOfMemory, ResnestError, as_image_error
from resnest_cli.types import STDIN, Failure, Source, Stages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from resnest_cli.engines.base import Engine
    from resnest_cli.inputs.loading import Loaded
    from resnest_cli.inputs.pool import Load, Pool

MAX_FAILURES_A_BATCH = 64  # a folder of nothing but bad files must still give its records as it goes
_Item = TypeVar("_Item")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Row:
    """The engine's numbers for one input, float32 [F], and its small picture, if one is made."""

    path: str
    values: NDArray[np.float32]
    thumbnail: str = ""


@dataclass(frozen=True, slots=True)
class Pixels:
    """One image ready for the engine, uint8 [height, width, 3], and its small picture, if one is made."""

    path: str
    values: NDArray[np.uint8]
    thumbnail: str = ""


Decoded: TypeAlias = Pixels | Failure


def decode(
    items: Iterable[Source | Failure], load: Load, timeout: float = math.inf, stages: Stages | None = None
) -> Iterator[Decoded]:
    """Load every source in this process; what it raises becomes a `Failure`. Times are added to `stages`.

    What takes longer than `timeout` seconds is left to a thread of its own, which cannot be stopped.
    """
    stages = stages or Stages()
    for item in items:
        yield item if isinstance(item, Failure) else _outcome(item, partial(_in_time, load, item, timeout), stages)


def decode_in(
    pool: Pool, items: Iterable[Source | Failure], load: Load, ahead: int, stages: Stages | None = None
) -> Iterator[Decoded]:
    """Load every source in the processes of `pool`, at most `ahead` of what has been asked for.

    Standard input is loaded here with `load`: it may never come, and a signal ends the wait for it only here.
    """
    stages = stages or Stages()
    given: deque[Callable[[], Decoded]] = deque()
    for item in items:
        if isinstance(item, Failure):
            given.append(partial(_same, item))
        else:
            here = item.path == STDIN
            loaded = partial(load, item) if here else partial(pool.take, pool.give(item))
            given.append(partial(_outcome, item, loaded, stages))
        if len(given) >= ahead:
            yield given.popleft()()
    while given:
        yield given.popleft()()


def checked(row: Row, precision: str) -> Row | Failure:
    """Return the row, or a failure if it has NaN or infinity in it, as fp16 gives when it overflows."""
    if np.isfinite(row.values).all():
        return row
    way_out = "its weights may be damaged" if precision == "fp32" else "try --precision fp32"
    return Failure.of(row.path, NotANumber(f"the model answers NaN or infinity in {precision}: {way_out}."))


def _same(failure: Failure) -> Failure:
    return failure


def infer(
    items: Iterable[Decoded], engine: Engine, batch: int, stages: Stages | None = None
) -> Iterator[Row | Failure]:
    """Run decoded images through `engine`, `batch` at a time, and give each item's row or failure in order.

    The time for which the engine is waited for, and not images, is added to `stages`.

    When memory is short the batches in flight are run again, half as large, and so are all that follow.

    Raises:
        OutOfMemory: there is not enough for a single image.
    """
    waiting: deque[list[Decoded]] = deque()
    forward = _Forward(stages or Stages())

    def batches(items: Iterable[Decoded], size: int) -> Iterator[NDArray[np.uint8]]:
        for group in forward.without(_group(items, size)):
            waiting.append(group)
            pixels = [item.values for item in group if isinstance(item, Pixels)]
            yield np.stack(pixels) if pixels else np.empty((0, *engine.shape), np.uint8)

    rest: Iterable[Decoded] = _read_whole(items)
    while True:
        try:
            for output in forward.of(engine.run(batches(rest, batch))):
                yield from _match(waiting.popleft(), output, engine.precision)
        except MemoryError as error:
            if batch == 1:
                message = (
                    f"there is not enough memory on {engine.device} for one image ({error}): try a smaller --img-size."
                )
                raise OutOfMemory(message) from error
        else:
            return
        batch = max(1, min(batch, max(map(_images, waiting), default=1)) // 2)
        _log.info("out of memory: going on with batches of %d", batch)
        rest = chain([item for group in waiting for item in group], rest)
        waiting.clear()


def _in_time(load: Load, source: Source, timeout: float) -> Any:  # noqa: ANN401 - as Load
    """Load in this process, and wait no longer than `timeout` seconds; but for standard input as long as it takes."""
    if source.path == STDIN or math.isinf(timeout):
        return load(source)
    outcome: Future[Any] = Future()
    threading.Thread(target=_settle, args=(outcome, partial(load, source)), daemon=True).start()
    try:
        return outcome.result(timeout)
    except FutureTimeoutError:
        raise DecodeTimeout(f"not decoded within {timeout:g} s; --timeout sets the limit.") from None


def _settle(outcome: Future[Any], load: Callable[[], Any]) -> None:
    try:
        outcome.set_result(load())
    except BaseException as error:  # noqa: BLE001 - raised where the outcome is waited for
        outcome.set_exception(error)


def _read_whole(items: Iterable[Decoded]) -> Iterator[Decoded]:
    """Pass on; a source of images that ends for want of memory must not be taken for an engine that does."""
    try:
        yield from items
    except MemoryError as error:
        raise ResnestError(f"there is not enough memory to find and decode images ({error}).") from error


def _images(group: list[Decoded]) -> int:
    return sum(isinstance(item, Pixels) for item in group)


def _match(group: list[Decoded], output: NDArray[np.float32], precision: str) -> Iterator[Row | Failure]:
    rows = iter(output)
    for item in group:
        yield item if isinstance(item, Failure) else checked(Row(item.path, next(rows), item.thumbnail), precision)


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


def _outcome(source: Source, load: Callable[[], Loaded], stages: Stages) -> Decoded:
    try:
        loaded = load()
    except Exception as error:  # noqa: BLE001 - see `as_image_error`
        return Failure.of(source.path, as_image_error(error))
    stages.read += loaded.read
    stages.decode += loaded.decode
    return Pixels(source.path, loaded.values, loaded.thumbnail)


class _Forward:
    """A clock that runs while the engine is asked for rows, and stands while the engine asks for images."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages

    def of(self, rows: Iterator[_Item]) -> Iterator[_Item]:
        """Pass rows on, counting the time they take."""
        return self._clocked(rows, 1)

    def without(self, items: Iterator[_Item]) -> Iterator[_Item]:
        """Pass items on, not counting the time they take."""
        return self._clocked(items, -1)

    def _clocked(self, items: Iterator[_Item], sign: int) -> Iterator[_Item]:
        while True:
            begun = time.perf_counter()
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                self._stages.forward += sign * (time.perf_counter() - begun)
            yield item
