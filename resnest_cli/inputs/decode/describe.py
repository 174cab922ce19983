"""What a file is that no image reader takes, in words for the error message.

In: the bytes of the file. Out: a sentence, "" where nothing is known. Standard library only.
"""

from __future__ import annotations

import re

from resnest_cli.system import signatures
from resnest_cli.text.words import counted

_FLIC = (b"\x11\xaf", b"\x12\xaf")  # too short a signature at byte 4 for other files: a TIFF has an offset there
_PREFIX = 512  # bytes before an image that are looked through


def describe(content: bytes) -> str:
    """Return what a file is that is no image, and what to do about it; "" if that is not known."""
    if not content:
        return "the file is empty."
    if not content.strip(b"\0"):
        return "the file holds only zeros (a failed copy?)."
    if signatures.is_html(content):
        return "this is an HTML page, not an image (a failed download?)."
    name, hint = _name(content)
    return f"this is {name}, {f'which is not read: {hint}' if hint else 'not an image'}." if name else ""


def _name(content: bytes) -> tuple[str, str]:
    if b"<svg" in content[:_PREFIX].lower():
        return "an SVG drawing", signatures.PNG_FIRST
    kind = signatures.find_kind(content)
    return (kind.name, kind.hint) if kind else _guessed(content)


def _guessed(content: bytes) -> tuple[str, str]:
    """Return the name and hint of a file without a signature; nothing for an image that begins as it should."""
    if signatures.image_format(content):
        return "", ""
    if content.startswith(_FLIC, 4):
        return "a FLIC animation", "extract a frame first"
    if found := re.search(b"|".join(map(re.escape, signatures.EMBEDDED)), content[:_PREFIX]):
        name = signatures.IMAGES[found[0]]
        return f"a {name} picture behind {counted(found.start(), 'other byte')}", "cut off what is before it"
    return ("a text file" if signatures.is_text(content[:_PREFIX]) else ""), ""
