"""Every text that a command writes for a person goes through here: harmless for a terminal, possible in its encoding.

Names, class names and messages come from outside. `put` writes to stdout, `note` to stderr, `data` what programs read;
tables are `output`'s, which escapes each cell with `one_line`.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from typing import IO, Any

import click

# Control, format (bidi and zero-width) and surrogate characters, and line and paragraph separators.
_UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def printable(text: str, encoding: str | None = None) -> str:
    """Escape what could move the cursor, hide or reorder text, or has no bytes in `encoding`; newlines stay."""
    if not text.replace("\n", "").isprintable():
        text = "".join(_escape(c) if c != "\n" and unicodedata.category(c) in _UNSAFE else c for c in text)
    encoding = encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def one_line(text: str, encoding: str | None = None) -> str:
    """Escape newlines too, for a name in a table."""
    return printable(text, encoding).replace("\n", "\\n")


def put(text: str) -> None:
    """Write a line to stdout."""
    click.echo(printable(text, sys.stdout.encoding))


def data(text: str) -> None:
    """Write to stdout what programs read, as it is: UTF-8 whatever the terminal's encoding, and the bytes of names."""
    click.echo(text.encode("utf-8", "surrogateescape"), nl=False)


def note(text: str, label: str = "", **style: Any) -> None:  # noqa: ANN401 - as click.style has them
    """Write a line to stderr, above the bar where one is drawn; the label, or what has none, gets the style."""
    text = printable(text, sys.stderr.encoding)
    if style and has_colour(sys.stderr):
        text = f"{click.style(label, **style)}{text}" if label else click.style(text, **style)
    else:
        text = label + text
    # By its name of the moment: while a bar is shown, what is written there goes above it.
    click.echo(text, file=sys.stderr, color=True)  # decided above


def has_colour(stream: IO[str]) -> bool:
    """Tell whether text may have colours, by the rules that rich has too: NO_COLOR, FORCE_COLOR, TERM, a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM", "") not in {"dumb", "unknown"}


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
