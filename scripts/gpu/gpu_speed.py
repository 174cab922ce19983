"""gpu_check.py's section "speed": images per second of ready tensors.

In: a `Check`. Out: findings in its report. The forms are the network as the engine runs it, every form of
gpu_candidates.py, and plain timm at its best (channels_last, AMP or cast, compiled or not), each with its best batch.
They run in turns. Rates are medians; "x timm" is the median over the rounds of the ratio to timm's best form. The limit
is what the counts of gpu_counts.py allow at the measured rates of a large matrix product and of a large copy.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from contextlib import nullcontext
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

import gpu_counts
import torch
from gpu_candidates import CANDIDATES, compiled

from resnest_cli.engines.pytorch import gpu
from resnest_cli.engines.pytorch.engine import TorchEngine
from resnest_cli.engines.pytorch.network import build
from resnest_cli.models.catalog import find_model, resolve
from resnest_cli.tasks.bench.peak import peak_flops

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpu_report import Check
    from torch import nn

    from resnest_cli.types import ModelSpec

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
OURS, TIMM = "ours", "timm"
COPY = 1 << 30  # bytes; a CPU copies a 16th of them


class Racer:
    """A network on the device, timed on ready images."""

    def __init__(self, network: nn.Module, device: str, dtype: torch.dtype, amp: torch.dtype | None = None) -> None:
        self._network = network
        self._device, self._dtype, self._amp = device, dtype, amp
        self.batch = 0

    def choose(self, check: Check, size: tuple[int, int, int]) -> float:
        """Choose the fastest batch and return its rate; stop at the first batch that does not fit."""
        rates: dict[int, float] = {}
        for batch in check.batches:
            if rates and check.is_late:
                break
            try:
                rates[batch] = self.rate(batch, size, check.seconds / 4)
            except torch.OutOfMemoryError:
                if not rates:
                    raise
                break
        self.batch = max(rates, key=rates.__getitem__)
        return rates[self.batch]

    def rate(self, batch: int, size: tuple[int, int, int], seconds: float) -> float:
        """Return images per second of batches that run one after another."""
        ready = torch.randn(batch, *size, device=self._device, dtype=self._dtype)
        ready = ready.contiguous(memory_format=torch.channels_last)
        self._run(ready, 3)  # warm up: compile, choose kernels, record
        steps = max(3, math.ceil(3 * seconds / self._run(ready, 3)))
        return batch * steps / self._run(ready, steps)

    @torch.inference_mode()
    def _run(self, ready: torch.Tensor, steps: int) -> float:
        wait_for(self._device)
        begin = time.perf_counter()
        with torch.autocast(self._device.partition(":")[0], self._amp) if self._amp else nullcontext():
            for _ in range(steps):
                self._network(ready)
        wait_for(self._device)
        return time.perf_counter() - begin


def speed(check: Check) -> None:
    """Time every model in every precision: all candidates with the first, only the best candidate with the others."""
    names = list(CANDIDATES) if check.candidates is None else list(check.candidates)
    for precision in check.precisions:
        limits = measure_limits(check, precision)
        for model in check.models:
            if check.is_late:
                check.report.add("tried", f"{model} {precision}", error="not done: out of time")
                continue
            spec = resolve(check.options(model))
            medians = race(check, spec, precision, racers(check, spec, precision, names), limits)
            ranked = sorted((name for name in medians if name in names), key=lambda name: -medians[name])
            names = ranked[:1]


def measure_limits(check: Check, precision: str) -> tuple[float, float]:
    """Return FLOP/s of a large matrix product, and bytes/s (read plus written) of a large copy; report both."""
    engine = TorchEngine(find_model("digits"), None, device=check.device, precision=precision)
    flops = peak_flops(engine, check.seconds)
    source = torch.zeros(COPY if check.on_cuda else COPY // 16, dtype=torch.uint8, device=check.device)
    target = torch.empty_like(source)
    times = []
    for _ in range(10):
        wait_for(check.device)
        begin = time.perf_counter()
        target.copy_(source)
        wait_for(check.device)
        times.append(time.perf_counter() - begin)
    bandwidth = 2 * len(source) / min(times)
    check.report.add("limits", precision, tflops=flops / 1e12, tbytes=bandwidth / 1e12)
    return flops, bandwidth


def racers(check: Check, spec: ModelSpec, precision: str, names: list[str]) -> dict[str, Callable[[], Racer]]:
    """Return a maker per competitor, by name."""
    dtype = DTYPES[precision]
    amp = None if precision == "fp32" else dtype

    def plain() -> nn.Module:
        return build(spec, None).to(check.device).to(memory_format=torch.channels_last)

    def folded() -> nn.Module:
        return gpu.fold(build(spec, None)).to(check.device, dtype).to(memory_format=torch.channels_last)

    def candidate(name: str) -> Racer:
        return Racer(CANDIDATES[name](folded()), check.device, dtype)

    made: dict[str, Callable[[], Racer]] = {
        OURS: lambda: Racer(folded(), check.device, dtype),
        TIMM: lambda: Racer(plain(), check.device, torch.float32, amp),
        f"{TIMM}, compiled": lambda: Racer(compiled(plain(), "default"), check.device, torch.float32, amp),
    }
    if amp:
        made[f"{TIMM}, cast, compiled"] = lambda: Racer(compiled(plain().to(dtype), "default"), check.device, dtype)
    return made | {name: partial(candidate, name) for name in names}


def race(
    check: Check,
    spec: ModelSpec,
    precision: str,
    makers: dict[str, Callable[[], Racer]],
    limits: tuple[float, float],
) -> dict[str, float]:
    """Time all competitors in turns, report them, and return their median rates in images per second."""
    size, title = spec.data.input_size, f"{spec.name} {precision}"
    ready = {name: racer for name, make in makers.items() if (racer := try_one(check, f"{title}: {name}", make, size))}
    rates: dict[str, list[float]] = defaultdict(list)
    for number in range(check.rounds):
        if number and check.is_late:
            break
        for name, racer in list(ready.items()):
            try:
                rates[name].append(racer.rate(racer.batch, size, check.seconds))
            except torch.OutOfMemoryError as error:  # noqa: PERF203 - the competitors share the memory
                check.report.add("tried", f"{title}: {name}", error=str(error).partition(". ")[0])
                del ready[name], rates[name]
    medians = {name: median(values) for name, values in rates.items()}
    best = max((name for name in medians if name.startswith(TIMM)), key=medians.__getitem__, default=None)
    ratios = {name: median_ratio(values, rates[best]) if best else math.nan for name, values in rates.items()}
    for name, rate in medians.items():
        check.report.add("forms", f"{title}: {name}", rate=rate, batch=ready[name].batch, x_timm=ratios[name])
    if OURS in medians:
        flops, bandwidth = limits
        counts = gpu_counts.count(gpu_counts.make(spec.architecture, **spec.model_args), size)
        given = flops, bandwidth * (gpu_counts.BYTES / DTYPES[precision].itemsize)
        share = medians[OURS] / counts.limit(*given)
        row = {"rate": medians[OURS], "batch": ready[OURS].batch, "of_limit": share, "bound": counts.bound(*given)}
        check.report.add("speed", title, **row, x_timm=ratios[OURS], best_of_timm=best, rounds=len(rates[OURS]))
    return medians


def try_one(check: Check, title: str, make: Callable[[], Racer], size: tuple[int, int, int]) -> Racer | None:
    """Return one competitor with its batch chosen; report and return None if it fails or time is out."""
    if check.is_late:
        check.report.add("tried", title, error="not done: out of time")
        return None
    begin = time.perf_counter()
    try:
        racer = make()
        rate = racer.choose(check, size)
    except Exception as error:  # noqa: BLE001 - whatever a compiler raises ends this form only
        check.report.add("tried", title, error=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
        return None
    check.report.add("tried", title, rate=rate, batch=racer.batch, seconds=time.perf_counter() - begin)
    return racer


def median_ratio(ours: list[float], theirs: list[float]) -> float:
    """Return the median over the rounds of the ratio `ours` / `theirs`."""
    return median(our / their for our, their in zip(ours, theirs, strict=True))


def wait_for(device: str) -> None:
    """Wait until the device has finished its work."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
