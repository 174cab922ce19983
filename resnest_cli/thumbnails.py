"""Small pictures for a page. In: the path of an image that was read before. Out: a `data:` URI, "" without a picture.

The file is read a second time, in this process, and only after the network has had it: an image that failed or took too
long never gets here. Work and memory are bounded: JPEG is decoded at a fraction of its size, and very large images of
other formats have no picture.
"""

from __future__ import annotations

import base64
from io import BytesIO

from PIL import Image, ImageOps

from resnest_cli import images, sources
from resnest_cli.types import Source

EDGE = 160  # pixels
QUALITY = 60
MAX_PIXELS = 50_000_000  # to decode for a small picture: 150 MB


def of(path: str, *, exif: bool = True) -> str:
    """Make the small picture of the image at `path`."""
    if path == sources.STDIN or path.startswith(("http://", "https://")):
        return ""  # read once; it is not there a second time
    try:
        return _uri(_small(sources.read(Source(path)), exif=exif))
    except Exception:  # noqa: BLE001 - Pillow raises anything; the row is good without a picture
        return ""


def _small(content: bytes, *, exif: bool) -> Image.Image:
    with Image.open(BytesIO(content), formats=list(images.FORMATS)) as image:
        image.draft("RGB", (2 * EDGE, 2 * EDGE))
        if image.width * image.height > MAX_PIXELS:
            message = "too large for a small picture"
            raise ValueError(message)
        if image.format == "JPEG":
            image.thumbnail((EDGE, EDGE))
            return (ImageOps.exif_transpose(image) if exif else image).convert("RGB")
    whole = images.decode(content, exif=exif)
    whole.thumbnail((EDGE, EDGE))
    return whole


def _uri(image: Image.Image) -> str:
    out = BytesIO()
    image.save(out, "WEBP", quality=QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"
