"""The chunks of a PNG file. In: its bytes. Out: names and positions. Does not know what a chunk means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnest_cli.system.signatures import PNG

if TYPE_CHECKING:
    from collections.abc import Iterator

_AROUND = 12  # bytes of a chunk that are not its content: length, name and checksum


def chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, begin and end of each chunk, until no chunk follows: a failed copy may end in gigabytes of zeros.

    In a truncated file the last end may lie behind the end of the file.
    """
    at = len(PNG)
    while (name := content[at + 4 : at + 8]).isalpha():
        begin, at = at, at + _AROUND + int.from_bytes(content[at : at + 4], "big")
        yield name, begin, at
