"""Time an engine on ready pixels: step by step, as a full stream, and from files.

In: an opened engine and a time budget. Out: durations and rates. How long one batch takes is measured one step at a
time: with several in flight, the time between two results is not the time of a step. Throughput is measured with a full
stream, as a folder keeps it, from the first batch in to the last result out. Does not know how an engine is opened.
"""

from __future__ import annotations

import math
import os
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import cycle
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from resnest_cli.engines import window
from resnest_cli.errors import ImageError, NoImages
from resnest_cli.inputs import loading
from resnest_cli.inputs.find import find_sources
from resnest_cli.pipeline.trunk import Trunk
from resnest_cli.types import EngineFacts, Failure, Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from resnest_cli.engines.base import Engine
    from resnest_cli.inputs.loading import Loaded, Loader
    from resnest_cli.options import Options

WARM_SHARE, STEPS_SHARE, STREAM_SHARE, PEAK_SHARE = 0.1, 0.4, 0.4, 0.1  # of the time budget
LEAST_STEPS, MOST_STEPS = 5, 1000
STABLE_FROM, STABLE_WITHIN = 20, 0.01
STAGE_IMAGES = 64  # images whose stages are timed alone


@dataclass(frozen=True)
class Steps:
    """Batches run one at a time: seconds of the first, seconds of each timed one, and how many warmed up."""

    first: float
    timed: list[float]
    warmups: int


@dataclass(frozen=True)
class Stream:
    """Batches run with as many in flight as the engine takes."""

    images: int
    batches: int
    seconds: float

    @property
    def rate(self) -> float:
        """Images per second, from the first batch in to the last result out."""
        return self.images / self.seconds


@dataclass(frozen=True)
class Files:
    """From files to answers: images per second of the whole, and milliseconds per image of each stage alone."""

    images: int
    errors: int
    samples_per_sec: float
    stage_ms: dict[str, float]


def pixels_for(engine: Engine, batch: int) -> NDArray[np.uint8]:
    """Return a batch of noise, uint8 [N, H, W, 3]."""
    return np.random.default_rng(0).integers(0, 256, (batch, *engine.shape), dtype=np.uint8)


def run_steps(engine: Engine, pixels: NDArray[np.uint8], seconds: float) -> Steps:
    """Time batches one at a time.

    First batches warm up for a tenth of the budget, at least one. Then batches are timed until the median is stable
    (`is_stable`) or the budget is spent, at least five.
    """
    first = _step(engine, pixels)
    warmups, spent = 1, first
    while spent < seconds * WARM_SHARE:
        spent += _step(engine, pixels)
        warmups += 1
    timed: list[float] = []
    while not _have_enough(timed, seconds * STEPS_SHARE):
        timed.append(_step(engine, pixels))
    return Steps(first, timed, warmups)


def is_stable(durations: list[float]) -> bool:
    """Return whether the median is known to 1%: whether its 95% interval, from order statistics, lies within 1%.

    The ranks are n/2 -+ 0.98 sqrt(n): the normal approximation of the binomial, see Conover, "Practical Nonparametric
    Statistics", 3.2.
    """
    n = len(durations)
    if n < STABLE_FROM:
        return False
    ordered, half = sorted(durations), 0.98 * math.sqrt(n)
    low, high = ordered[math.floor(n / 2 - half)], ordered[min(math.ceil(n / 2 + half), n - 1)]
    return high - low <= 2 * STABLE_WITHIN * ordered[n // 2]


def run_stream(engine: Engine, pixels: NDArray[np.uint8], seconds: float, step: float) -> Stream:
    """Time a full stream for `seconds`, after a stream that warms up; `step` is how long a batch takes alone.

    Every stream of the engine gets equally many batches, at least two, so that none waits long for another at the end.
    """
    if 4 * step > seconds:  # the first use costs little beside such steps: empty batches get the engine ready
        list(window.rows(engine, [pixels[:0]] * 2))
    else:
        _feed(engine, pixels, seconds * WARM_SHARE, least=EngineFacts.of(engine).streams + 1)
    return _feed(engine, pixels, seconds, least=max(LEAST_STEPS, 2 * EngineFacts.of(engine).streams))


def run_files(  # noqa: PLR0913 - what is timed, for how long, and beside what
    engine: Engine, options: Options, folder: str, *, exclude: Sequence[str], seconds: float, forward: float
) -> Files:
    """Time a folder of images from files to answers, repeated until `seconds` are spent; and its stages alone.

    Stages are timed in one thread, image by image, with files in the system's cache. `forward` is the engine's rate.

    Raises:
        NoImages: no image in the folder can be read.
    """
    found = list(find_sources([folder], exclude=exclude))
    stages = _stages(engine, options, [item for item in found if isinstance(item, Source)])
    deadline = time.perf_counter() + seconds

    def until_deadline() -> Iterator[Source | Failure]:
        for number, item in enumerate(cycle(found)):
            if number >= len(found) and time.perf_counter() > deadline:
                return
            yield item

    begin = time.perf_counter()
    rows = [isinstance(row, Failure) for row in Trunk(engine.spec, options, engine=engine).rows(until_deadline())]
    rate = rows.count(False) / (time.perf_counter() - begin)
    return Files(rows.count(False), rows.count(True), rate, {**stages, "forward": 1000 / forward})


def summarize(seconds: list[float]) -> dict[str, float]:
    """Return min, p50, p90, p99, max and mean of durations, in milliseconds (percentiles by linear interpolation)."""
    milliseconds = [1000 * value for value in seconds]
    p50, p90, p99 = np.percentile(milliseconds, [50, 90, 99]).tolist()
    return {
        "min": min(milliseconds),
        "p50": p50,
        "p90": p90,
        "p99": p99,
        "max": max(milliseconds),
        "mean": fmean(milliseconds),
    }


def _step(engine: Engine, pixels: NDArray[np.uint8]) -> float:
    begin = time.perf_counter()
    list(window.rows(engine, [pixels]))  # the rows are on the host when it ends, so the device is done
    return time.perf_counter() - begin


def _have_enough(timed: list[float], budget: float) -> bool:
    spent, n = sum(timed), len(timed)
    if n >= MOST_STEPS or is_stable(timed):
        return True
    return n >= LEAST_STEPS and spent >= budget


def _feed(engine: Engine, pixels: NDArray[np.uint8], seconds: float, least: int) -> Stream:
    streams: int = EngineFacts.of(engine).streams
    begin = time.perf_counter()
    given = 0

    def batches() -> Iterator[NDArray[np.uint8]]:
        nonlocal given
        while given < least or given % streams or time.perf_counter() - begin < seconds:
            given += 1
            yield pixels

    done = sum(len(rows) for rows in window.rows(engine, batches()))
    return Stream(done, given, time.perf_counter() - begin)


def _stages(engine: Engine, options: Options, found: list[Source]) -> dict[str, float]:
    """Return the milliseconds per image of reading, decoding and resizing."""
    loaded = list(_loaded(loading.Loader.of(engine.spec.data, options), found[:STAGE_IMAGES], options.timeout))
    if not loaded:
        message = "no image in --images can be read."
        raise NoImages(message)
    times = {
        "read": [each.read for each in loaded],
        "decode": [each.decode - each.resize for each in loaded],
        "resize": [each.resize for each in loaded],
    }
    return {name: 1000 * fmean(values) for name, values in times.items()}


def _loaded(load: Loader, found: list[Source], timeout: float) -> Iterator[Loaded]:
    """Yield images loaded one by one; an image that hangs or crashes its decoder is left out."""
    with ExitStack() as ends:
        pool = ends.enter_context(loading.start(load, 1, timeout)) if os.name == "posix" else None
        for source in found:
            with suppress(ImageError):
                _, loaded = [
                    pool.result(pool.submit(source)) if pool else load(source) for _ in range(2)
                ]  # once, to warm up
                yield loaded
