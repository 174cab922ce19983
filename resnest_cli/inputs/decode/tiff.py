"""Read the numbers of a TIFF page as stored: integers and floats of 8 to 64 bits, any number of bands.

In: the bytes of a file and the tags of a page. Out: an array [H, W, bands]. For files that Pillow does not open, or
opens with the upper eight bits only. Does not know what the numbers mean.

How: the strips or tiles of the page are described a second time, as an 8-bit gray image that is as many bytes wide.
Pillow and its libtiff undo layout and compression, and numpy reads the bytes as numbers. So every lossless compression
of libtiff is read, without a decoder of our own.
"""

from __future__ import annotations

import struct
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import TiffImagePlugin, TiffTags

from resnest_cli.errors import BrokenImage, ImageTooLarge, NotAnImage
from resnest_cli.inputs.decode.opening import load, open_image
from resnest_cli.text.words import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

Tags = TiffImagePlugin.ImageFileDirectory_v2

GRAY = (0, 1)  # photometric interpretations: white is zero, black is zero
RGB, CMYK = 2, 5
BYTES_PER_PIXEL = 8  # that an image of the largest area may need
_MAKE, _PAGES_WITHIN, _DNG, _TILE_WIDTH = 271, 330, 50706, 322  # tags; raw photos have the first two, or the third
_KINDS = {1: "u", 2: "i", 3: "f", 4: "u", 5: "c", 6: "c"}  # of the sample format; 4 is "undefined"
_WORDS = {"u": "unsigned integers", "i": "signed integers", "f": "floats", "c": "complex numbers"}
_UNPACKED = 1
_PREDICTED = {5: "LZW", 8: "deflate", 32946: "deflate", 34925: "LZMA", 50000: "Zstandard"}
_LOSSLESS = {_UNPACKED: "no", 32773: "PackBits", **_PREDICTED}
_OTHERS = {2: "CCITT", 3: "fax", 4: "fax", 6: "old JPEG", 7: "JPEG", 34712: "JPEG 2000", 34887: "LERC", 50001: "WebP"}


def tags_of(content: bytes) -> Tags:
    """Return the tags of the first page; raises what Pillow raises where they are damaged."""
    big = b"+" in content[2:4]
    tags = Tags(content[: 16 if big else 8])
    file = BytesIO(content)
    file.seek(tags.next)
    tags.load(file)
    return tags


def numbers(tags: Tags, name: int, default: int = 1) -> tuple[int, ...]:
    """Return the integers of a tag."""
    value = tags.get(name, default)
    return tuple(map(int, value if isinstance(value, tuple) else (value,)))


def describe(tags: Tags) -> str:
    """Return the kind of a page in words: "64-bit floats, 2 bands, LERC compression"."""
    bits, (bands, *_), (packing, *_) = numbers(tags, 258), numbers(tags, 277), numbers(tags, 259)
    format, (meaning, *_) = _KINDS.get(numbers(tags, 339)[0], ""), numbers(tags, 262)
    words = [f"{'/'.join(map(str, dict.fromkeys(bits)))}-bit {_WORDS.get(format, 'numbers of an unknown format')}"]
    words.append(counted(bands, "band"))
    words.append(f"{_LOSSLESS.get(packing) or _OTHERS.get(packing) or f'unknown ({packing})'} compression")
    if meaning not in {*GRAY, RGB}:
        words.append(f"photometric interpretation {_photometric(meaning)}")
    return ", ".join(words)


def read(content: bytes, tags: Tags, bands: int, max_pixels: int) -> NDArray[Any]:
    """Read the first `bands` bands of a page as numbers [H, W, bands].

    Raises:
        NotAnImage: an unsupported kind of TIFF; the message says which.
        BrokenImage: the page has no size.
        ImageTooLarge: the page needs more memory than the largest image that is read.
    """
    dtype, (of, *_), (planar, *_) = _dtype(tags), numbers(tags, 277), numbers(tags, 284)
    width, height = numbers(tags, 256, 0)[0], numbers(tags, 257, 0)[0]
    together = of if planar == 1 else 1
    if not width * height:
        message = "the image has no size."
        raise BrokenImage(message)
    if width * height * dtype.itemsize * max(together, bands) > BYTES_PER_PIXEL * max_pixels:
        message = f"the image has {width} x {height} pixels of {dtype.itemsize * of} bytes, too many; see --max-pixels."
        raise ImageTooLarge(message)
    if planar == 1:
        return _plane(content, tags, dtype, of, slice(None))[..., :bands]
    pieces = len(_pieces(tags)[0]) // of
    planes = [_plane(content, tags, dtype, 1, slice(band * pieces, (band + 1) * pieces)) for band in range(bands)]
    return np.concatenate(planes, axis=2)


def _photometric(meaning: int) -> str:
    names = TiffTags.lookup(262).enum
    return next((name for name, number in names.items() if number == meaning), str(meaning))


def _dtype(tags: Tags) -> np.dtype[Any]:
    """Return the type of the stored numbers.

    Raises:
        NotAnImage: numpy has no such type, or the numbers are not whole bytes.
    """
    bits, formats = {*numbers(tags, 258)}, {*numbers(tags, 339)}
    kind = f"{_KINDS.get(min(formats), '')}{min(bits) // 8}"
    plain = (
        numbers(tags, 266) == (1,)
        and numbers(tags, 259)[0] in _LOSSLESS
        and numbers(tags, 262)[0] in {*GRAY, RGB, CMYK}
    )
    known = kind in {"u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"} and min(bits) % 8 == 0
    inks = numbers(tags, 262)[0] != CMYK or (kind in {"u1", "u2"} and numbers(tags, 277)[0] >= len("CMYK"))
    if not (plain and known and inks and len(bits) == len(formats) == 1):
        raw = _DNG in tags or (_MAKE in tags and _PAGES_WITHIN in tags)
        what = "a raw photo, as NEF, ARW or DNG are" if raw else "a TIFF of a kind that is not read"
        message = f"this is {what}: {describe(tags)}. Convert it to PNG first."
        raise NotAnImage(message)
    return np.dtype(kind).newbyteorder("<" if tags.prefix == b"II" else ">")


def _pieces(tags: Tags) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the offsets of all strips or tiles, and their sizes in bytes."""
    offsets, sizes = (324, 325) if _TILE_WIDTH in tags else (273, 279)
    return numbers(tags, offsets, 0), numbers(tags, sizes, 0)


def _plane(content: bytes, tags: Tags, dtype: np.dtype[Any], bands: int, which: slice) -> NDArray[Any]:
    """Read some strips or tiles of a page as numbers [H, W, bands]."""
    width, height = numbers(tags, 256)[0], numbers(tags, 257)[0]
    offsets, sizes = (values[which] for values in _pieces(tags))
    run, step = (
        numbers(tags, _TILE_WIDTH, width)[0],
        dtype.itemsize * bands,
    )  # numbers in a row of a piece; bytes of a pixel
    across = -(-width // run)
    packing, *_ = numbers(tags, 259)
    page: dict[int, tuple[int, ...]] = {
        256: (across * run * step,),
        257: (height,),
        258: (8,),
        259: (packing,),
        262: (1,),
        277: (1,),
    }
    if _TILE_WIDTH in tags:
        page |= {_TILE_WIDTH: (run * step,), 323: numbers(tags, 323), 324: offsets, 325: sizes}
    else:
        page |= {278: (min(numbers(tags, 278, height)[0], height),), 273: offsets, 279: sizes}
    with open_image(_relabeled(content, tags.prefix, page), ["TIFF"]) as image:
        load(image)
        rows = np.asarray(image).reshape(height, across, run * step)
    predictor = numbers(tags, 317)[0] if packing in _PREDICTED else 1
    values = _undo(rows, dtype, bands, predictor)
    return values.reshape(height, across * run, bands)[:, :width]


def _relabeled(content: bytes, order: bytes, page: dict[int, tuple[int, ...]]) -> bytes:
    """Return the file with another first page, whose tags are appended and use the file's strips or tiles."""
    end = "<" if order == b"II" else ">"
    at = len(content) + len(content) % 2
    entries, lists = b"", b""
    after = at + 2 + 12 * len(page) + 4  # a count, the entries, and that no page follows
    for name, values in sorted(page.items()):
        packed = struct.pack(f"{end}{len(values)}L", *values)
        place = packed if len(values) == 1 else struct.pack(f"{end}L", after + len(lists))
        entries += struct.pack(f"{end}HHL", name, TiffTags.LONG, len(values)) + place
        lists += packed if len(values) > 1 else b""
    head = order + struct.pack(f"{end}HL", 42, at)
    tags = struct.pack(f"{end}H", len(page)) + entries + bytes(4) + lists
    return head + content[8:].ljust(at - 8, b"\0") + tags


def _undo(rows: NDArray[np.uint8], dtype: np.dtype[Any], bands: int, predictor: int) -> NDArray[Any]:
    """Return bytes [..., row] as numbers, with their prediction undone (TIFF 6, section 14)."""
    if predictor == 1:
        return rows.view(dtype)
    if predictor == 2:  # noqa: PLR2004 - each is stored as its difference to its neighbour
        unsigned = rows.view(f"{dtype.byteorder}u{dtype.itemsize}").astype(f"u{dtype.itemsize}")
        pixels = unsigned.reshape(*rows.shape[:2], -1, bands)
        return np.cumsum(pixels, axis=2, dtype=pixels.dtype).view(dtype.newbyteorder("="))
    # Floats: bytes of equal weight together, the heaviest first, each as its difference (Adobe's technical note 3).
    summed = np.cumsum(rows.reshape(*rows.shape[:2], -1, bands), axis=2, dtype=np.uint8)
    apart = summed.reshape(*rows.shape[:2], dtype.itemsize, -1)
    return np.ascontiguousarray(np.moveaxis(apart, 2, 3)).view(dtype.newbyteorder(">"))
