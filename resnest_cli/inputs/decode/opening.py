"""Open images with Pillow. In: bytes and the formats that may be tried. Out: an image that is not decoded yet."""

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

_GUARD = threading.Lock()


@contextmanager
def opened(content: bytes, formats: Iterable[str]) -> Iterator[Image.Image]:
    """Open an image; its size is not limited here."""
    with _unguarded():
        image = Image.open(BytesIO(content), formats=[*formats])
    with image:
        yield image


def sizes_in_icon(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield (width, height) of each picture in an ICO file, by its own header; nothing for other files.

    Pillow decodes such a picture when it opens the file, and the size that the file has for it may be another.
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
                yield abs(width), abs(height) // 2  # above the picture stands its mask


def load(image: Image.Image) -> None:
    """Decode an image in place."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        with _unguarded():  # it asks once more; not while it decodes, which may take for ever, and others wait
            image.load_prepare()
    image.load()


@contextmanager
def _unguarded() -> Iterator[None]:
    """Do without Pillow's own guard, which warns, and refuses, at limits of its own; whoever opens has a limit."""
    with _GUARD:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit
