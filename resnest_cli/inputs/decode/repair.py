"""Repair files that a strict reader refuses though the whole image is in them. In and out: the bytes of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnest_cli.inputs.decode import png
from resnest_cli.system.signatures import JPEG, PNG

if TYPE_CHECKING:
    from collections.abc import Iterator

_TEXTS = {b"tEXt", b"zTXt", b"iTXt", b"iCCP"}
_MOST_LEAD = 64  # bytes
_PROGRESSIVE = b"\xff\xc2"
_FILLINGS = (b"", b"\x55\xaa\x0f", b"\xc3", b"\x6b\x18", b"\x37\xe1\x9d", b"\xfe\x02")


def without_lead(content: bytes) -> bytes:
    """Return a JPEG file without filling bytes or line ends before it, which every viewer skips; others as they are."""
    start = content.find(JPEG, 1, _MOST_LEAD) if not content.startswith(JPEG) else -1
    return content[start:] if start > 0 and not content[:start].strip(b"\xff\0\r\n ") else content


def without_text(content: bytes) -> bytes:
    """Return a PNG file without its texts and color profile, which never reach the pixels; b"" if it has none.

    Pillow refuses such a chunk where it is damaged, or large: it might inflate to gigabytes.
    """
    if not content.startswith(PNG):
        return b""
    kept, end = [PNG], len(PNG)
    for name, begin, end in png.chunks(content):
        if name not in _TEXTS:
            kept.append(content[begin:end])
    slim = b"".join([*kept, content[end:]])
    return slim if len(slim) < len(content) else b""


def with_ends(content: bytes) -> Iterator[bytes]:
    """Yield a JPEG file that lacks its end with several fillings and ends; nothing for other files.

    After a complete image the filling is not visible; in a gap different fillings give different images. A progressive
    file may lack a whole pass, which fillings would not show: nothing is yielded for it.
    """
    if content.startswith(JPEG) and _PROGRESSIVE not in content:
        for filling in _FILLINGS:
            yield content.removesuffix(b"\xff") + 64 * filling + b"\xff\xd9"
