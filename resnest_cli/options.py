"""How to run a model, as one frozen value: the only place where defaults are declared.

In: options of the command line, or keyword arguments of Python users. Out: checked values. Does not know whether a
device or a file exists.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, TypedDict

from resnest_cli.errors import UsageError
from resnest_cli.text.json_input import shorten

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from os import PathLike

    from typing_extensions import Self

DEVICES = ("auto", "cpu", "cuda", "mps", "xpu")
ENGINES = ("auto", "openvino", "torch")
ALL = "all"  # of the models, or of the engines, for a benchmark
PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8")
DEFAULT_TOPK = 5
DEFAULT_COVERAGE = 0.9
COVERAGES = (0.01, 0.9999)  # the least and the most; the most needs 9,999 images
MAX_PIXELS = 178_956_970  # Pillow's own limit
# OpenVINO's pooling needs two cells before the last stage, which divides the edge by 16. A forward pass needs about 370
# bytes per pixel (resnest50d and resnest200e, fp32): 6 GB at 4096; the largest published edge is 416.
MIN_SIZE, MAX_SIZE = 17, 4096
CHANNELS = 3  # red, green, blue
MIN_CROP = 0.1  # the image is resized to ten times the edge
LEAST = 0.001
MAX_BATCH = 4096
MAX_WORKERS = 1024
MAX_MAX_PIXELS = 10**11
MAX_TIMEOUT = 86_400  # a day
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")


@dataclass(frozen=True)
class Options:
    """Which model, and how to run it. `None` and "auto" leave the choice to the model or the machine.

    The first line of an option is its help on the command line.

    Attributes:
        model: Variant, digits, folder or hf-hub:OWNER/REPO.
            A variant may have its tag.
        weights: Local checkpoint for the variant.
        random_weights: Random, untrained weights, for trials.
            They are the same each time.
        device: auto, cpu, cuda, cuda:N, mps or xpu.
        engine: What runs the network.
            One of `ENGINES`; "openvino" runs on CPUs.
        precision: auto is fp32, timm's numbers; int8 in int8 folders.
            One of `PRECISIONS`. A named precision is what runs, or it is refused.
        batch: Images per forward pass.
            From 1 to 4096, or "auto".
        workers: Decoding processes; 0 uses none.
            Without them this process decodes; or "auto".
        img_size: Edge of the network's input, in pixels.
            From 17 to 4096.
        crop_pct: Share of the resized edge that the center crop keeps.
            From 0.1 to 1.
        interpolation: How images are resized.
            One of `INTERPOLATIONS`.
        mean: Subtracted from each channel (scale 0..1).
        std: Each channel is divided by it (scale 0..1).
        exif: Turn images upright by their EXIF orientation.
            None does, except in a validation against a published accuracy, which was measured without.
        timeout: Seconds for reading and decoding an image.
        max_pixels: Refuse images with more pixels.
        labels: One class name per line, instead of the model's.
            The name of a file.
        calibration: What `resnest calibrate` wrote; none uses no file.
            By default the calibration.json of the model folder, if it has one.
        coverage: Share of the sets that hold the true class.
            Above 0 and below 1.
        max_strangeness: Abstain from stranger images.
            The share of calibration images that are less strange: from 0 to 1, which abstains from none.
        allow_private_urls: Fetch from this machine and private networks.
        with_exif: Add when and where each image was taken, by its EXIF.
        thumbnails: Make a thumbnail of each image while it is decoded, for HTML pages.

    Raises:
        UsageError: an invalid value.
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
    calibration: str | PathLike[str] | None = None
    coverage: float = DEFAULT_COVERAGE
    max_strangeness: float = 0.99
    allow_private_urls: bool = False
    with_exif: bool = False
    thumbnails: bool = False

    def __post_init__(self) -> None:
        """Check all values."""
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
        if self.batch != "auto":
            _whole("--batch", self.batch, 1, MAX_BATCH)
        if self.workers != "auto":
            _whole("--workers", self.workers, 0, MAX_WORKERS)
        _whole("--max-pixels", self.max_pixels, 1, MAX_MAX_PIXELS)
        _number("--timeout", self.timeout, LEAST, MAX_TIMEOUT, "seconds")
        _number("--coverage", self.coverage, *COVERAGES, "a share, such as 0.95")
        _number("--max-strangeness", self.max_strangeness, 0, 1, "a share of the calibration images")
        size = None if self.img_size is None else (self.img_size, self.img_size)
        names = ("--img-size", "--crop-pct", "--mean", "--std")
        check_preprocessing(names, size, self.crop_pct, self.mean, self.std)

    @classmethod
    def of(cls, model: str | Self, changes: Mapping[str, object]) -> Self:
        """Return the options of a model, or other options, with the fields that `changes` name.

        Raises:
            TypeError: a name that no field has.
            UsageError: an invalid value.
        """
        check_names(changes, [field.name for field in fields(cls)])
        options = cls(model=model) if isinstance(model, str) else model
        return replace(options, **changes)  # type: ignore[arg-type] # checked when they are made

    @property
    def torch_only(self) -> str:
        """The first option that only torch can do, such as "--engine torch", or ""."""
        if self.engine == "torch":
            return "--engine torch"
        if self.precision == "fp16":
            return "--precision fp16"
        return "" if self.device in {"auto", "cpu"} else f"--device {self.device}"

    @property
    def upright(self) -> bool:
        """Whether the EXIF orientation is applied."""
        return self.exif is not False


class Keywords(TypedDict, total=False):
    """The fields of `Options` as keywords, but for `model` and `engine`, which functions have as parameters."""

    weights: str | PathLike[str] | None
    random_weights: bool
    device: str
    precision: str
    batch: int | str
    workers: int | str
    img_size: int | None
    crop_pct: float | None
    interpolation: str | None
    mean: tuple[float, float, float] | None
    std: tuple[float, float, float] | None
    exif: bool | None
    timeout: float
    max_pixels: int
    labels: str | PathLike[str] | None
    calibration: str | PathLike[str] | None
    coverage: float
    max_strangeness: float
    allow_private_urls: bool
    with_exif: bool
    thumbnails: bool


def check_names(given: Collection[str], known: Sequence[str]) -> None:
    """Refuse keywords that are not known.

    Raises:
        TypeError: as Python's own; the message names the nearest that is known.
    """
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            meant = f"did you mean {near[0]!r}?" if near else f"use {', '.join(known)}."
            raise TypeError(f"unexpected keyword argument {name!r}: {meant}")


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        message = f"{option} {value}: use one of {', '.join(allowed)}."
        raise UsageError(message)


def check_preprocessing(
    names: tuple[str, str, str, str],
    size: Sequence[int] | None,
    crop_pct: float | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> None:
    """Check a preprocessing, of options or of a config; None is not set.

    `size` is (height, width) in pixels; `names` name the four values in messages.

    Raises:
        UsageError: a value out of its range; the message has the range.
    """
    for edge in size or ():
        _whole(names[0], edge, MIN_SIZE, MAX_SIZE)
    if crop_pct is not None:
        _number(names[1], crop_pct, MIN_CROP, 1, _scale(crop_pct, 100, "a share, not percent"))
    for name, values, least in zip(names[2:], (mean, std), (0, LEAST), strict=True):
        if values is not None and len(values) != CHANNELS:
            message = f"{name}: give three numbers, one per color channel, not {len(values)}."
            raise UsageError(message)
        for value in values or ():
            _number(name, value, least, 1, _scale(value, 255, "on the scale 0..1, not 0..255"))


def _scale(value: float, of: float, words: str) -> str:
    """Return the scale of a value in words, with the converted value if it seems to be on another scale."""
    return f"{words}: {value / of:.3g}?" if isinstance(value, int | float) and 1 < value <= of else words


def _whole(name: str, value: int | str, least: int, most: int) -> None:
    if isinstance(value, bool) or not (isinstance(value, int) and least <= value <= most):
        message = f"{name} {shorten(value)}: use a whole number from {least} to {most}."
        raise UsageError(message)


def _number(name: str, value: float, least: float, most: float, hint: str) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and least <= value <= most):  # NaN is in no range
        message = f"{name} {shorten(value)}: use a number from {least:g} to {most:g} ({hint})."
        raise UsageError(message)
