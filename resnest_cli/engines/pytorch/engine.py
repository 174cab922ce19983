"""The torch engine: eager forward passes on CUDA, XPU, MPS or the CPU.

In: a spec, a checkpoint, a device and a precision. Out: logits of uint8 batches, float32. In fp32 it computes what
plain timm computes (TF32 is off). bf16 and fp16 are autocast on the CPU. On a GPU all of the network has that type:
autocast would do the split attention's sums in float32, on its largest tensors. On a GPU norms are folded and copies
overlap, too (`gpu`).

On the CPU this engine is the reference for other engines: layout and automatic batch are those of the model card's own
loop, so the numbers are equal bit for bit. channels_last and batches of 8 would be about a tenth faster, and would
change the order of sums; a very deep network with weights that amplify rounding shows it (resnest269e with seeded
weights: probabilities move by 0.1 with the batch size alone, in plain timm as here).
"""

from __future__ import annotations

import os
import re
import warnings
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import timm
import torch

from resnest_cli.engines.base import Fetched, memory_errors
from resnest_cli.engines.pytorch import gpu
from resnest_cli.engines.pytorch.network import build, origin
from resnest_cli.errors import DeviceError, OutOfMemory
from resnest_cli.types import EngineFacts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from resnest_cli.types import ModelSpec

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_BEST_BATCH = {"cpu": 1, "mps": 16, "xpu": 64}
# Images of 224 pixels on CUDA, or as many pixels of other sizes: by scripts/gpu/gpu_counts.py a forward pass of
# resnest50d is 260 launches, which take as long as 64 images on a large card. Too large a batch is halved (`stream`).
_CUDA_BATCH, _CUDA_PIXELS = 256, 256 * 224 * 224


class TorchEngine:
    """An `Engine` on torch; see the protocol for its members.

    Raises:
        DeviceError: `device` is missing, or cannot run the network.
        OutOfMemory: the device has no room for the network.
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
        self._process = os.getpid()
        self.spec = spec
        self.device = str(self._device)
        self.precision = precision
        if self._kind == "cuda":
            torch.backends.cudnn.allow_tf32 = False  # on by default for convolutions: 1e-3 away from float32
            torch.backends.cuda.matmul.allow_tf32 = False
        network: Any = build(spec, weights, want)
        self.width = network.num_features if want == "features" else spec.num_classes
        self._origin = origin(network)
        self._param_count = sum(parameter.numel() for parameter in network.parameters())
        self._dtype = torch.float32 if self._kind == "cpu" else _DTYPES.get(precision, torch.float32)
        try:
            with warnings.catch_warnings(), self._translated():
                warnings.simplefilter("ignore")  # about cards that this torch has no code for: `_placed` fails on them
                self._network = self._placed(network)
                self._mean = self._per_channel(spec.data.mean)
                self._std = self._per_channel(spec.data.std)
                if self._kind == "cuda":
                    self._ferry = gpu.Ferry(self._device, self._forward)
        except MemoryError as error:
            message = f"there is not enough memory on {self.device} for the network ({error}): end what else is in it."
            raise OutOfMemory(message) from error

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the pixels that `submit` takes."""
        channels, height, width = self.spec.data.input_size
        return height, width, channels

    @property
    def best_batch(self) -> int:
        """Images per forward pass that suit the device."""
        if self._kind == "cuda":
            height, width, _ = self.shape
            return 1 << min(_CUDA_BATCH, _CUDA_PIXELS // (height * width) or 1).bit_length() - 1
        return _BEST_BATCH[self._kind]

    @property
    def facts(self) -> EngineFacts:
        """What is known of it."""
        return EngineFacts(
            threads=torch.get_num_threads(),
            param_count=self._param_count,
            versions={"torch": torch.__version__, "timm": timm.__version__},
            origin=self._origin,
            peak_memory=torch.cuda.max_memory_allocated(self._device) if self._kind == "cuda" else None,
        )

    def prepare(self, *, single: bool) -> None:
        """Do nothing: nothing is compiled."""

    @property
    def slots(self) -> int:
        """On CUDA a batch that runs and one whose pixels are being copied; elsewhere one."""
        return gpu.IN_FLIGHT if self._kind == "cuda" else 1

    def submit(self, batch: NDArray[np.uint8]) -> Future[NDArray[np.float32]]:
        """Begin a batch, uint8 [N, H, W, 3]; return a future of its rows, float32 [N, F].

        But for CUDA, nothing runs before the rows are asked for.
        """
        if self._process != os.getpid():  # its threads are not here: it would hang or crash
            raise DeviceError("torch does not survive a fork: open the model in the process that uses it.")
        if self._kind != "cuda" or not len(batch):
            return Fetched(partial(self._rows, batch))
        with self._translated():
            wait = self._ferry.begin(batch)

        def rows() -> NDArray[np.float32]:
            with self._translated():
                return wait()

        return Fetched(rows)

    def close(self) -> None:
        """Release the network."""
        vars(self).pop("_network", None)

    @property
    def _kind(self) -> str:
        return self._device.type

    def _placed(self, network: nn.Module) -> nn.Module:
        """Return the network on the device, in the form that suits the device; on the CPU as timm makes it."""
        if self._kind == "cpu":
            return network
        torch.zeros(1, device=self._device).add(1).item()  # fails on a card that this torch has no code for
        return gpu.fold(network).to(self._device, self._dtype).to(memory_format=torch.channels_last)

    def _rows(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the rows of a batch."""
        if not len(batch):  # the split attention cannot reshape it
            return np.empty((0, self.width), np.float32)
        with self._translated():
            rows: NDArray[np.float32] = self._forward(torch.from_numpy(batch).to(self._device)).cpu().numpy()
        return rows

    @torch.inference_mode()
    def _forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn pixels uint8 [N, H, W, 3] on the device into rows float32 [N, F] there."""
        # NHWC viewed as NCHW is channels_last already: on a GPU nothing is copied. Then as ToTensor and Normalize do.
        layout = torch.contiguous_format if self._kind == "cpu" else torch.channels_last
        images = pixels.permute(0, 3, 1, 2).contiguous(memory_format=layout)
        images = images.float().div(255).sub(self._mean).div(self._std).to(self._dtype)
        with self._autocast() if self._kind == "cpu" else nullcontext():
            rows: torch.Tensor = self._network(images)
        return rows.float()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Translate what torch raises into `MemoryError`, or on a GPU into `DeviceError`."""
        try:
            with memory_errors():
                yield
        except RuntimeError as error:
            if self._kind == "cpu":
                raise
            why = str(error).partition("\n")[0].rstrip(".")  # the rest is advice for authors of kernels
            raise DeviceError(f"{self.device} fails: {why}. Use another --device, such as cpu.") from error

    def _autocast(self) -> AbstractContextManager[object]:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self._device.type, dtype=_DTYPES[self.precision])

    def _per_channel(self, values: tuple[float, ...]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self._device).view(1, -1, 1, 1)


def choose_device(wanted: str) -> tuple[torch.device, str]:
    """Return the device for "auto", "cpu", "cuda", "cuda:N", "mps" or "xpu", and the reason in words.

    Raises:
        DeviceError: it is missing, or torch cannot use it; the message says which devices there are.
    """
    present = _counts()
    if wanted == "auto":
        found = next((kind for kind, count in present.items() if count), None)
        return torch.device(found or "cpu"), f"{found} found" if found else _no_gpu()
    kind, _, index = wanted.partition(":")
    if kind != "cpu" and int(index or 0) >= present[kind]:
        raise DeviceError(f"--device {wanted}: {_why_not(kind, present[kind])}")
    return torch.device(wanted), "asked for"


def devices() -> list[str]:
    """Return the devices that torch can run on here, GPUs by name, and why it cannot use those of NVIDIA."""
    count, problem = _cuda()
    named = [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(count)]
    others = [kind for kind, count in _counts().items() if count and kind != "cuda"]
    return [*named, *others, "cpu", *([f"no cuda: {problem}"] if problem else [])]


def _counts() -> dict[str, int]:
    return {"cuda": _cuda()[0], "xpu": torch.xpu.device_count(), "mps": torch.mps.device_count()}


@cache
def _cuda() -> tuple[int, str]:
    """Return the count of CUDA devices that torch can use, and torch's reason if there are none.

    `device_count` alone counts cards whose driver is too old. torch warns about these once per process.
    """
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return count, "" if count else " ".join(_advice(str(warning.message)) for warning in said)


def _advice(warning: str) -> str:
    """Return the part of torch's warning that a user needs."""
    if old := re.search(r"driver on your system is too old \(found version (\d+)\)", warning):
        has = int(old[1])
        return (
            f"update the NVIDIA driver, which is for CUDA {has // 1000}.{has % 1000 // 10}: torch {torch.__version__} "
            f"is built for CUDA {torch.version.cuda}."
        )
    return re.sub(r"^CUDA initialization: |\s*\(Triggered internally.*", "", warning, flags=re.DOTALL).rstrip(".") + "."


def _no_gpu() -> str:
    problem = _cuda()[1]
    return f"no GPU that works: {problem.rstrip('.')}" if problem else "no GPU found"


def _why_not(kind: str, count: int) -> str:
    if count == 1:
        return f"there is one {kind} device here, {kind}:0."
    if count:
        return f"there are {count} {kind} devices here; the last is {kind}:{count - 1}."
    return f"{_why_none(kind)} Use --device cpu."


def _why_none(kind: str) -> str:
    if kind == "cuda" and torch.version.cuda is None and torch.version.hip is None:
        return f"this torch ({torch.__version__}) is built without CUDA."
    if kind == "cuda" and _cuda()[1]:
        return _cuda()[1]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") if kind == "cuda" else None
    hidden = "" if visible is None else f", or CUDA_VISIBLE_DEVICES={visible!r} hides it"
    return f"torch finds no such device (no hardware, or no driver for it{hidden})."
