"""Integers in the texts of others: headers, options, parameters of requests."""

from __future__ import annotations

MAX_INTEGER, MAX_DIGITS = 10**15, 15  # more bytes than a disk has, more seconds than a retry waits


def parse_integer(text: str) -> int | None:
    """Return an integer that is not negative, at most `MAX_INTEGER`; None where the text is none.

    Python's `int` raises for thousands of digits.
    """
    if not text.isdecimal():
        return None
    return int(text) if len(text) <= MAX_DIGITS else MAX_INTEGER
