"""gpu_check.py's sections "speed", of ready tensors, and "files", from JPEG files to rows.

speed: the network as the engine runs it, every form in gpu_candidates.py, and plain timm at its best (channels_last,
AMP or cast, compiled or not), each with its best batch, in turns. Rates are medians, "x timm" is the median of a
round's ratios to the best of timm's forms. The limit is the least of what the counts of gpu_counts.py allow at the
rates of a large matrix product and of a large copy, which are measured here.

files: the trunk with a decoding process a core, beside timm with its loader as it is by default (one process), and with
a process a core; and what decoding on the card itself would give, in images a second and in other pixels.
"""

from __future__ import annotations

import math
import tempfile
import time
import warnings
from collections import defaultdict
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import gpu_counts
import numpy as np
import torch
from gpu_candidates import CANDIDATES, compiled
from PIL import Image
from timm.data.dataset_factory import create_dataset
from timm.data.loader import create_loader
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from resnest_cli.engines.pytorch import gpu
from resnest_cli.engines.pytorch.engine import TorchEngine
from resnest_cli.engines.pytorch.network import build
from resnest_cli.inputs.decode import images
from resnest_cli.models.catalog import find_model, resolve
from resnest_cli.pipeline.stream import Row
from resnest_cli.pipeline.trunk import Trunk
from resnest_cli.system import machine
from resnest_cli.tasks.bench.peak import peak_flops
from resnest_cli.types import Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpu_report import Check
    from torch import nn

    from resnest_cli.types import ModelSpec

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
OURS, TIMM = "ours", "timm"
COPY = 1 << 30  # bytes; on a CPU a 16th of it
DECODED = 64  # images at once on the card


class Racer:
    """A network on the device that is run on ready images."""

    def __init__(self, network: nn.Module, device: str, dtype: torch.dtype, amp: torch.dtype | None = None) -> None:
        self._network = network
        self._device, self._dtype, self._amp = device, dtype, amp
        self.batch = 0

    def choose(self, check: Check, size: tuple[int, int, int]) -> float:
        """Take the best batch, and give its rate; larger ones are not tried once one does not fit."""
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
        """Return images a second of batches one after another."""
        ready = torch.randn(batch, *size, device=self._device, dtype=self._dtype)
        ready = ready.contiguous(memory_format=torch.channels_last)
        self._run(ready, 3)  # compiles, chooses kernels, records
        steps = max(3, math.ceil(3 * seconds / self._run(ready, 3)))
        return batch * steps / self._run(ready, steps)

    @torch.inference_mode()
    def _run(self, ready: torch.Tensor, steps: int) -> float:
        _wait(self._device)
        begin = time.perf_counter()
        with torch.autocast(self._device.partition(":")[0], self._amp) if self._amp else nullcontext():
            for _ in range(steps):
                self._network(ready)
        _wait(self._device)
        return time.perf_counter() - begin


# --- ready tensors


def speed(check: Check) -> None:
    """Race every model in every precision; candidates all with the first, and then the best of them."""
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
    """Measure operations a second of a large matrix product, and bytes a second of a large copy (read and written)."""
    engine = TorchEngine(find_model("digits"), None, device=check.device, precision=precision)
    flops = peak_flops(engine, check.seconds)
    source = torch.zeros(COPY if check.on_cuda else COPY // 16, dtype=torch.uint8, device=check.device)
    target = torch.empty_like(source)
    times = []
    for _ in range(10):
        _wait(check.device)
        begin = time.perf_counter()
        target.copy_(source)
        _wait(check.device)
        times.append(time.perf_counter() - begin)
    bandwidth = 2 * len(source) / min(times)
    check.report.add("limits", precision, tflops=flops / 1e12, tbytes=bandwidth / 1e12)
    return flops, bandwidth


def racers(check: Check, spec: ModelSpec, precision: str, names: list[str]) -> dict[str, Callable[[], Racer]]:
    """Return what makes each that takes part."""
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
    """Let all take turns, report, and give their median rates."""
    size, title = spec.data.input_size, f"{spec.name} {precision}"
    ready = {name: racer for name, make in makers.items() if (racer := try_one(check, f"{title}: {name}", make, size))}
    rates: dict[str, list[float]] = defaultdict(list)
    for number in range(check.rounds):
        if number and check.is_late:
            break
        for name, racer in list(ready.items()):
            try:
                rates[name].append(racer.rate(racer.batch, size, check.seconds))
            except torch.OutOfMemoryError as error:  # noqa: PERF203 - beside the others there is less than alone
                check.report.add("tried", f"{title}: {name}", error=str(error).partition(". ")[0])
                del ready[name], rates[name]
    medians = {name: median(values) for name, values in rates.items()}
    best = max((name for name in medians if name.startswith(TIMM)), key=medians.__getitem__, default=None)
    ratios = {name: _ratio(values, rates[best]) if best else math.nan for name, values in rates.items()}
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
    """Make one and choose its batch, if there is time and nothing goes wrong."""
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


# --- from files


def files(check: Check) -> None:
    """Take turns over a folder, with every model in every precision."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if check.images:
            (root / "all").symlink_to(Path(check.images).resolve())
        else:
            make_files(root / "all", check.files)
        found = [Source(str(path)) for path in sorted((root / "all").iterdir())]
        if not check.is_late:
            decode_on_card(check, found)
        for model in check.models:
            for precision in check.precisions:
                if check.is_late:
                    check.report.add("files", f"{model} {precision}", error="not done: out of time")
                else:
                    take_turns(check, resolve(check.options(model)), precision, root, found)


def take_turns(check: Check, spec: ModelSpec, precision: str, root: Path, found: list[Source]) -> None:
    """Report the rates of ours and of timm with one and with all processes."""
    cores = machine.usable_cores()
    engine = TorchEngine(spec, None, device=check.device, precision=precision)
    network = build(spec, None).to(check.device).to(memory_format=torch.channels_last)
    passes: dict[str, Callable[[], float]] = {
        "ours": partial(_our_pass, check, engine, found, cores),
        "default": partial(_timm_pass, check, engine, network, root, 1),
        "cores": partial(_timm_pass, check, engine, network, root, cores),
    }
    list(engine.run([np.zeros((engine.best_batch, *engine.shape), np.uint8)]))
    rates: dict[str, list[float]] = defaultdict(list)
    for number in range(check.rounds):
        if number and check.is_late:
            break
        for name, run in passes.items():
            rates[name].append(run())
    check.report.add(
        "files",
        f"{spec.name} {precision}",
        rate=median(rates["ours"]),
        x_timm=_ratio(rates["ours"], rates["default"]),
        x_timm_all_cores=_ratio(rates["ours"], rates["cores"]),
        timm=median(rates["default"]),
        timm_all_cores=median(rates["cores"]),
        images=len(found),
        processes=cores,
        rounds=len(rates["ours"]),
    )


def decode_on_card(check: Check, found: list[Source]) -> None:
    """Report how fast torchvision decodes and resizes on the device, and how its pixels differ from ours."""
    spec = resolve(check.options(check.models[0]))
    edge, size = math.floor(spec.data.input_size[1] / spec.data.crop_pct), spec.data.input_size[1]
    how = InterpolationMode(spec.data.interpolation)
    given = [torch.from_numpy(np.fromfile(source.path, np.uint8)) for source in found[:DECODED]]

    def decode() -> list[torch.Tensor]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchvision 0.29 says that this moves to torchcodec
            decoded: Any = decode_jpeg(given, mode=ImageReadMode.RGB, device=check.device)
        return [functional.center_crop(functional.resize(one, [edge], how, antialias=True), [size]) for one in decoded]

    try:
        theirs = torch.stack(decode()).permute(0, 2, 3, 1).cpu().numpy()
        _wait(check.device)
        begin = time.perf_counter()
        decode()
        _wait(check.device)
        seconds = time.perf_counter() - begin
    except RuntimeError as error:
        check.report.add("decode", "on the device", error=str(error).partition("\n")[0])
        return
    ours = np.stack([images.load(Path(source.path).read_bytes(), spec.data, exif=False) for source in found[:DECODED]])
    apart = np.abs(theirs.astype(np.int16) - ours)
    check.report.add(
        "decode", "on the device", rate=len(given) / seconds, max=int(apart.max()), mean=float(apart.mean())
    )


def make_files(folder: Path, count: int) -> None:
    """Write JPEG files of 500 x 375 pixels, of colours, slopes and some noise; 50 different ones."""
    folder.mkdir()
    dice = np.random.default_rng(0)
    across, down = np.linspace(0, 1, 500)[:, None], np.linspace(0, 1, 375)[:, None, None]
    for number in range(min(count, 50)):
        slopes = across * dice.uniform(0, 90, 3) + down * dice.uniform(0, 90, 3)
        pixels = slopes + dice.uniform(0, 50, 3) + dice.uniform(0, 25, (375, 500, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:06}.jpg", quality=90)
    for number in range(50, count):
        (folder / f"{number:06}.jpg").write_bytes((folder / f"{number % 50:06}.jpg").read_bytes())


def _our_pass(check: Check, engine: TorchEngine, found: list[Source], workers: int) -> float:
    begin = time.perf_counter()
    trunk = Trunk(engine.spec, check.options(engine.spec.name, workers=workers), engine=engine, many=True)
    rows = sum(isinstance(row, Row) for row in trunk.rows(found))
    return rows / (time.perf_counter() - begin)


def _timm_pass(check: Check, engine: TorchEngine, network: nn.Module, root: Path, workers: int) -> float:
    data, precision, batch = engine.spec.data, engine.precision, engine.best_batch
    how: dict[str, Any] = {"interpolation": data.interpolation, "mean": data.mean, "std": data.std}
    how |= {"crop_pct": data.crop_pct, "num_workers": workers, "device": torch.device(check.device)}
    begin, rows = time.perf_counter(), 0
    loader: Any = create_loader(create_dataset("", root=str(root)), data.input_size, batch, **how)
    amp = nullcontext() if precision == "fp32" else torch.autocast(check.device.partition(":")[0], DTYPES[precision])
    with torch.inference_mode(), amp:
        for ready, _ in loader:
            rows += len(network(ready.contiguous(memory_format=torch.channels_last)).cpu())
    return rows / (time.perf_counter() - begin)


def _ratio(ours: list[float], theirs: list[float]) -> float:
    """Return the median of the ratios of each round."""
    return median(our / their for our, their in zip(ours, theirs, strict=True))


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
