"""The torch engine: eager forward passes on CUDA, XPU, MPS or the CPU.

In: a spec, a checkpoint, a device and a precision. Out: logits of uint8 batches. In fp32 it computes what plain timm
computes (TF32 is off); bf16 and fp16 run under autocast with float32 logits.

On the CPU this is the reference that other engines are held to: layout and automatic batch are those of the model
card's own loop, so the numbers are its numbers, bit for bit. channels_last and batches of 8 would gain about a tenth
there, and change the order of sums; a very deep network with weights that amplify rounding shows it (resnest269e with
seeded weights: probabilities move by 0.1 with the batch size alone, in plain timm as here).
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import timm
import torch

from resnest_cli.errors import DeviceError
from resnest_cli.machine import memory_errors
from resnest_cli.network import build

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray

    from resnest_cli.types import ModelSpec

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_PRODUCTS, _LEAST_RUNS = 4, 3  # matrix products in a row, and how often, to measure the hardware
_BEST_BATCH = {"cpu": 1, "mps": 16}  # others take 64


class TorchEngine:
    """An `Engine` on torch; see the protocol for what its members mean.

    Raises:
        DeviceError: `device` is not there.
        BadCheckpoint: `weights` does not fit `spec`.
    """

    name = "torch"

    def __init__(
        self,
        spec: ModelSpec,
        weights: Path | None,
        *,
        device: str = "auto",
        precision: str = "fp32",
        want: str = "logits",
    ) -> None:
        self._device, self.reason = choose_device(device)
        self.spec = spec
        self.device = str(self._device)
        self.precision = precision
        if self._device.type == "cuda":
            torch.backends.cudnn.allow_tf32 = False  # on by default for convolutions: 1e-3 away from float32
        self._layout = torch.contiguous_format if self._device.type == "cpu" else torch.channels_last
        network = build(spec, weights, want)
        self._network = network.to(self._device, memory_format=self._layout)  # type: ignore[call-overload] # torch#66151
        self.width = self._network.num_features if want == "features" else spec.num_classes
        self._mean = self._per_channel(spec.data.mean)
        self._std = self._per_channel(spec.data.std)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the pixels that `run` takes."""
        channels, height, width = self.spec.data.input_size
        return height, width, channels

    @property
    def best_batch(self) -> int:
        """Images a forward pass that suit the device."""
        return _BEST_BATCH.get(self._device.type, 64)

    @property
    def facts(self) -> dict[str, Any]:
        """What a benchmark records: threads, streams, param_count, versions, and the peak memory of a GPU."""
        on_cuda = self._device.type == "cuda"
        return {
            "threads": torch.get_num_threads(),
            "streams": 1,
            "peak_memory": torch.cuda.max_memory_allocated(self._device) if on_cuda else None,
            "param_count": sum(parameter.numel() for parameter in self._network.parameters()),
            "versions": {"torch": torch.__version__, "timm": timm.__version__},
        }

    def prepare(self, *, single: bool) -> None:
        """Be ready as it is: nothing is compiled."""

    def run(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        """Turn each batch, uint8 [N, H, W, 3], into logits float32 [N, num_classes], in order."""
        for batch in batches:
            # The split attention cannot reshape an empty batch.
            yield self._logits(batch) if len(batch) else np.empty((0, self.width), np.float32)

    def peak_flops(self, seconds: float) -> float:
        """Measure square matrix products in torch; the best of several sizes."""
        sizes = (512, 1024, 2048) if self._device.type == "cpu" else (2048, 4096, 8192)
        return max(self._matmul_flops(size, seconds / len(sizes)) for size in sizes)

    def close(self) -> None:
        """Let go of the network."""
        vars(self).pop("_network", None)

    def _logits(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        with memory_errors(), torch.inference_mode(), self._autocast():
            # NHWC seen as NCHW is channels_last already: there, nothing is copied. Then as ToTensor and Normalize do.
            pixels = torch.from_numpy(batch).to(self._device).permute(0, 3, 1, 2)
            images = pixels.contiguous(memory_format=self._layout).float().div(255).sub(self._mean).div(self._std)
            logits: NDArray[np.float32] = self._network(images).float().cpu().numpy()
        return logits

    def _matmul_flops(self, size: int, seconds: float) -> float:
        """Give the operations a second of a product of square matrices; the best run."""
        matrix = torch.ones(size, size, device=self._device, dtype=_DTYPES.get(self.precision, torch.float32))
        times: list[float] = []
        end = time.perf_counter() + seconds
        while len(times) < _LEAST_RUNS or time.perf_counter() < end:
            begin = time.perf_counter()
            product = matrix
            for _ in range(_PRODUCTS):
                product = matrix @ matrix
            product[0, 0].item()  # waits for the device
            times.append(time.perf_counter() - begin)
        return 2 * size**3 * _PRODUCTS / min(times)

    def _autocast(self) -> AbstractContextManager[object]:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self._device.type, dtype=_DTYPES[self.precision])

    def _per_channel(self, values: tuple[float, ...]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self._device).view(1, -1, 1, 1)


def choose_device(wanted: str) -> tuple[torch.device, str]:
    """Give the device for "auto", "cpu", "cuda", "cuda:N", "mps" or "xpu", and the reason in words.

    Raises:
        DeviceError: it is not there; the message says what is.
    """
    present = _counts()
    if wanted == "auto":
        found = next((kind for kind, count in present.items() if count), None)
        return torch.device(found or "cpu"), f"{found} found" if found else "no GPU found"
    device = torch.device(wanted)
    if device.type != "cpu" and (device.index or 0) >= present[device.type]:
        raise DeviceError(_why_not(wanted, device, present[device.type]))
    return device, "asked for"


def devices() -> list[str]:
    """List what torch can run on here, GPUs by name."""
    named = [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    others = [kind for kind, count in _counts().items() if count and kind != "cuda"]
    return [*named, *others, "cpu"]


def _counts() -> dict[str, int]:
    return {"cuda": torch.cuda.device_count(), "xpu": torch.xpu.device_count(), "mps": torch.mps.device_count()}


def _why_not(wanted: str, device: torch.device, count: int) -> str:
    if count:
        return (
            f"--device {wanted}: there are {count} {device.type} devices here; the last is {device.type}:{count - 1}."
        )
    if device.type == "cuda" and torch.version.cuda is None:
        return f"--device {wanted}: this torch ({torch.__version__}) is built without CUDA. Use --device cpu."
    return f"--device {wanted}: torch finds no such device (no hardware, or no driver for it). Use --device cpu."
