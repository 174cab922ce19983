"""gpu_check.py's section "files": images per second from JPEG files to rows.

In: a `Check`, and a folder of JPEG files or none (then the files are made). Out: findings in its report: the trunk with
one decoding process per core, beside timm with its default loader (one process) and with one process per core; and
decoding on the device itself, in images per second and in pixel differences.
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

import numpy as np
import torch
from gpu_speed import DTYPES, median_ratio, wait_for
from PIL import Image
from timm.data.dataset_factory import create_dataset
from timm.data.loader import create_loader
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from resnest_cli.engines import window
from resnest_cli.engines.pytorch.engine import TorchEngine
from resnest_cli.engines.pytorch.network import build
from resnest_cli.inputs.decode import images
from resnest_cli.models.catalog import resolve
from resnest_cli.pipeline.stream import Row
from resnest_cli.pipeline.trunk import Trunk
from resnest_cli.system import machine
from resnest_cli.types import Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpu_report import Check
    from torch import nn

    from resnest_cli.types import ModelSpec

DECODED = 64  # images per batch decoded on the device


def files(check: Check) -> None:
    """Time every model in every precision on a folder of JPEG files, and decoding on the device."""
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
    """Report images per second of the trunk, and of timm with one loader process and with one per core."""
    cores = machine.usable_cores()
    engine = TorchEngine(spec, None, device=check.device, precision=precision)
    network = build(spec, None).to(check.device).to(memory_format=torch.channels_last)
    passes: dict[str, Callable[[], float]] = {
        "ours": partial(_our_pass, check, engine, found, cores),
        "default": partial(_timm_pass, check, engine, network, root, 1),
        "cores": partial(_timm_pass, check, engine, network, root, cores),
    }
    list(window.rows(engine, [np.zeros((engine.best_batch, *engine.shape), np.uint8)]))
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
        x_timm=median_ratio(rates["ours"], rates["default"]),
        x_timm_all_cores=median_ratio(rates["ours"], rates["cores"]),
        timm=median(rates["default"]),
        timm_all_cores=median(rates["cores"]),
        images=len(found),
        processes=cores,
        rounds=len(rates["ours"]),
    )


def decode_on_card(check: Check, found: list[Source]) -> None:
    """Report how fast torchvision decodes and resizes on the device, and how far its pixels are from ours."""
    spec = resolve(check.options(check.models[0]))
    edge, size = math.floor(spec.data.input_size[1] / spec.data.crop_pct), spec.data.input_size[1]
    how = InterpolationMode(spec.data.interpolation)
    given = [torch.from_numpy(np.fromfile(source.path, np.uint8)) for source in found[:DECODED]]

    def decode() -> list[torch.Tensor]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchvision 0.29 warns that decoding moves to torchcodec
            decoded: Any = decode_jpeg(given, mode=ImageReadMode.RGB, device=check.device)
        return [functional.center_crop(functional.resize(one, [edge], how, antialias=True), [size]) for one in decoded]

    try:
        theirs = torch.stack(decode()).permute(0, 2, 3, 1).cpu().numpy()
        wait_for(check.device)
        begin = time.perf_counter()
        decode()
        wait_for(check.device)
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
    """Write `count` JPEG files of 500 x 375 pixels: 50 different pictures of colors, gradients and some noise."""
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
