"""How a model is to be run, as one frozen value: the one place where defaults are declared.

The command line makes it from its options, Python users from keyword arguments. Values are checked here, once; whether
a device or a file exists is found out where it is used.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resnest_cli.errors import UsageError

if TYPE_CHECKING:
    from os import PathLike

DEVICES = ("auto", "cpu", "cuda", "mps", "xpu")
ENGINES = ("auto", "openvino", "torch")
PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8")
DEFAULT_TOPK = 5
MAX_PIXELS = 178_956_970  # where Pillow draws the line by itself
DEFAULT_BENCH_SECONDS = 20.0
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")


@dataclass(frozen=True)
class Options:
    """Which model, and how it runs. `None` and "auto" leave a choice to the model or the machine.

    Attributes:
        model: variant, tagged name, "digits", a model folder, or "hf-hub:OWNER/REPO".
        weights: a local checkpoint for the variant instead of the published one.
        random_weights: seeded random weights, for speed tests and trials only.
        device: "auto", "cpu", "cuda", "cuda:N", "mps" or "xpu".
        engine: "auto", "openvino" (CPU) or "torch".
        precision: "fp32" (the numbers timm gives), "bf16", "fp16", "int8", or "auto": int8 for a folder that `resnest
            quantize` made, else fp32. What is asked for by name is what runs, or it is refused.
        batch: images a forward pass, or "auto".
        workers: decoding processes; 0 decodes in this one; or "auto".
        img_size: edge of the square network input in pixels.
        crop_pct: share of the resized edge that the centre crop keeps, above 0.
        interpolation: one of `INTERPOLATIONS`.
        mean: subtracted from each RGB channel (scale 0..1).
        std: each RGB channel is divided by it (scale 0..1).
        exif: turn the image as its EXIF orientation says; None does, but not where a validation has a published number
            to meet, which was made without.
        timeout: seconds that reading and decoding an image may take.
        max_pixels: images with more pixels are refused.
        labels: a file with one class name a line.
        allow_private_urls: fetch from this machine's and from private addresses too.

    Raises:
        UsageError: a value that cannot be meant.
    """

    model: str = "resnest50d"
    weights: str | PathLike[str] | None = None
    random_weights: bool = False
    device: str = "auto"
    engine: str = "auto"
    precision: str = "auto"
    batch: int | str = "auto"
    workers: int | str = "auto"
    img_size: int | None = None
    crop_pct: float | None = None
    interpolation: str | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    exif: bool | None = None
    timeout: float = 60.0
    max_pixels: int = MAX_PIXELS
    labels: str | PathLike[str] | None = None
    allow_private_urls: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.weights is not None and self.random_weights:
            message = "--weights and --random-weights exclude each other: give one of them."
            raise UsageError(message)
        if not re.fullmatch(rf"{'|'.join(DEVICES)}|cuda:\d+", self.device):
            message = f"--device {self.device}: use one of {', '.join(DEVICES)}, or cuda:N."
            raise UsageError(message)
        _one_of("--engine", self.engine, ENGINES)
        _one_of("--precision", self.precision, PRECISIONS)
        if self.interpolation is not None:
            _one_of("--interpolation", self.interpolation, INTERPOLATIONS)
        _at_least("--batch", self.batch, 1)
        _at_least("--workers", self.workers, 0)
        _at_least("--img-size", self.img_size, 1)
        _positive("--crop-pct", self.crop_pct)
        _positive("--timeout", self.timeout)
        _at_least("--max-pixels", self.max_pixels, 1)
        for value in self.mean or ():
            _finite("--mean", value)
        for value in self.std or ():
            _positive("--std", value)

    @property
    def upright(self) -> bool:
        """Whether images are turned as their EXIF orientation says."""
        return self.exif is not False


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        message = f"{option} {value}: use one of {', '.join(allowed)}."
        raise UsageError(message)


def _at_least(option: str, value: int | str | None, least: int) -> None:
    if value not in {None, "auto"} and not (isinstance(value, int) and value >= least):
        message = f"{option} {value}: use a whole number from {least}."
        raise UsageError(message)


def _finite(option: str, value: float) -> None:
    if not math.isfinite(value):
        message = f"{option} {value}: use a number."
        raise UsageError(message)


def _positive(option: str, value: float | None) -> None:
    if value is not None and not (value > 0 and math.isfinite(value)):
        message = f"{option} {value}: use a number above 0."
        raise UsageError(message)
