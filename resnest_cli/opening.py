"""Open images with Pillow. In: bytes and the formats that may be tried. Out: an image that is not decoded yet."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image, TiffImagePlugin

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
