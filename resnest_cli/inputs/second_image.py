"""Find where the first image in some bytes ends, and whether another follows, as in `cat a.jpg b.jpg | ...`.

In: bytes. Out: whether a second image begins where the first ends. Reads the structure of JPEG, PNG, GIF, WebP and BMP,
not their pixels; False for other formats. Does not know streams.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from resnest_cli.inputs.decode import png
from resnest_cli.system.signatures import BMP, GIF, JPEG, PNG, RIFF, TIFF

if TYPE_CHECKING:
    from collections.abc import Callable

_BEGINS = (JPEG, PNG, GIF, BMP, *TIFF, RIFF)
# Phones put a second image or a video behind the first and declare it in its header: in the index of multi-picture
# files (CIPA DC-007), in Google's container (motion, depth), or as a gain map (ISO 21496-1).
_COMPOUND = (b"MPF\0", b"ns.google.com/photos", b"hdr-gain-map", b"urn:iso:std:iso:ts:21496")
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # in coded data, FF 00 is a byte and FF D0..D7 restart the coder
_END, _SCAN = 0xD9, 0xDA
_BARE = frozenset((0x01, 0xD8, *range(0xD0, 0xD8)))  # markers without a length


def another_follows(content: bytes) -> bool:
    """Return whether the bytes are a complete image, followed by the beginning of another."""
    for sign, end in _ENDS.items():
        if content.startswith(sign):
            return 0 < (at := end(content)) < len(content) and content.startswith(_BEGINS, at)
    return False


def _jpeg(content: bytes) -> int:
    """Return the end; 0 where there is none, or where more images belong to the file."""
    at, scanned = 2, False
    while marker := _MARKER.search(content, at):
        kind = content[marker.start() + 1]
        if kind == _END:
            return marker.end()
        if kind == _SCAN and not scanned:
            scanned = True
            if any(sign in content[: marker.start()] for sign in _COMPOUND):
                return 0
        length = 0 if kind in _BARE else int.from_bytes(content[marker.end() : marker.end() + 2], "big")
        at = marker.end() + length
    return 0


def _png(content: bytes) -> int:
    return next((end for name, _, end in png.chunks(content) if name == b"IEND"), 0)


def _gif(content: bytes) -> int:
    """Return the end by the blocks of GIF89a; 0 where there is none."""
    at = 13 + _colors(content, 10)
    while kind := content[at : at + 1]:
        if kind == b";":
            return at + 1
        at += 2 if kind == b"!" else 11 + _colors(content, at + 9)  # an extension's label; an image's place and code
        while at < len(content) and content[at]:  # blocks, each with its length in front
            at += 1 + content[at]
        at += 1
    return 0


def _colors(content: bytes, at: int) -> int:
    """Return the bytes of the color table that the flags at `at` announce."""
    flags = int.from_bytes(content[at : at + 1], "big")
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _webp(content: bytes) -> int:
    size = int.from_bytes(content[4:8], "little")
    return 8 + size + size % 2


def _bmp(content: bytes) -> int:
    return int.from_bytes(content[2:6], "little")


_ENDS: dict[bytes, Callable[[bytes], int]] = {
    JPEG: _jpeg,
    GIF: _gif,
    PNG: _png,
    RIFF: _webp,
    BMP: _bmp,
}
