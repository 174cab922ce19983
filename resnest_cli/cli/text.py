"""Text from outside (file names, class names, messages), made harmless for a terminal."""

from __future__ import annotations

import sys
import unicodedata

# Control, format (bidi and zero-width) and surrogate characters, and line and paragraph separators.
_UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def printable(text: str) -> str:
    """Escape what could move the cursor, hide or reorder text, or cannot be encoded; newlines of our own stay."""
    return "".join(_escape(c) if c != "\n" and unicodedata.category(c) in _UNSAFE else c for c in text)


def note(text: str) -> None:
    """Write a line to stderr; above the bar where one is drawn, which `click.echo` would write into."""
    sys.stderr.write(f"{printable(text)}\n")


def one_line(text: str) -> str:
    """Escape newlines too, for a name in a table."""
    return printable(text).replace("\n", "\\n")


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
