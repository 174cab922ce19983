"""Small pictures for a page. In: an image that is decoded. Out: a `data:` URI, "" where none can be made.

Knows no files: whoever decodes an image for the network, in a process that may be stopped, makes its small picture of
the very pixels. So a file is decoded once, and the process that writes a page decodes nothing.
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
    """Make the small picture of an RGB image, which is made small itself."""
    try:
        picture.thumbnail((EDGE, EDGE))
        out = BytesIO()
        picture.save(out, "WEBP", quality=QUALITY)
    except Exception:  # noqa: BLE001 - whatever Pillow raises: the row is good without a picture
        return ""
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"
