"""How fast is this model on this machine? Ready pixels through an engine, timed step by step.

In: a spec and options. Out: a `BenchResult` with throughput and latency. The weights are random: they do not change the
speed. Files, decoding and the hardware's own limit are not measured here.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import count
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from resnest_cli import catalog
from resnest_cli.engines import open_engine
from resnest_cli.options import DEFAULT_BENCH_SECONDS, Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from resnest_cli.engines import Engine

WARMUP_SHARE = 0.1  # of the time budget, and at least one step
MAX_STEPS = 1000


@dataclass(frozen=True)
class BenchResult:
    """One configuration's speed; times in seconds or (`step_time_ms`) milliseconds, `gmacs` a single image."""

    model: str
    engine: str
    device: str
    precision: str
    batch: int
    img_size: int
    threads: int
    samples_per_sec: float
    step_time_ms: dict[str, float]
    steps: int
    warmup_steps: int
    gmacs: float | None
    achieved_tflops: float | None
    param_count: int
    load_time_s: float
    first_result_s: float
    weights: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Step:
    """One forward pass: its duration in seconds, and whether it was a warm-up."""

    seconds: float
    is_warmup: bool


def bench(
    options: Options,
    *,
    seconds: float = DEFAULT_BENCH_SECONDS,
    progress: Callable[[Iterable[Step]], Iterator[Step]] = iter,
) -> BenchResult:
    """Measure the model that `options` name for about `seconds`, its weights random.

    The batch is the engine's best if `options.batch` is "auto". `progress` sees each step as it ends.

    Raises:
        UsageError, UnknownModel, DeviceError: as `open_engine` does.
    """
    options = replace(options, random_weights=True, weights=None)
    begin = time.perf_counter()
    engine = open_engine(catalog.resolve(options), options)
    load_time = time.perf_counter() - begin
    batch = options.batch if isinstance(options.batch, int) else engine.best_batch
    steps = list(progress(_steps(engine, batch, seconds)))
    timed = [step.seconds for step in steps if not step.is_warmup]
    result = BenchResult(
        batch=batch,
        samples_per_sec=batch * len(timed) / sum(timed),
        step_time_ms=summarise(timed),
        steps=len(timed),
        warmup_steps=len(steps) - len(timed),
        load_time_s=load_time,
        first_result_s=load_time + steps[0].seconds,
        **_configuration(engine, batch * len(timed) / sum(timed)),
    )
    engine.close()
    return result


def summarise(seconds: list[float]) -> dict[str, float]:
    """Give min, p50, p90, p99, max and mean of durations, in milliseconds (percentiles by linear interpolation)."""
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


def _steps(engine: Engine, batch: int, budget: float) -> Iterator[Step]:
    """Run steps until the budget is spent: at least one to warm up, then at least one and at most `MAX_STEPS` timed."""
    pixels = np.random.default_rng(0).integers(0, 256, (batch, *engine.shape), dtype=np.uint8)
    begin = time.perf_counter()
    timed = 0
    for i in count():
        last = time.perf_counter()
        list(engine.run([pixels]))  # alone: with several in flight, the time between two results is no step's
        now = time.perf_counter()
        is_warmup = i == 0 or (timed == 0 and last - begin < budget * WARMUP_SHARE)
        timed += not is_warmup
        yield Step(now - last, is_warmup)
        if timed >= MAX_STEPS or (timed and now - begin >= budget):
            return


def _configuration(engine: Engine, rate: float) -> dict[str, Any]:
    spec = engine.spec
    at_home = spec.facts.get("input_size") == spec.data.input_size[1]
    gmacs = spec.facts["gmacs"] if at_home else None  # counted at the variant's own size; unknown at others
    return {
        "model": spec.name,
        "engine": engine.name,
        "device": engine.device,
        "precision": engine.precision,
        "img_size": spec.data.input_size[1],
        "threads": engine.facts["threads"],
        "gmacs": gmacs,
        "achieved_tflops": 2 * gmacs * rate / 1000 if gmacs else None,
        "param_count": engine.facts["param_count"],
        "weights": "random",
        "versions": {
            "resnest-cli": version("resnest-cli"),
            "python": sys.version.split()[0],
            **engine.facts["versions"],
        },
    }
