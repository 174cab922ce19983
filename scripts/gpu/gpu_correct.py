"""gpu_check.py's section "correct": compare the answers of a card with those of the CPU.

In: a `Check`. Out: findings in its report. fp32 must be within 1e-4 of the CPU's probabilities, for seeded
weights under which every block counts; the differences of bf16 and fp16 are only reported. Two failures are provoked:
a device index that does not exist, and a batch that does not fit into memory.
"""

from __future__ import annotations

import logging
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from gpu_candidates import CANDIDATES, lively, scenes
from safetensors.torch import save_file

from resnest_cli.engines import window
from resnest_cli.engines.pytorch import gpu
from resnest_cli.engines.pytorch.engine import TorchEngine, choose_device
from resnest_cli.engines.pytorch.network import build
from resnest_cli.errors import DeviceError
from resnest_cli.models.catalog import resolve
from resnest_cli.pipeline.stream import Pixels, Row, infer
from resnest_cli.tasks.ranking import softmax

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpu_report import Check
    from numpy.typing import NDArray

    from resnest_cli.types import ModelSpec

CLOSE = 1e-4  # largest difference of a probability
PRECISIONS = ("fp32", "bf16", "fp16")
IMAGES = 16
LARGE, ROOM = 64, 20  # images in a batch that does not fit; images that fit


def correct(check: Check) -> None:
    """Compare every model in every precision; provoke the failures and compare the candidates with the first model."""
    wrong_index(check)
    for model in check.models:
        if check.is_late:
            check.report.add("correct", model, error="not done: out of time")
            continue
        spec = resolve(check.options(model))
        with lively_weights(spec) as file:
            compare(check, spec, file)
            if model == check.models[0]:
                short_of_memory(check, spec, file)
                compare_candidates(check, spec, file)


@contextmanager
def lively_weights(spec: ModelSpec) -> Iterator[Path]:
    """Yield a temporary file of seeded weights under which every block counts."""
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        save_file(lively(build(spec, None), spec.data.input_size[1]).state_dict(), Path(folder, "lively.safetensors"))
        yield Path(folder, "lively.safetensors")


def compare(check: Check, spec: ModelSpec, file: Path) -> None:
    """Report the largest and mean difference of a probability to the CPU in fp32, per precision."""
    images = pictures(spec, IMAGES)
    expected = probabilities(TorchEngine(spec, file, device="cpu"), images)
    for precision in PRECISIONS:
        found = probabilities(TorchEngine(spec, file, device=check.device, precision=precision), images)
        apart = np.abs(found - expected)
        check.report.add(
            "correct",
            f"{spec.name} {precision}",
            ok=bool(np.isfinite(found).all() and (precision != "fp32" or apart.max() <= CLOSE)),
            max=float(apart.max()),
            mean=float(apart.mean()),
            top1_agreement=float((found.argmax(1) == expected.argmax(1)).mean()),
        )


def compare_candidates(check: Check, spec: ModelSpec, file: Path) -> None:
    """Report the largest difference of a probability in fp32 between plain timm and each form without compiler."""
    images = torch.from_numpy(pictures(spec, IMAGES)).permute(0, 3, 1, 2).float() / 255 - 0.5
    ready = images.to(check.device).contiguous(memory_format=torch.channels_last)
    names = CANDIDATES if check.candidates is None else check.candidates
    with torch.inference_mode():
        expected = build(spec, file)(images).softmax(1)
        for name in [name for name in names if "compiled" not in name and "autotune" not in name]:
            try:
                network = CANDIDATES[name](gpu.fold(build(spec, file)).to(check.device))
                found = network(ready).softmax(1).cpu()
            except Exception as error:  # noqa: BLE001 - whatever a kernel raises ends this form only
                check.report.add("correct", name, error=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
                continue
            apart = float((found - expected).abs().max())
            check.report.add("correct", name, ok=apart <= CLOSE, max=apart)


def wrong_index(check: Check) -> None:
    """Report the error message for a card that does not exist."""
    try:
        device, words = choose_device(f"cuda:{torch.cuda.device_count()}")
    except DeviceError as error:
        check.report.add("correct", "an index too many", ok=True, says=str(error))
    else:
        check.report.add("correct", "an index too many", ok=False, says=f"{device}: {words}")


def short_of_memory(check: Check, spec: ModelSpec, file: Path) -> None:
    """Report whether every row is there, in order and correct, when a batch does not fit."""
    engine = TorchEngine(spec, file, device=check.device)
    images = pictures(spec, LARGE + 1)
    expected = np.concatenate([*window.rows(engine, [image[None] for image in images])])
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("resnest_cli.pipeline.stream")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        with little_memory(check, engine, images):
            rows = list(infer([Pixels(str(i), image) for i, image in enumerate(images)], engine, LARGE))
    finally:
        log.removeHandler(handler)
    values = np.array([row.values for row in rows if isinstance(row, Row)])
    complete = [row.path for row in rows] == [str(i) for i in range(len(images))] and len(values) == len(rows)
    apart = float(np.abs(softmax_rows(values) - softmax_rows(expected)).max()) if complete else float("inf")
    check.report.add(
        "correct",
        "out of memory",
        ok=complete and apart <= CLOSE and bool(messages),
        rows=len(rows),
        max=apart,
        says=messages,
    )


@contextmanager
def little_memory(check: Check, engine: TorchEngine, images: NDArray[np.uint8]) -> Iterator[None]:
    """Limit memory to about `ROOM` images; on a CPU, make the engine raise the out-of-memory error of torch."""
    if not check.on_cuda:
        forward = engine._forward  # noqa: SLF001 - the step that fails on a card

        def small(pixels: torch.Tensor) -> torch.Tensor:
            if len(pixels) > ROOM:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate more.")
            return forward(pixels)

        engine._forward = small  # type: ignore[method-assign] # noqa: SLF001
        yield
        return
    device = choose_device(check.device)[0]
    torch.cuda.empty_cache()
    held = torch.cuda.memory_reserved(device)
    torch.cuda.reset_peak_memory_stats(device)
    list(window.rows(engine, [images[:ROOM]]))
    needed = torch.cuda.max_memory_reserved(device) - held
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction((held + 1.2 * needed) / total, device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def pictures(spec: ModelSpec, count: int) -> NDArray[np.uint8]:
    """Return pixels uint8 [N, H, W, 3] that differ in color, gradient and noise."""
    torch.manual_seed(1)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (spec.data.mean, spec.data.std))
    pixels = (scenes(count, spec.data.input_size[1]) * std + mean).clamp(0, 1) * 255
    made: NDArray[np.uint8] = pixels.permute(0, 2, 3, 1).byte().numpy()
    return made


def probabilities(engine: TorchEngine, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return probabilities float32 [N, C] of two batches, the second one smaller; close the engine."""
    rows = np.concatenate([*window.rows(engine, [images[:11], images[11:]])])
    engine.close()
    return softmax_rows(rows)


def softmax_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probabilities of logits [N, C]."""
    return np.array([softmax(row) for row in rows])
