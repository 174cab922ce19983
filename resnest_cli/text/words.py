"""Words of messages. Standard library only."""

from __future__ import annotations


def counted(number: int, thing: str) -> str:
    """Return "1 image" or "2,000 images"."""
    return f"{number:,} {thing}{'s' * (number != 1)}"
