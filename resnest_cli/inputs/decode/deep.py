"""Convert images of more than 8 bits per channel, signed numbers or floats to 8-bit RGB.

In: an image that Pillow opened, or a TIFF file that it did not. Out: the RGB picture. Pillow's `convert("RGB")` clips
above 255, makes floats from 0 to 1 black, reads signed numbers as unsigned, and compares the transparent color with
the upper eight bits only. `scaling` decides which number is black and which is white.

Of one or two bands the first is drawn as gray; of three or more the first three are red, green and blue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin

from resnest_cli.inputs.decode import tiff
from resnest_cli.inputs.decode.opening import open_image
from resnest_cli.inputs.decode.scaling import spans, to_8_bits

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DEEP = 16  # bits a channel of a color image of which Pillow keeps eight
_APART = 2  # what ExtraSamples says of an alpha channel that colors are not multiplied by
_PROFILE = 34675
_NO_DATA = 42113  # the tag in which GDAL, and so all of geography, notes which number means nothing


@dataclass(frozen=True)
class Numbers:
    """The content of a deep image: `values` [H, W] or [H, W, 3], `alpha` [H, W] from 0 to 1, and how to read them."""

    values: NDArray[Any]
    alpha: NDArray[Any] | None = None
    no_data: float | None = None
    zero_is_white: bool = False

    def rgb(self) -> Image.Image:
        """Return the RGB picture, on white where there is alpha.

        Raises:
            BrokenImage: no value is valid.
        """
        how: dict[str, Any] = {"no_data": self.no_data, "zero_is_white": self.zero_is_white}
        if self.alpha is None or self.alpha.min() == 1:
            shown = to_8_bits(self.values, **how)
        else:  # no stretch on a white page: it could make ink white
            alpha = self.alpha.reshape(*self.alpha.shape, *(1,) * (self.values.ndim - 2))
            shown = to_8_bits(self.values, stretch=False, **how)
            shown = (shown * alpha + 255 * (1 - alpha) + 0.5).astype(np.uint8)
        return Image.fromarray(shown).convert("RGB")


def rgb(image: Image.Image, content: bytes, max_pixels: int) -> Image.Image | None:
    """Return the RGB picture of a loaded image, or None for an ordinary image, which Pillow converts correctly."""
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else None
    if image.mode.startswith("I;16") or image.mode in {"I", "F"}:
        return _gray(image, tags).rgb()
    if tags is not None and image.mode == "L" and tiff.numbers(tags, 339) == (2,):
        signed = np.asarray(image).view(np.int8)
        return Numbers(signed).rgb() if _is_signed(signed) else None
    if not _keeps_half(image, content, tags) or not _needs_all(image):
        return None
    return (_png(image, content) if tags is None else from_tiff(content, tags, max_pixels)).rgb()


def from_tiff(content: bytes, tags: tiff.Tags, max_pixels: int) -> Numbers:
    """Read the numbers of a page of a TIFF file; raises what `tiff.read` raises."""
    bands, (meaning, *_) = tiff.numbers(tags, 277)[0], tiff.numbers(tags, 262)
    shown = 3 if bands >= 3 else 1  # noqa: PLR2004 - red, green, blue
    extra = tiff.numbers(tags, 338, 0)[0]
    see_through = extra in {1, _APART} and bands > shown and len(tiff.numbers(tags, 338, 0)) == bands - shown
    values = tiff.read(content, tags, shown + see_through, max_pixels)
    alpha = _share(values[..., shown]) if see_through else None
    values = values[..., :shown] if shown > 1 else values[..., 0]
    if alpha is not None and extra == 1:  # the colors are multiplied by it already
        values = values / np.maximum(alpha, 1e-6).reshape(*alpha.shape, *(1,) * (values.ndim - 2))
    return Numbers(values, alpha, _no_data(tags), zero_is_white=meaning == 0)


def cmyk(content: bytes, tags: tiff.Tags, max_pixels: int) -> Image.Image:
    """Read the inks of a TIFF page that has more bands, such as alpha, with their color profile."""
    see_through = tiff.numbers(tags, 338, 0)[0] == _APART and tiff.numbers(tags, 277)[0] > len("CMYK")
    values = tiff.read(content, tags, len("CMYK") + see_through, max_pixels)
    if values.dtype.itemsize > 1:
        values = values >> 8
    if see_through:
        values = values[..., :4] * (values[..., 4:] / 255) + 0.5  # less ink: on white
    image = Image.frombytes("CMYK", values.shape[1::-1], values.astype(np.uint8).tobytes())
    image.info["icc_profile"] = tags.get(_PROFILE)
    return image


def _share(alpha: NDArray[Any]) -> NDArray[np.float32]:
    """Return an alpha channel scaled to 0..1."""
    full = 1 if alpha.dtype.kind == "f" else np.iinfo(alpha.dtype).max
    share: NDArray[np.float32] = np.clip(np.nan_to_num(alpha.astype(np.float32)) / np.float32(full), 0, 1)
    return share


def _gray(image: Image.Image, tags: tiff.Tags | None) -> Numbers:
    values = np.asarray(image)
    if image.mode == "I":
        values = values.astype(_stored(image, tags))
    if tags is not None:
        return Numbers(values, None, _no_data(tags), zero_is_white=tiff.numbers(tags, 262) == (0,))
    key = image.info.get("transparency")
    return Numbers(values, None if key is None else (values != key).astype(np.float32))


def _is_signed(values: NDArray[np.int8]) -> bool:
    """Return whether bytes declared as signed are signed: some writers declare ordinary gray so, which then jumps."""
    jumps = [int(np.abs(np.diff(kind.astype(np.int16))).sum()) for kind in (values, values.view(np.uint8))]
    return jumps[0] <= jumps[1]


def _stored(image: Image.Image, tags: tiff.Tags | None) -> str:
    """Return the numpy type of the stored numbers, which Pillow converted to 32-bit integers."""
    if tags is None:
        return "u2" if image.format == "PPM" else "i4"  # Pillow scales a PGM file to 16 bits
    return f"{'i' if tiff.numbers(tags, 339) == (2,) else 'u'}{max(tiff.numbers(tags, 258)) // 8}"


def _no_data(tags: tiff.Tags) -> float | None:
    try:
        return float(str(tags[_NO_DATA]).strip("\0 "))
    except (KeyError, ValueError):
        return None


def _keeps_half(image: Image.Image, content: bytes, tags: tiff.Tags | None) -> bool:
    """Return whether Pillow has read the upper eight of 16 bits a channel."""
    if image.mode not in {"RGB", "RGBA"}:
        return False
    return content[24] == _DEEP if image.format == "PNG" else tags is not None and max(tiff.numbers(tags, 258)) == _DEEP


def _needs_all(image: Image.Image) -> bool:
    """Return whether the upper eight bits are not enough: they are nearly constant, or a color means transparent."""
    return "transparency" in image.info or not spans(np.asarray(image)[..., :3], 255)


def _png(image: Image.Image, content: bytes) -> Numbers:
    """Return all 16 bits of a PNG file."""
    if content[25] == 4:  # noqa: PLR2004 - the color type of gray with alpha: as many bytes as RGBA has
        high, low = _raw(content, "RGBA")[..., (0, 2)], _raw(content, "RGBA")[..., (1, 3)]
    else:
        high, low = np.asarray(image), _raw(content, f"{image.mode};16L")
    values = high.astype(np.uint16) << 8 | low
    if image.mode == "RGBA":
        gray = values.shape[2] == 2  # noqa: PLR2004 - and its alpha
        return Numbers(values[..., 0] if gray else values[..., :3], _share(values[..., -1]))
    key = image.info.get("transparency")
    return Numbers(values, None if key is None else (values != key).any(axis=2).astype(np.float32))


def _raw(content: bytes, raw_mode: str) -> NDArray[np.uint8]:
    """Read an image in another raw mode of Pillow."""
    with open_image(content, ["PNG"]) as image:
        if isinstance(image, ImageFile.ImageFile):
            image.tile = [tile._replace(args=raw_mode) for tile in image.tile]
        return np.asarray(image)
