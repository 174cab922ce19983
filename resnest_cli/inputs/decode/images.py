"""From the bytes of an image file to the pixels of a network. PIL and numpy only; no framework.

In: bytes and a `DataConfig`. Out: uint8 RGB pixels [height, width, 3], identical bit for bit to timm's eval transform
before it normalizes, for every variant and crop mode; so one preprocessing serves all engines. A file that is no image,
or not complete, raises an `ImageError` that says what it is.

Three kinds of images differ from `convert("RGB")`, and so from timm, which would show another picture:

- Transparent pixels are drawn on white, as on a page. `convert` shows whatever color the file has there.
- More than 8 bits per channel, or signed numbers, are scaled to 0..255: by the usual scale of such numbers if the
  content fits it, else by the range of the content (see `scaling`). `convert` clips above 255, and makes floats from 0
  to 1 black. TIFF files that Pillow does not open are read by `tiff`.
- CMYK with an ICC profile, and Lab, are converted to sRGB. RGB stays as it is, whatever its profile.

Multi-frame files (GIF, WebP, APNG, TIFF, MPO, ICO) give their first frame; a TIFF file whose first page is a small
version of the second gives the second. Large or damaged texts of a PNG file are skipped, and a JPEG file may lack its
end if the image is complete. Formats outside `FORMATS` are never tried: some of Pillow's decoders start other programs
(EPS), or read text as an image.
"""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image, ImageCms, TiffImagePlugin, UnidentifiedImageError

from resnest_cli.errors import BrokenImage, ImageError, ImageTooLarge, NotAnImage, TruncatedImage
from resnest_cli.inputs.decode import deep, repair, tiff
from resnest_cli.inputs.decode.describe import describe
from resnest_cli.inputs.decode.opening import load as load_pixels
from resnest_cli.inputs.decode.opening import open_image, sizes_in_icon
from resnest_cli.options import MAX_PIXELS
from resnest_cli.system import signatures

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
_DEPTH = 24  # the byte of a PNG file with the bits per channel
_SUBFILE = 254  # the TIFF tag of a page that is a small version of another
MOST_RESIZED = 1 << 25  # pixels: 100 MB; a photograph has 400 times less
RESAMPLING = {mode.name.lower(): mode for mode in Image.Resampling}
# EXIF 2.32, tag 0x0112: the transposition that undoes each orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Without a handler of the user, messages of Pillow would go to the terminal.
logging.getLogger("PIL").addHandler(logging.NullHandler())
_EARLY_ENDS = ("truncated", "premature", "unexpected end", "not enough", "buffer overrun")


def decode(content: bytes, *, exif: bool = True, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode an image file to 8-bit RGB; apply its EXIF orientation if `exif`.

    Raises:
        NotAnImage: no format in `FORMATS`; the message says what the file is.
        TruncatedImage: the file ends before the image does.
        BrokenImage: the format is known but the content does not decode.
        ImageTooLarge: more than `max_pixels` pixels, by the header.
    """
    content = repair.without_lead(content)
    try:
        return _decode(content, exif=exif, max_pixels=max_pixels)
    except Exception as error:
        problem = translate(error, content)
        picture = None if isinstance(problem, ImageTooLarge) else _repaired(content, exif=exif, max_pixels=max_pixels)
        if picture is None:
            raise problem from error
        return picture


def rgb(picture: Image.Image | NDArray[np.uint8], *, exif: bool = True, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Convert a decoded picture to 8-bit RGB, as `decode` does with a file that holds it; the result is a new image.

    Args:
        picture: an image of Pillow, with the EXIF block that it carries; or uint8 RGB [H, W, 3] or gray [H, W].
        exif: apply its EXIF orientation.
        max_pixels: the most that it may have.

    Raises:
        BrokenImage: it cannot be converted.
        ImageTooLarge: more than `max_pixels` pixels.
    """
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    check_area(*image.size, max_pixels)
    try:
        drawn = _drawn(image, b"", exif=exif, max_pixels=max_pixels)
    except Exception as error:
        raise translate(error) from error
    return drawn.copy() if drawn is picture else drawn


def preprocess(image: Image.Image, config: DataConfig) -> NDArray[np.uint8]:
    """Resize and crop an RGB image to uint8 pixels [height, width, 3], as timm's eval transform does.

    Sizes and roundings follow `transforms_imagenet_eval` of timm, and `resize` and `center_crop` of torchvision. Of a
    strip so long that it would have more than `MOST_RESIZED` pixels, only the part in the crop is resized.
    """
    height, width = config.input_size[1:]
    scaled = (max(1, math.floor(height / config.crop_pct)), max(1, math.floor(width / config.crop_pct)))
    new_height, new_width = _resized(image, scaled, config.crop_mode)
    fill = tuple(round(255 * value) for value in config.mean) if config.crop_mode == "border" else (0, 0, 0)
    mode = RESAMPLING[config.interpolation]
    if new_width * new_height > MOST_RESIZED:
        return np.asarray(_center_of_strip(image, (new_width, new_height), (width, height), mode))
    resized = image.resize((new_width, new_height), mode)
    return np.asarray(_center_crop(resized, height, width, fill))


def load(content: bytes, config: DataConfig, *, exif: bool = True, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode and preprocess in one step; raises what `decode` and `preprocess` raise."""
    return preprocess(decode(content, exif=exif, max_pixels=max_pixels), config)


def _decode(content: bytes, *, exif: bool, max_pixels: int) -> Image.Image:
    for width, height in sizes_in_icon(content):
        check_area(width, height, max_pixels, "a picture in the icon")
    try:
        with open_image(content, FORMATS) as image:
            _skip_small_page(image)
            check_area(*image.size, max_pixels)
            load_pixels(image)
            return _drawn(image, content, exif=exif, max_pixels=max_pixels)
    except UnidentifiedImageError:
        if content.startswith(signatures.TIFF) and not describe(content):  # which some cameras' raw photos are
            return _from_tiff(content, exif=exif, max_pixels=max_pixels)
        raise


def _drawn(image: Image.Image, content: bytes, *, exif: bool, max_pixels: int) -> Image.Image:
    """Return a loaded image as 8-bit RGB; `content` is its file, if there is one."""
    picture = deep.rgb(image, content, max_pixels) or _to_rgb(image, content)
    return _upright(picture, orientation(image)) if exif else picture


def _repaired(content: bytes, *, exif: bool, max_pixels: int) -> Image.Image | None:
    """Decode a refused file after a repair; None where the image is not complete."""
    with suppress(Exception):
        if slim := repair.without_text(content):
            return _decode(slim, exif=exif, max_pixels=max_pixels)
        pictures = (_decode(whole, exif=exif, max_pixels=max_pixels) for whole in repair.with_ends(content))
        first = next(pictures, None)
        if first and all(picture.tobytes() == first.tobytes() for picture in pictures):
            return first
    return None


def _from_tiff(content: bytes, *, exif: bool, max_pixels: int) -> Image.Image:
    """Decode a TIFF file of a kind that Pillow does not open."""
    tags = tiff.tags_of(content)
    check_area(tiff.numbers(tags, 256, 0)[0], tiff.numbers(tags, 257, 0)[0], max_pixels)
    if tiff.numbers(tags, 262) == (tiff.CMYK,):
        picture = _to_rgb(deep.cmyk(content, tags, max_pixels), content)
    else:
        picture = deep.from_tiff(content, tags, max_pixels).rgb()
    return _upright(picture, tags.get(ExifTags.Base.Orientation, 1)) if exif else picture


def _skip_small_page(image: Image.Image) -> None:
    """Skip the first page of a TIFF file if its tag says that it is a small version of the next."""
    if isinstance(image, TiffImagePlugin.TiffImageFile) and tiff.numbers(image.tag_v2, _SUBFILE, 0)[0] & 1:
        try:
            image.seek(1)
        except Exception:  # noqa: BLE001 - whatever is wrong with a page that may not be there, the first is good
            image.seek(0)


def _to_rgb(image: Image.Image, content: bytes) -> Image.Image:
    if image.has_transparency_data:
        _scale_key(image, content)
        page = Image.new("RGBA", image.size, "white")
        page.alpha_composite(image.convert("RGBA"))
        return page.convert("RGB")
    if image.mode == "LAB" or (image.mode == "CMYK" and image.info.get("icc_profile")):
        return _managed(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _scale_key(image: Image.Image, content: bytes) -> None:
    """Scale the transparent gray to 8 bits, as Pillow has scaled the pixels of 2 and 4 bits."""
    if image.format == "PNG" and image.mode == "L" and isinstance(image.info.get("transparency"), int):
        image.info["transparency"] *= 255 // (2 ** content[_DEPTH] - 1)


def _managed(image: Image.Image) -> Image.Image:
    """Convert to sRGB by the image's color profile; without it if it is damaged."""
    try:
        profile = image.info.get("icc_profile")
        source = ImageCms.ImageCmsProfile(BytesIO(profile)) if profile else ImageCms.createProfile("LAB")
        managed = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        managed = None
    return managed or image.convert("RGB")


def orientation(image: Image.Image) -> int:
    """Return the orientation tag, 1 if the EXIF block is damaged."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - whatever its parser stumbles over, the picture is good
        return 1


def _upright(picture: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return picture if turn is None else picture.transpose(turn)


def _resized(image: Image.Image, scaled: tuple[int, int], crop_mode: str) -> tuple[int, int]:
    """Return the (height, width) to resize to before the crop."""
    if crop_mode == "squash":
        return scaled
    if crop_mode == "center" and scaled[0] == scaled[1]:
        short, long = sorted(image.size)
        new_short, new_long = scaled[0], int(scaled[0] * long / short)
        return (new_long, new_short) if image.width <= image.height else (new_short, new_long)
    ratios = (image.height / scaled[0], image.width / scaled[1])
    ratio = max(ratios) if crop_mode == "border" else min(ratios)
    return max(1, round(image.height / ratio)), max(1, round(image.width / ratio))  # timm raises at 0


def _center_crop(image: Image.Image, height: int, width: int, fill: tuple[int, ...]) -> Image.Image:
    """Return the center crop; `fill` surrounds an image that is smaller than the crop."""
    crop = Image.new("RGB", (width, height), fill)
    crop.paste(image, (-_offset(image.width, width), -_offset(image.height, height)))
    return crop


def _center_of_strip(
    image: Image.Image, new: tuple[int, int], crop: tuple[int, int], mode: Image.Resampling
) -> Image.Image:
    """Return the center crop of an image that would be resized to `new`, larger than the crop; sizes are (x, y).

    Pillow may take its two passes in the other order than for the whole image, so values may differ by rounding;
    with "nearest" and "box", which choose a pixel, that may be the next one.
    """
    starts = [_offset(*sizes) for sizes in zip(new, crop, strict=True)]
    edges = [(start, start + size) for start, size in zip(starts, crop, strict=True)]
    (left, right), (top, bottom) = (
        (first * have / whole, last * have / whole)
        for (first, last), have, whole in zip(edges, image.size, new, strict=True)
    )
    return image.resize(crop, mode, box=(left, top, right, bottom))


def _offset(have: int, want: int) -> int:
    """Return where the crop begins: torchvision rounds half to even to crop, and floors the margin to pad."""
    return round((have - want) / 2) if have >= want else -((want - have) // 2)


def check_area(width: int, height: int, limit: int, what: str = "the image") -> None:
    """Raise `ImageTooLarge` for more than `limit` pixels."""
    if width * height > limit:
        message = f"{what} has {width} x {height} = {width * height:,} pixels; --max-pixels sets the limit ({limit:,})."
        raise ImageTooLarge(message)


def translate(error: Exception, content: bytes = b"") -> ImageError:
    """Return the `ImageError` of an exception of Pillow: OSError, ValueError, SyntaxError, struct.error and more."""
    if isinstance(error, ImageError):
        return error
    if isinstance(error, MemoryError):
        return ImageTooLarge("not enough memory to decode it.")
    reason = str(error) or type(error).__name__
    if isinstance(error, UnidentifiedImageError) or (content.startswith(signatures.TIFF) and describe(content)):
        return _unknown(content)
    if any(sign in reason.lower() for sign in _EARLY_ENDS):
        return TruncatedImage(f"the file ends before the image does ({reason}).")
    return BrokenImage(f"the image does not decode ({reason}).")


def _unknown(content: bytes) -> ImageError:
    """Return the error of a file that no decoder accepts: another kind of file, or an image with a damaged header."""
    if name := describe(content):
        return NotAnImage(name)
    if kind := signatures.image_format(content):
        return BrokenImage(f"the file begins like a {kind} image, but its header is damaged.")
    return NotAnImage(f"not an image in a format that is read here ({', '.join(FORMATS)}).")
