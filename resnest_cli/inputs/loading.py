"""What worker processes make of a source: its pixels for a network, or a check that its file decodes.

In: a source. Out: `Loaded` pixels, or what a file that decodes is known by: `Checked`. `start` opens a `Pool` of
processes that do either.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from resnest_cli.inputs import likeness, photographed, thumbnails
from resnest_cli.inputs.decode import images
from resnest_cli.inputs.pool import Load, Pool, limit_memory
from resnest_cli.inputs.read import BYTES_PER_PIXEL, read_source
from resnest_cli.options import MAX_PIXELS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from resnest_cli.options import Options
    from resnest_cli.types import DataConfig, Exif, Source

WORKING_BYTES_PER_PIXEL = 16  # the file, Pillow's four bytes, and copies of these
OTHER_BYTES = 256 << 20  # what a worker may need for all else
# Eight workers with a large image each would need gigabytes: larger images are decoded one at a time.
USUAL_PIXELS = 128_000_000
LEAST_USUAL_PIXELS = 32_000_000


class Loaded(NamedTuple):
    """One image, loaded.

    Attributes:
        values: pixels uint8 [height, width, 3].
        read: seconds to read the file.
        decode: seconds to decode and resize it.
        thumbnail: a small picture as a `data:` URI, or "".
        resize: the part of `decode` that resizing took.
        exif: when and where it was taken, if that is asked for.
    """

    values: NDArray[np.uint8]
    read: float
    decode: float
    thumbnail: str = ""
    resize: float = 0.0
    exif: Exif | None = None


@dataclass(frozen=True)
class Loader:
    """Reads a source and returns the pixels for a network, uint8 [height, width, 3]; the `Load` of a `Pool`.

    With `thumbnails` it makes a small picture too, from the decoded image: the file is decoded once. With `with_exif`
    it says when and where the image was taken.
    """

    data: DataConfig
    exif: bool
    max_pixels: int
    allow_private: bool = False
    thumbnails: bool = False
    with_exif: bool = False

    @classmethod
    def of(cls, data: DataConfig, options: Options) -> Loader:
        """Return the loader for these options."""
        private, small = options.allow_private_urls, options.thumbnails
        return cls(data, options.upright, options.max_pixels, private, small, options.with_exif)

    def prepare(self) -> None:
        """Limit the memory of this process to the needs of an image of `max_pixels`, where the system can."""
        limit(self.max_pixels)

    def __call__(self, source: Source) -> Loaded:
        """Return the image, resized and cropped.

        Raises:
            ImageError: see `read_source`, `images.decode` and `images.preprocess`.
        """
        begun = read = time.perf_counter()
        if source.picture is not None:
            content = source.picture
            picture = images.rgb(source.picture, exif=self.exif, max_pixels=self.max_pixels)
        else:
            limit = BYTES_PER_PIXEL * self.max_pixels
            content = read_source(source, max_bytes=limit, allow_private=self.allow_private)
            read = time.perf_counter()
            picture = images.decode(content, exif=self.exif, max_pixels=self.max_pixels)
        decoded = time.perf_counter()
        pixels = images.preprocess(picture, self.data)
        resized = time.perf_counter()
        small = thumbnails.of(picture) if self.thumbnails else ""
        exif = photographed.of(content) if self.with_exif else None
        return Loaded(pixels, read - begun, time.perf_counter() - read, small, resized - decoded, exif)


class Checked(NamedTuple):
    """What an image that decodes is known by: the sha256 of its file, and its fingerprint, see `likeness`."""

    sha256: str
    fingerprint: bytes


@dataclass(frozen=True)
class Check:
    """Reads and decodes an image, and returns what it is known by; the `Load` of a `Pool`."""

    max_pixels: int = MAX_PIXELS

    def prepare(self) -> None:
        """Limit the memory of this process, as `Loader` does."""
        limit(self.max_pixels)

    def __call__(self, source: Source) -> Checked:
        """Return what the image is known by, if it decodes.

        Raises:
            ImageError: see `read_source` and `images.decode`.
        """
        content = read_source(source)
        picture = images.decode(content, max_pixels=self.max_pixels)
        return Checked(hashlib.sha256(content).hexdigest(), likeness.fingerprint(picture))


class Limited(Load, Protocol):
    """A dataclass that is a `Load` of images with a limit of pixels."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def max_pixels(self) -> int:
        """The most pixels that an image may have."""


def start(load: Limited, workers: int, timeout: float) -> Pool:
    """Return a pool of processes that load images, each in `timeout` seconds at most; large images take turns."""
    return pool_of(load, workers, timeout).start()


def pool_of(load: Limited, workers: int, timeout: float, *, of: int | None = None) -> Pool:
    """Return the pool of `start`, whose processes start with the first image: there may be none to decode.

    `of` is the number of processes that decode at the same time, where other pools have a part of them.
    """
    usual = min(load.max_pixels, max(LEAST_USUAL_PIXELS, USUAL_PIXELS // (of or workers)))
    large = load if usual < load.max_pixels else None
    return Pool(replace(load, max_pixels=usual), workers, timeout=timeout, large=large)


def limit(max_pixels: int, *, more: int = 0) -> None:
    """Limit the memory of this process to what an image of `max_pixels` needs, and `more` bytes."""
    limit_memory(OTHER_BYTES + WORKING_BYTES_PER_PIXEL * max_pixels + more)
