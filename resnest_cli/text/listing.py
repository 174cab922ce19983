"""Names and counts in a sentence: the first few, and how many more. Standard library only."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

FEW = 5  # names in a sentence


def few(names: Sequence[str], most: int = FEW) -> str:
    """Return the first names, and how many more there are: "a, b and 7 more"."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def few_are(names: Sequence[str]) -> str:
    """Return `few` with the verb that follows: "a is", "a, b are"."""
    return f"{few(names)} {'is' if len(names) == 1 else 'are'}"


def files_are(count: int) -> str:
    """Return a number of files with the verb that follows: "1 file is", "2,000 files are"."""
    return "1 file is" if count == 1 else f"{count:,} files are"
