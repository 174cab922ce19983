"""The values that travel between layers: model specs, sources, records. Frozen, and standard library only.

Reads no file and knows no framework.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from resnest_cli import errors
from resnest_cli.text import redact

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class DataConfig:
    """How an image becomes network input, with the names and meanings of timm's data config.

    `input_size` is (channels, height, width) in pixels; `mean` and `std` are per RGB channel on a 0..1 scale.
    """

    input_size: tuple[int, int, int] = (3, 224, 224)
    crop_pct: float = 0.875
    crop_mode: str = "center"
    interpolation: str = "bicubic"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ModelSpec:
    """One model: its architecture, its preprocessing, where its weights are.

    `repo` is a Hugging Face repository (OWNER/NAME[@REVISION]) and `folder` a local model folder; at most one is set.
    An empty `label_names` means the ImageNet-1k classes; `wnids` are WordNet ids where the model has its own names.
    `facts` are the published numbers, empty for the user's own models. `exported` describes what `resnest export` wrote
    in a folder.
    """

    name: str
    architecture: str
    data: DataConfig
    num_classes: int
    repo: str = ""
    folder: Path | None = None
    label_names: tuple[str, ...] = ()
    model_args: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    facts: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    wnids: tuple[str | None, ...] = ()
    exported: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


STDIN = "-"  # the path of standard input
POSITION = "#"  # begins the path of an image in memory without a name: "#3" is the fourth input


def is_position(path: str) -> bool:
    """Return whether a path is that of an image in memory without a name; a file can hardly have such a name."""
    return path.startswith(POSITION) and path.removeprefix(POSITION).isdecimal()


def names_file(path: str) -> bool:
    """Return whether the path of a row names a file here, there or not: no URL, object, standard input or position."""
    return path != STDIN and "://" not in path and not is_position(path)


@dataclass(frozen=True, slots=True)
class Source:
    """One input to read: a file's path as given or found, "-" for bytes on standard input, or a URL.

    A path that is not valid UTF-8 keeps its bytes as surrogate escapes (`os.fsencode` restores them). The path of a URL
    is redacted; `url`, empty for anything else, is what is requested, passwords included.

    An image in memory is carried along, and its path only names it (see `inputs.memory`): `content` is the image as a
    file has it, `picture` is decoded, a PIL image or uint8 [H, W, 3] or [H, W].
    """

    path: str
    url: str = field(default="", repr=False)
    content: bytes | None = field(default=None, repr=False)
    picture: Any = field(default=None, repr=False, compare=False)  # two arrays do not compare as a whole

    @property
    def is_in_memory(self) -> bool:
        """Whether it carries its image."""
        return self.content is not None or self.picture is not None


@dataclass(frozen=True, slots=True)
class Prediction:
    """One predicted class: rank from 1, class index, WordNet id (ImageNet only), name, probability 0..1."""

    rank: int
    index: int
    wnid: str | None
    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Certainty:
    """How sure an answer is, of a calibrated model.

    Attributes:
        set: the class indices that the image may have, most probable first; never empty.
        labels: their names.
        strangeness: the share of the calibration images that are less strange, 0..1.
        abstained: there are several classes, or the image is too strange: this is no answer to act on.
    """

    set: tuple[int, ...]
    labels: tuple[str, ...]
    strangeness: float
    abstained: bool


@dataclass(frozen=True, slots=True)
class Exif:
    """When and where a photograph was taken, as its EXIF data says; None where it does not.

    Attributes:
        taken: ISO 8601, with the offset from UTC if the camera wrote it: "2026-05-01T12:00:00+02:00".
        latitude: decimal degrees, -90..90; north is positive.
        longitude: decimal degrees, -180..180; east is positive.
    """

    taken: str | None = None
    latitude: float | None = None
    longitude: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """The record of a classified image: its `predictions`, most probable first (fewer than top-k under a threshold).

    `certainty` is there where the model is calibrated; probabilities are then calibrated too.
    `thumbnail` is a small picture of it, a `data:` URI, where `Options.thumbnails` asked for one; else "".
    `exif` is there where `Options.with_exif` asked for it.
    """

    path: str
    predictions: tuple[Prediction, ...]
    status: Literal["ok"] = "ok"
    thumbnail: str = field(default="", repr=False)
    certainty: Certainty | None = None
    exif: Exif | None = None

    @property
    def ok(self) -> Literal[True]:
        """Always True: there is an answer."""
        return True

    @property
    def top1(self) -> Prediction:
        """The most probable class; IndexError if none is above the threshold."""
        return self.predictions[0]


@dataclass(frozen=True, slots=True)
class Failure:
    """The record of an input that failed: the name of the error and its message."""

    path: str
    type: str
    message: str
    status: Literal["error"] = "error"

    @classmethod
    def of(cls, path: str, error: errors.ImageError) -> Failure:
        """Return the record of `error` for `path`; secrets of URLs in its message are redacted."""
        return cls(path, type(error).__name__, redact.message(error.message))

    @property
    def ok(self) -> Literal[False]:
        """Always False: there is no answer."""
        return False

    @property
    def predictions(self) -> tuple[Prediction, ...]:
        """Always empty."""
        return ()

    @property
    def top1(self) -> Prediction:
        """Raise the recorded `ImageError`: there is no prediction."""
        raise self.error

    @property
    def error(self) -> errors.ImageError:
        """The recorded `ImageError`, to raise."""
        error: type[errors.ImageError] = getattr(errors, self.type, errors.ImageError)
        return error(f"{self.path}: {self.message}")


Record: TypeAlias = Result | Failure


@dataclass
class Stages:
    """Seconds that a job spent in each stage, summed over workers; 0 where not measured."""

    read: float = 0.0
    decode: float = 0.0
    forward: float = 0.0
    write: float = 0.0

    @contextmanager
    def clock(self, stage: str) -> Iterator[None]:
        """Add the time of the block to a stage."""
        begun = time.perf_counter()
        yield
        setattr(self, stage, getattr(self, stage) + time.perf_counter() - begun)


@dataclass(frozen=True)
class EngineFacts:
    """What is known of an opened engine, for benchmarks and for the records of jobs.

    Attributes:
        threads: that compute.
        streams: batches that run at once.
        param_count: the parameters of the network.
        versions: of the libraries, by name.
        origin: the sha256 of the weights or of the export that the numbers come from.
        native: the precisions that the CPU has instructions for.
        peak_memory: bytes, of a device with memory of its own.
    """

    threads: int = 1
    streams: int = 1
    param_count: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    origin: str | None = None
    native: Sequence[str] = ()
    peak_memory: int | None = None

    @classmethod
    def of(cls, engine: object) -> EngineFacts:
        """Return what an engine knows of itself, in its attribute `facts`; an engine of a user needs none."""
        return getattr(engine, "facts", None) or cls()
