"""Open images with Pillow. In: bytes and the allowed formats. Out: an image that is not decoded yet."""

from __future__ import annotations

import struct
import threading
from contextlib import contextmanager, suppress
from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image, TiffImagePlugin

from resnest_cli.system import signatures

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LOCK = threading.Lock()


@contextmanager
def open_image(content: bytes, formats: Iterable[str]) -> Iterator[Image.Image]:
    """Open an image of any size; the caller checks the size."""
    with _without_limits():
        image = Image.open(BytesIO(content), formats=[*formats])
    with image:
        yield image


def sizes_in_icon(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield (width, height) of each image in an ICO file, by its own header; nothing for other files.

    Pillow decodes such an image when it opens the file, and the directory of the file may have another size for it.
    """
    if not content.startswith(signatures.ICO):
        return
    with suppress(struct.error):  # the file ends
        for entry in range(struct.unpack_from("<H", content, 4)[0]):
            (at,) = struct.unpack_from("<I", content, 6 + 16 * entry + 12)
            if content.startswith(signatures.PNG, at):
                yield struct.unpack_from(">II", content, at + 16)
            else:
                width, height = struct.unpack_from("<ii", content, at + 4)
                yield abs(width), abs(height) // 2  # the height includes the mask


def load(image: Image.Image) -> None:
    """Decode an image in place."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        with _without_limits():  # it checks once more; without the lock while it decodes
            image.load_prepare()
    image.load()


@contextmanager
def _without_limits() -> Iterator[None]:
    """Switch off Pillow's own limits of sizes, which warn or raise; callers check sizes."""
    with _LOCK:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit
