"""From the bytes of an image file to the pixels a network sees. PIL and numpy only; no framework.

In: bytes and a `DataConfig`. Out: uint8 RGB pixels [height, width, 3], identical bit for bit to those of timm's eval
transform before it normalises, for every variant and crop mode; so one preprocessing serves all engines. What is not an
image, or not a whole one, is raised as an `ImageError` that says what it is.

Multi-frame files (GIF, WebP, APNG, TIFF, MPO, ICO) give their first frame. Formats outside `FORMATS` are never tried:
some of Pillow's decoders start other programs (EPS) or read a picture into text that is none.
"""

from __future__ import annotations

import math
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from resnest_cli.errors import BrokenImage, ImageError, ImageTooLarge, NotAnImage, TruncatedImage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnest_cli.types import DataConfig

# Pillow's format name -> the suffixes looked for in folders.
FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "DIB": (".dib",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif", ".avifs"),
    "JPEG2000": (".jp2", ".j2k", ".jpx"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "TGA": (".tga",),
    "ICO": (".ico",),
    "QOI": (".qoi",),
}
SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
MAX_PIXELS = 178_956_970  # where Pillow itself refuses: twice its MAX_IMAGE_PIXELS
_RESAMPLING = {mode.name.lower(): mode for mode in Image.Resampling}
# EXIF 2.32, tag 0x0112: what undoes each orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EARLY_ENDS = ("truncated", "premature", "unexpected end", "not enough", "buffer overrun")


def decode(content: bytes, *, exif: bool = True) -> Image.Image:
    """Decode an image file to 8-bit RGB, turned upright by its EXIF orientation if `exif`.

    Raises:
        NotAnImage: no format in `FORMATS`; the message says what the bytes look like.
        TruncatedImage: the file ends before the image does.
        BrokenImage: the format is known but the content does not decode.
        ImageTooLarge: more than `MAX_PIXELS` pixels.
    """
    try:
        with Image.open(BytesIO(content), formats=list(FORMATS)) as image:
            _check_area(*image.size, "the image")
            image.load()
            return (_upright(image) if exif else image).convert("RGB")
    except Exception as error:
        raise _translate(error, content) from error


def preprocess(image: Image.Image, config: DataConfig) -> NDArray[np.uint8]:
    """Resize and crop an RGB image to uint8 pixels [height, width, 3] as timm's eval transform does.

    The sizes follow `transforms_imagenet_eval` of timm and `resize` and `center_crop` of torchvision, roundings
    included.

    Raises:
        ImageTooLarge: the shape is so extreme that resizing it would need more than `MAX_PIXELS` pixels.
    """
    height, width = config.input_size[1:]
    scaled = (max(1, math.floor(height / config.crop_pct)), max(1, math.floor(width / config.crop_pct)))
    new_height, new_width = _resized(image, scaled, config.crop_mode)
    _check_area(new_width, new_height, "the image resized for the network")
    resized = image.resize((new_width, new_height), _RESAMPLING[config.interpolation])
    fill = tuple(round(255 * value) for value in config.mean) if config.crop_mode == "border" else (0, 0, 0)
    return np.asarray(_centre_crop(resized, height, width, fill))


def load(content: bytes, config: DataConfig, *, exif: bool = True) -> NDArray[np.uint8]:
    """Decode and preprocess in one step; raises what `decode` and `preprocess` raise."""
    return preprocess(decode(content, exif=exif), config)


def _upright(image: Image.Image) -> Image.Image:
    """Turn the image as its orientation tag says; a damaged EXIF block says nothing."""
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - whatever its parser stumbles over, the picture is good
        turn = None
    return image if turn is None else image.transpose(turn)


def _resized(image: Image.Image, scaled: tuple[int, int], crop_mode: str) -> tuple[int, int]:
    """Give the (height, width) to resize to before the crop."""
    if crop_mode == "squash":
        return scaled
    if crop_mode == "center" and scaled[0] == scaled[1]:
        short, long = sorted(image.size)
        new_short, new_long = scaled[0], int(scaled[0] * long / short)
        return (new_long, new_short) if image.width <= image.height else (new_short, new_long)
    ratios = (image.height / scaled[0], image.width / scaled[1])
    ratio = max(ratios) if crop_mode == "border" else min(ratios)
    return max(1, round(image.height / ratio)), max(1, round(image.width / ratio))  # timm raises at 0


def _centre_crop(image: Image.Image, height: int, width: int, fill: tuple[int, ...]) -> Image.Image:
    """Cut out the centre; where the image is smaller than the crop, `fill` surrounds it."""
    crop = Image.new("RGB", (width, height), fill)
    crop.paste(image, (-_offset(image.width, width), -_offset(image.height, height)))
    return crop


def _offset(have: int, want: int) -> int:
    """Where the crop begins: torchvision rounds half to even when cutting, and floors the margin when padding."""
    return round((have - want) / 2) if have >= want else -((want - have) // 2)


def _check_area(width: int, height: int, what: str) -> None:
    if width * height > MAX_PIXELS:
        message = f"{what} has {width} x {height} = {width * height:,} pixels; the limit is {MAX_PIXELS:,}."
        raise ImageTooLarge(message)


def _translate(error: Exception, content: bytes) -> ImageError:
    """Name what happened. Pillow raises OSError, but also ValueError, SyntaxError, struct.error and more."""
    if isinstance(error, ImageError):
        return error
    if isinstance(error, Image.DecompressionBombError | MemoryError):
        return ImageTooLarge(f"{error}" or "not enough memory to decode it.")
    if isinstance(error, UnidentifiedImageError):
        return NotAnImage(_describe(content))
    reason = str(error) or type(error).__name__
    if any(sign in reason.lower() for sign in _EARLY_ENDS):
        return TruncatedImage(f"the file ends before the image does ({reason}).")
    return BrokenImage(f"the image does not decode ({reason}).")


def _describe(content: bytes) -> str:
    """Say what a file that is no image looks like, from its first bytes."""
    head = content[:512].lstrip().lower()
    if not content:
        return "the file is empty."
    if head.startswith((b"<!doctype html", b"<html")):
        return "this is an HTML page, not an image (a failed download?)."
    if head.startswith(b"version https://git-lfs"):
        return "this is a Git LFS pointer, not the image itself: run `git lfs pull`."
    if head.startswith(b"%pdf"):
        return "this is a PDF document, not an image."
    if b"<svg" in head:
        return "SVG drawings are not read: convert it to PNG first."
    return f"not an image in a format that is read here ({', '.join(FORMATS)})."
