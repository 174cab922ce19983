"""From an image in memory to a source: encoded bytes, an open file, a picture of Pillow, an array or a tensor.

In: what a Python program hands in, and its position among the inputs. Out: a `Source` that carries the image, or a
`Failure` that says what is wrong with it. Its path is the name of the file or picture, else its position: "#3" is the
fourth input. The source has a copy of the image: programs close a file, go on to the next frame, or fill the same array
again, while images are still waiting.

A picture that Pillow has opened and not decoded stands for its file. So a worker decodes it, and its row is that of the
file. Of a decoded picture the pixels, transparency, color profile and EXIF block are used. Arrays and tensors are known
by what they can do: no framework is imported.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import contextmanager, suppress
from io import TextIOBase
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from PIL import ExifTags, Image, ImageFile

from resnest_cli.errors import ImageError, NotAnImage, UnreadableInput, UsageError, as_image_error
from resnest_cli.inputs import urls
from resnest_cli.inputs.decode import images
from resnest_cli.inputs.read import BYTES_PER_PIXEL, SupportsRead, check_size, read_within
from resnest_cli.text import redact
from resnest_cli.types import POSITION, STDIN, Failure, Source, is_position

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


class SupportsArray(Protocol):
    """What becomes an array: an array or a tensor."""

    def __array__(self) -> NDArray[Any]:
        """Return the array."""


InMemory: TypeAlias = "bytes | bytearray | memoryview | SupportsRead | Image.Image | SupportsArray"

_ENCODED = (bytes, bytearray, memoryview)
_UNLISTED = {"WEBP", "AVIF"}  # formats of which Pillow has no list of what is left to decode
_GRAY, _COLOR, _BATCH = 2, 3, 4  # axes
_RGB, _RGBA = 3, 4  # channels


def is_one(inputs: object) -> bool:
    """Return whether inputs are a single one: a path, an image, or something else that holds none.

    An array is one image, unless it is a batch [N, H, W, 3] or a list of names.
    """
    if hasattr(inputs, "__array__"):
        axes, kind = getattr(inputs, "ndim", None), getattr(getattr(inputs, "dtype", None), "kind", None)
        return axes != _BATCH and not (axes == 1 and kind in {"O", "U", "S", "T"})
    return isinstance(inputs, (str, os.PathLike)) or _is_image(inputs) or not isinstance(inputs, Iterable)


def source(item: InMemory, number: int, max_pixels: int) -> Source | Failure:
    """Return the source of an image in memory, the input at position `number`.

    Raises:
        UsageError: it is no image of any kind.
    """
    if not _is_image(item):
        raise UsageError(
            f"input {number} is of type {type(item).__name__}: give a path, a URL, or an image: bytes, an open file, a "
            "PIL image, a uint8 array or tensor [H, W, 3]."
        )
    path = _name(item) or f"{POSITION}{number}"
    try:
        return _carrying(path, item, max_pixels)
    except Exception as error:  # noqa: BLE001 - see `as_image_error`
        return Failure.of(path, as_image_error(error))


def is_nameless(source: Source) -> bool:
    """Return whether a source is known by its position only."""
    return source.is_in_memory and is_position(source.path)


def _is_image(item: object) -> bool:
    return isinstance(item, (*_ENCODED, Image.Image)) or hasattr(item, "read") or hasattr(item, "__array__")


def _name(item: object) -> str:
    """Return the name that a file or picture has; that of a URL is redacted."""
    name = getattr(item, "filename" if isinstance(item, Image.Image) else "name", "")
    if not isinstance(name, str) or name == STDIN:
        return ""
    return redact.url(name) if urls.is_url(name) else name


def _carrying(path: str, item: Any, max_pixels: int) -> Source:  # noqa: ANN401 - see `source`
    max_bytes = BYTES_PER_PIXEL * max_pixels
    if isinstance(item, Image.Image):
        file = _undecoded(item)
        if file is None:
            return Source(path, picture=_copied(item, max_pixels))
        with _at_its_place(file):
            return Source(path, content=_read(file, max_bytes))
    if isinstance(item, _ENCODED):
        check_size(memoryview(item).nbytes, max_bytes)
        return Source(path, content=bytes(item))
    if hasattr(item, "read"):
        return Source(path, content=_read(item, max_bytes))
    return Source(path, picture=_pixels(item, max_pixels))


def _read(file: Any, max_bytes: int) -> bytes:  # noqa: ANN401 - whatever reads like a file
    """Read a file that a program has opened; from its start if it can go there, as it may just have been written."""
    if getattr(file, "closed", False):
        raise UnreadableInput("the file is closed: hand it in open, or hand in its path.")
    if isinstance(file, TextIOBase):
        raise UnreadableInput('the file is opened as text: open it with the mode "rb".')
    try:
        if hasattr(file, "seekable") and file.seekable():
            file.seek(0)
        return read_within(file, max_bytes)
    except ImageError:
        raise
    except Exception as error:
        raise UnreadableInput(f"the file cannot be read ({str(error) or type(error).__name__}).") from error


def _undecoded(image: Image.Image) -> Any:  # noqa: ANN401 - see `_read`
    """Return the open file of a picture that Pillow has not decoded, and that we would decode to its first frame.

    Raises:
        UnreadableInput: the file was closed before the picture was decoded.
    """
    if not isinstance(image, ImageFile.ImageFile) or not (image.tile or image.format in _UNLISTED):
        return None
    is_open = image.fp is not None and not getattr(image.fp, "closed", False)
    if image.tile and not is_open:
        raise UnreadableInput("the picture was closed before it was decoded: hand it in open, or load() it first.")
    return image.fp if is_open and image.format in images.FORMATS and image.tell() == 0 else None


@contextmanager
def _at_its_place(file: Any) -> Iterator[None]:  # noqa: ANN401 - see `_read`
    """Read a file of Pillow's, which goes on where it was."""
    place = file.tell()
    try:
        yield
    finally:
        file.seek(place)


def _copied(image: Image.Image, max_pixels: int) -> Image.Image:
    """Return a copy of a picture, decoded, with what it says of its orientation."""
    if 0 in image.size:
        raise NotAnImage(f"the picture has {image.width} x {image.height} pixels.")
    images.check_area(*image.size, max_pixels)
    try:
        copy = image.copy()
    except Exception as error:
        raise images.translate(error) from error
    with suppress(Exception):  # whatever the parser of a damaged EXIF block stumbles over, the picture is good
        copy.getexif()[ExifTags.Base.Orientation] = images.orientation(image)
    return copy


def _pixels(item: Any, max_pixels: int) -> NDArray[np.uint8]:  # noqa: ANN401 - what becomes an array
    """Return a copy of the pixels of an array or tensor, on this machine's memory."""
    try:
        for step in ("detach", "cpu"):
            item = getattr(item, step, lambda item=item: item)()
        array = np.asarray(item)
    except Exception as error:
        raise NotAnImage(f"it does not become a uint8 array ({str(error) or type(error).__name__}).") from error
    if wrong := " ".join(filter(None, (_about_type(array.dtype), _about_shape(array.shape)))):
        raise NotAnImage(wrong)
    images.check_area(array.shape[1], array.shape[0], max_pixels)
    return np.array(array, np.uint8, order="C")


def _about_type(dtype: np.dtype[Any]) -> str:
    """Return what to do about values that are not uint8, or ""."""
    if dtype == np.uint8:
        return ""
    convert = {"f": "multiply by 255 if it is 0..1, and convert", "b": "multiply by 255, and convert"}
    return f"uint8 0..255 is needed, not {dtype}: {convert.get(dtype.kind, 'scale it to 0..255, and convert')}."


def _about_shape(shape: tuple[int, ...]) -> str:
    """Return what to do about a shape that is no image's, or ""."""
    axes = len(shape)
    first, _, last = shape if axes == _COLOR else (0, 0, 0)
    if 0 not in shape and (axes == _GRAY or last == _RGB):
        return ""
    advice = [
        (0 in shape, "it has no pixels"),
        (axes == 1, "if it is an encoded image, hand in its bytes, tobytes()"),
        (axes == _BATCH, "it is a batch, so hand in its images one by one"),
        (last == 1, "drop the last axis, [..., 0]"),
        (last == _RGBA, "drop alpha, [..., :3], or hand in Image.fromarray(...), which is drawn on white"),
        (first in {1, _RGB, _RGBA}, "permute(1, 2, 0), which is transpose(1, 2, 0) in numpy"),
    ]
    what = next((f": {words}" for holds, words in advice if holds), "")
    return f"[H, W, 3] (RGB) or [H, W] (gray) is needed, not {[*shape]}{what}."
