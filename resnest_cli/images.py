"""From the bytes of an image file to the pixels a network sees. PIL and numpy only; no framework.

In: bytes and a `DataConfig`. Out: uint8 RGB pixels [height, width, 3], identical bit for bit to those of timm's eval
transform before it normalises, for every variant and crop mode; so one preprocessing serves all engines. What is not an
image, or not a whole one, is raised as an `ImageError` that says what it is.

Three kinds of image are not what `convert("RGB")`, and so timm, makes of them, because that would be another picture:

- What is transparent is shown on white, as on a page. `convert` shows whatever colour the file has hidden there.
- 16-bit grey, 32-bit integers and floats are scaled to 0..255. `convert` cuts off what is above 255, and makes floats
  from 0 to 1 black.
- CMYK that brings its ICC profile, and Lab, are converted by colour to sRGB. RGB stays as it is, whatever its profile.

Multi-frame files (GIF, WebP, APNG, TIFF, MPO, ICO) give their first frame. Formats outside `FORMATS` are never tried:
some of Pillow's decoders start other programs (EPS) or read a picture into text that is none.
"""

from __future__ import annotations

import math
import threading
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from resnest_cli.errors import BrokenImage, ImageError, ImageTooLarge, NotAnImage, TruncatedImage
from resnest_cli.options import MAX_PIXELS

if TYPE_CHECKING:
    from collections.abc import Iterator

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
_FULL_SCALES = {"I": (255, 65535, 2**31 - 1), "F": (1, 255, 65535)}  # where the type does not tell what white is
_GUARD = threading.Lock()
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


def decode(content: bytes, *, exif: bool = True, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode an image file to 8-bit RGB, turned upright by its EXIF orientation if `exif`.

    Raises:
        NotAnImage: no format in `FORMATS`; the message says what the bytes look like.
        TruncatedImage: the file ends before the image does.
        BrokenImage: the format is known but the content does not decode.
        ImageTooLarge: more than `max_pixels` pixels, told from the header.
    """
    try:
        with _open(content) as image:
            _check_area(*image.size, max_pixels, "the image")
            image.load()
            rgb = _to_rgb(image)
            return _upright(rgb, image) if exif else rgb
    except Exception as error:
        raise _translate(error, content) from error


def preprocess(image: Image.Image, config: DataConfig, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Resize and crop an RGB image to uint8 pixels [height, width, 3] as timm's eval transform does.

    The sizes follow `transforms_imagenet_eval` of timm and `resize` and `center_crop` of torchvision, roundings
    included.

    Raises:
        ImageTooLarge: the shape is so extreme that resizing it would need more than `max_pixels` pixels.
    """
    height, width = config.input_size[1:]
    scaled = (max(1, math.floor(height / config.crop_pct)), max(1, math.floor(width / config.crop_pct)))
    new_height, new_width = _resized(image, scaled, config.crop_mode)
    _check_area(new_width, new_height, max_pixels, "the image resized for the network")
    resized = image.resize((new_width, new_height), _RESAMPLING[config.interpolation])
    fill = tuple(round(255 * value) for value in config.mean) if config.crop_mode == "border" else (0, 0, 0)
    return np.asarray(_centre_crop(resized, height, width, fill))


def load(content: bytes, config: DataConfig, *, exif: bool = True, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode and preprocess in one step; raises what `decode` and `preprocess` raise."""
    return preprocess(decode(content, exif=exif, max_pixels=max_pixels), config, max_pixels=max_pixels)


@contextmanager
def _open(content: bytes) -> Iterator[Image.Image]:
    """Open without Pillow's own guard, which warns, and refuses, at limits of its own; ours follows at once."""
    with _GUARD:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(BytesIO(content), formats=list(FORMATS))
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    with image:
        yield image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return _from_grey(np.asarray(image), 65535)
    if image.mode in {"I", "F"}:
        values = np.nan_to_num(np.asarray(image), posinf=0, neginf=0)
        deep = image.format == "PPM"  # Pillow has scaled it to 16 bits
        return _from_grey(values, 65535 if deep else _full_scale(values, _FULL_SCALES[image.mode]))
    if image.has_transparency_data:
        page = Image.new("RGBA", image.size, "white")
        page.alpha_composite(image.convert("RGBA"))
        return page.convert("RGB")
    if image.mode == "LAB" or (image.mode == "CMYK" and image.info.get("icc_profile")):
        return _managed(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_grey(values: NDArray[Any], white: float) -> Image.Image:
    grey = values.astype(np.float32)
    grey *= 255 / white
    grey += 0.5
    np.clip(grey, 0, 255, out=grey)
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


def _full_scale(values: NDArray[Any], usual: tuple[int, ...]) -> float:
    """Tell what is white: of the usual ends of scale the first that nothing exceeds, else the largest value itself."""
    largest = float(values.max())
    return next((scale for scale in usual if largest <= scale), largest)


def _managed(image: Image.Image) -> Image.Image:
    """Convert to sRGB by the image's colour profile; where that is damaged, as if it had none."""
    try:
        profile = image.info.get("icc_profile")
        source = ImageCms.ImageCmsProfile(BytesIO(profile)) if profile else ImageCms.createProfile("LAB")
        managed = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        managed = None
    return managed or image.convert("RGB")


def _upright(rgb: Image.Image, image: Image.Image) -> Image.Image:
    """Turn `rgb` as the orientation tag of `image` says; a damaged EXIF block says nothing."""
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - whatever its parser stumbles over, the picture is good
        turn = None
    return rgb if turn is None else rgb.transpose(turn)


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


def _check_area(width: int, height: int, limit: int, what: str) -> None:
    if width * height > limit:
        message = f"{what} has {width} x {height} = {width * height:,} pixels; --max-pixels sets the limit ({limit:,})."
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
    for sign, words in _LOOKS_LIKE.items():
        if head.startswith(sign):
            return words
    if b"<svg" in head:
        return "SVG drawings are not read: convert it to PNG first."
    if head[4:8] == b"ftyp":
        return "HEIC, video or another format of the MP4 family is not read: convert it to JPEG or AVIF first."
    if _is_text(content[:512]):
        return "this is a text file, not an image."
    return f"not an image in a format that is read here ({', '.join(FORMATS)})."


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        text = head[: error.start].decode() if error.start > len(head) - 4 else "\0"  # 4: a character may be cut
    return all(character.isprintable() or character.isspace() for character in text)


# The first bytes of a file, in lower case and without white space before them -> what it is.
_LOOKS_LIKE = {
    b"<!doctype html": "this is an HTML page, not an image (a failed download?).",
    b"<html": "this is an HTML page, not an image (a failed download?).",
    b"version https://git-lfs": "this is a Git LFS pointer, not the image itself: run `git lfs pull`.",
    b"%pdf": "this is a PDF document, not an image.",
    b"%!ps": "PostScript is not read: convert it to PNG first.",
    b"\xc5\xd0\xd3\xc6": "PostScript is not read: convert it to PNG first.",
    b"8bps": "Photoshop documents are not read: export it as PNG first.",
    b"\xd7\xcd\xc6\x9a": "Windows metafiles are not read: convert it to PNG first.",
    b"#define": "this is C source (perhaps an XBM picture), which is not read.",
    b"pk\x03\x04": "this is a ZIP archive, not an image.",
}
