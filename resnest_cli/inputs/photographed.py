"""When and where a photograph was taken, by its EXIF data.

In: the bytes of an image file, or an opened image. Out: an `Exif`, None for what is missing or cannot be meant. Any
program writes EXIF, and any damage happens to it: nothing here raises. Reads no pixels.
"""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from PIL import ExifTags, Image

from resnest_cli.inputs.decode.images import FORMATS
from resnest_cli.inputs.decode.opening import open_image
from resnest_cli.types import Exif

if TYPE_CHECKING:
    from collections.abc import Mapping

WRITTEN = "%Y:%m:%d %H:%M:%S"  # EXIF 3.0, DateTimeOriginal
DIGITS = 7  # of degrees: a centimetre
NO_TIME = re.compile(r"[ :0]*")  # "unknown", says EXIF; cameras without a clock write zeros


def of(picture: bytes | Any) -> Exif:  # noqa: ANN401 - of bytes, a PIL image or an array
    """Return what an image says of when and where it was taken."""
    try:
        if isinstance(picture, bytes):
            with open_image(picture, FORMATS) as image:
                return _read(image.getexif())
        return _read(picture.getexif()) if isinstance(picture, Image.Image) else Exif()
    except Exception:  # noqa: BLE001 - whatever Pillow's parser stumbles over: the row is good without
        return Exif()


def _read(found: Image.Exif) -> Exif:
    camera, place = (_part(found, part) for part in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo))
    return Exif(
        _taken(camera.get(ExifTags.Base.DateTimeOriginal), camera.get(ExifTags.Base.OffsetTimeOriginal)),
        _degrees(place.get(ExifTags.GPS.GPSLatitude), place.get(ExifTags.GPS.GPSLatitudeRef), "NS", 90),
        _degrees(place.get(ExifTags.GPS.GPSLongitude), place.get(ExifTags.GPS.GPSLongitudeRef), "EW", 180),
    )


def _part(found: Image.Exif, part: ExifTags.IFD) -> Mapping[int, Any]:
    try:
        return found.get_ifd(part)
    except Exception:  # noqa: BLE001 - as above: the other part may be whole
        return {}


def _taken(written: object, offset: object) -> str | None:
    """Return ISO 8601 of EXIF's time, with the offset from UTC if that is there."""
    if not isinstance(written, str) or NO_TIME.fullmatch(written := written.rstrip("\0 ")):
        return None
    try:
        when = datetime.strptime(written, WRITTEN)  # noqa: DTZ007 - EXIF has no zone, or an offset of its own
    except ValueError:
        return None
    try:
        if isinstance(offset, str) and re.fullmatch(r"[+-]\d\d:\d\d", offset := offset.rstrip("\0 ")):
            return datetime.fromisoformat(f"{when.isoformat()}{offset}").isoformat()
    except ValueError:  # no hour of this earth
        pass
    return when.isoformat()


def _degrees(given: object, side: object, sides: str, most: int) -> float | None:
    """Return decimal degrees of degrees, minutes and seconds; the second of the sides is negative."""
    if not isinstance(given, tuple) or len(given) != len(("degrees", "minutes", "seconds")):
        return None
    if not isinstance(side, str) or (side := side.rstrip("\0 ")) not in {*sides}:
        return None
    try:
        degrees, minutes, seconds = map(float, given)
    except (ArithmeticError, TypeError, ValueError):
        return None
    value = degrees + minutes / 60 + seconds / 3600
    if not (min(degrees, minutes, seconds) >= 0 and math.isfinite(value) and value <= most):
        return None
    return round(-value if side == sides[1] else value, DIGITS)
