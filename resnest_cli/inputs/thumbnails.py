"""Thumbnails for HTML pages. In: a decoded image. Out: a `data:` URI, "" where none can be made.

Does not know files: the worker that decodes an image for the network also makes its thumbnail. So each file is decoded
once, and the process that writes a page decodes nothing.
"""

from __future__ import annotations

import base64
from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

EDGE = 160  # pixels
QUALITY = 60


def of(picture: Image.Image) -> str:
    """Return the thumbnail of an RGB image, which is resized in place."""
    try:
        picture.thumbnail((EDGE, EDGE))
        out = BytesIO()
        picture.save(out, "WEBP", quality=QUALITY)
    except Exception:  # noqa: BLE001 - whatever Pillow raises: the row is good without a thumbnail
        return ""
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"
