"""Stream sources through decoding and an engine, in order, with bounded look-ahead. numpy only.

In: sources (and failures found with them), a `Load` for one image, an engine. Out: per item, in the order of the input,
its path and row of numbers, or its failure. A bad image never shifts its neighbours: the rows of a batch are matched to
the list of items that the batch was made from. Does not know classes, files or the terminal.
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
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import numpy as np

from resnest_cli.engines import window
from resnest_cli.errors import DecodeTimeout, NotANumber, OutOfMemory, ResnestError, as_image_error
from resnest_cli.types import STDIN, Exif, Failure, Source, Stages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from resnest_cli.engines.base import Engine
    from resnest_cli.inputs.loading import Loaded
    from resnest_cli.inputs.pool import Load, Pool

MAX_FAILURES_PER_BATCH = 64  # so a folder of bad files yields its records as it goes
MAX_BYTES_AHEAD = 64 << 20  # of the images that sources carry, here and again in the processes that decode them
_Item = TypeVar("_Item")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Row:
    """The engine's numbers for one input, float32 [F], and its thumbnail and EXIF, if they are asked for."""

    path: str
    values: NDArray[np.float32]
    thumbnail: str = ""
    exif: Exif | None = None

    @property
    def ok(self) -> Literal[True]:
        """Always True: there is a row."""
        return True


@dataclass(frozen=True, slots=True)
class Pixels:
    """One image ready for the engine, uint8 [height, width, 3], and its thumbnail and EXIF, if they are asked for."""

    path: str
    values: NDArray[np.uint8]
    thumbnail: str = ""
    exif: Exif | None = None


Decoded: TypeAlias = Pixels | Failure


def decode(
    items: Iterable[Source | Failure], load: Load, timeout: float = math.inf, stages: Stages | None = None
) -> Iterator[Decoded]:
    """Load every source in this process; its exception becomes a `Failure`. Times are added to `stages`.

    A source that takes longer than `timeout` seconds is left to its thread, which cannot be stopped.
    """
    stages = stages or Stages()
    for item in items:
        yield item if isinstance(item, Failure) else decoded(item, partial(load_within, load, item, timeout), stages)


def decode_in_pool(
    pool: Pool, items: Iterable[Source | Failure], load: Load, ahead: int, stages: Stages | None = None
) -> Iterator[Decoded]:
    """Load every source in the processes of `pool`, at most `ahead` sources before they are consumed.

    Standard input, when its turn comes, and pictures, at once, are loaded in this process with `load`: see `is_here`.
    """
    stages = stages or Stages()
    pending: deque[tuple[int, Callable[[], Decoded]]] = deque()
    for item in items:
        size = len(item.content or b"") if isinstance(item, Source) else 0
        while pending and size + sum(waiting for waiting, _ in pending) > MAX_BYTES_AHEAD:
            yield pending.popleft()[1]()
        if isinstance(item, Failure):
            outcome = partial(_same, item)
        elif item.picture is not None:
            outcome = partial(_same, decoded(item, partial(load, item), stages))
        else:
            loaded = partial(load, item) if item.path == STDIN else partial(pool.result, pool.submit(item))
            outcome = partial(decoded, item, loaded, stages)
        pending.append((size, outcome))
        if len(pending) >= ahead:
            yield pending.popleft()[1]()
    while pending:
        yield pending.popleft()[1]()


def decoded(source: Source, load: Callable[[], Loaded], stages: Stages) -> Decoded:
    """Return what `load` makes of a source: its pixels, or its failure; times are added to `stages`."""
    try:
        loaded = load()
    except Exception as error:  # noqa: BLE001 - see `as_image_error`
        return Failure.of(source.path, as_image_error(error))
    stages.read += loaded.read
    stages.decode += loaded.decode
    return Pixels(source.path, loaded.values, loaded.thumbnail, loaded.exif)


def load_within(load: Load, source: Source, timeout: float) -> Any:  # noqa: ANN401 - as Load
    """Load in this process within `timeout` seconds; standard input may take any time."""
    if source.path == STDIN or math.isinf(timeout):
        return load(source)
    outcome: Future[Any] = Future()
    threading.Thread(target=_settle, args=(outcome, partial(load, source)), daemon=True).start()
    try:
        return outcome.result(timeout)
    except FutureTimeoutError:
        raise DecodeTimeout(f"not decoded within {timeout:g} s; --timeout sets the limit.") from None


def is_here(source: Source) -> bool:
    """Return whether a source is loaded in this process even where others decode.

    Standard input: only here a signal ends the wait for it. Pictures: they are decoded, so nothing in them can hang,
    and what the network needs of them is small.
    """
    return source.path == STDIN or source.picture is not None


def check_finite(row: Row, precision: str) -> Row | Failure:
    """Return the row, or a failure if it holds NaN or infinity, as after an overflow in fp16."""
    if np.isfinite(row.values).all():
        return row
    hint = "its weights may be damaged" if precision == "fp32" else "try --precision fp32"
    return Failure.of(row.path, NotANumber(f"the model answers NaN or infinity in {precision}: {hint}."))


def no_memory(engine: Engine, error: MemoryError) -> OutOfMemory:
    """Return the error of an engine that has no memory for one image."""
    return OutOfMemory(
        f"there is not enough memory on {engine.device} for one image ({error}): try a smaller --img-size."
    )


def _same(decoded: Decoded) -> Decoded:
    return decoded


def infer(
    items: Iterable[Decoded], engine: Engine, batch: int, stages: Stages | None = None
) -> Iterator[Row | Failure]:
    """Run decoded images through `engine` in batches, and yield each item's row or failure in order.

    The time spent waiting for the engine, and not for images, is added to `stages`. When memory is short, the batches
    in flight and all that follow run with half the batch size.

    Raises:
        OutOfMemory: there is not enough memory for a single image.
    """
    waiting: deque[list[Decoded]] = deque()
    forward = _Forward(stages or Stages())

    def batches(items: Iterable[Decoded], size: int) -> Iterator[NDArray[np.uint8]]:
        for group in forward.without(_group(items, size)):
            waiting.append(group)
            pixels = [item.values for item in group if isinstance(item, Pixels)]
            yield np.stack(pixels) if pixels else np.empty((0, *engine.shape), np.uint8)

    rest: Iterable[Decoded] = _separate_memory_errors(items)
    while True:
        try:
            for output in forward.of(window.rows(engine, batches(rest, batch))):
                yield from _match(waiting.popleft(), output, engine.precision)
        except MemoryError as error:
            if batch == 1:
                raise no_memory(engine, error) from error
        else:
            return
        batch = max(1, min(batch, max(map(_images, waiting), default=1)) // 2)
        _log.info("out of memory: continuing with batches of %d", batch)
        rest = chain([item for group in waiting for item in group], rest)
        waiting.clear()


def _settle(outcome: Future[Any], load: Callable[[], Any]) -> None:
    try:
        outcome.set_result(load())
    except BaseException as error:  # noqa: BLE001 - raised by `result`
        outcome.set_exception(error)


def _separate_memory_errors(items: Iterable[Decoded]) -> Iterator[Decoded]:
    """Yield all items; a `MemoryError` of decoding must not be taken for one of the engine."""
    try:
        yield from items
    except MemoryError as error:
        raise ResnestError(f"there is not enough memory to find and decode images ({error}).") from error


def _images(group: list[Decoded]) -> int:
    return sum(isinstance(item, Pixels) for item in group)


def _match(group: list[Decoded], output: NDArray[np.float32], precision: str) -> Iterator[Row | Failure]:
    rows = iter(output)
    for item in group:
        if isinstance(item, Failure):
            yield item
        else:
            yield check_finite(Row(item.path, next(rows), item.thumbnail, item.exif), precision)


def _group(items: Iterable[Decoded], batch: int) -> Iterator[list[Decoded]]:
    """Yield groups of items that hold `batch` images each; failures keep their place."""
    group: list[Decoded] = []
    images = 0
    for item in items:
        group.append(item)
        images += isinstance(item, Pixels)
        if images == batch or len(group) - images >= MAX_FAILURES_PER_BATCH:
            yield group
            group, images = [], 0
    if group:
        yield group


class _Forward:
    """A clock that runs while the engine computes rows, and stops while the engine waits for images."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages

    def of(self, rows: Iterator[_Item]) -> Iterator[_Item]:
        """Yield the rows, adding the time they take."""
        return self._clocked(rows, 1)

    def without(self, items: Iterator[_Item]) -> Iterator[_Item]:
        """Yield the items, subtracting the time they take."""
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
