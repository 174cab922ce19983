"""Every text that a command writes for a person goes through here: harmless for a terminal, possible in its encoding.

Names, class names and messages come from outside. `put` writes to stdout, `note` to stderr, `data` and `rows` what
programs read; tables are `output`'s, which escapes each cell with `one_line`.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
import traceback
import unicodedata
import warnings
from typing import IO, TYPE_CHECKING, Any

import click

from resnest_cli.text import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from resnest_cli.outputs.formats import Writer
    from resnest_cli.outputs.rows import About, Row

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
    """Write to stdout what programs read, as it is: UTF-8 whatever the terminal's encoding, and the bytes of names.

    On a terminal, which is no program's input, it is harmless instead.
    """
    content = text.encode("utf-8", "surrogateescape")
    click.echo(_shown(content) if sys.stdout.isatty() else content, nl=False)


def rows(write: Writer) -> Writer:
    """Have a format's writer do as `data` does."""

    def shown(rows: Iterable[Row], out: IO[bytes], about: About) -> None:
        place: Any = _Screen(out) if out.isatty() else out
        write(rows, place, about)

    return shown


class _Screen(io.BufferedIOBase):
    """Shows whole rows on a terminal."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out

    def write(self, content: Any, /) -> int:  # noqa: ANN401 - whatever holds bytes
        """Write it all."""
        self._out.write(_shown(content))
        return len(content)

    def flush(self) -> None:
        """Show it now."""
        self._out.flush()


def _shown(content: bytes) -> bytes:
    """Make bytes harmless for a terminal; tabs, which are between cells, stay."""
    text = content.decode("utf-8", "surrogateescape")
    return "\t".join(map(printable, text.split("\t"))).encode()


def note(text: str, label: str = "", **style: Any) -> None:  # noqa: ANN401 - as click.style has them
    """Write a line to stderr, above the bar where one is drawn; the label, or what has none, gets the style.

    A message may quote a URL, also one of a library's: what is secret in it is not shown.
    """
    text = printable(redact.message(text), sys.stderr.encoding)
    if style and has_colour(sys.stderr):
        text = f"{click.style(label, **style)}{text}" if label else click.style(text, **style)
    else:
        text = label + text
    # By its name of the moment: while a bar is shown, what is written there goes above it.
    click.echo(text, file=sys.stderr, color=True)  # decided above


def hear_others() -> None:
    """Say what other libraries warn of or log, and what nobody has caught, through the same door."""
    warnings.showwarning = lambda message, category, *_: note(one_line(f"{category.__name__}: {message}"))
    logging.lastResort = Said(lambda text: note(one_line(text)), logging.WARNING)
    sys.excepthook = lambda kind, error, trace: note("".join(traceback.format_exception(kind, error, trace)).rstrip())
    threading.excepthook = lambda failed: note(_uncaught(failed.exc_value))
    sys.unraisablehook = lambda failed: note(_uncaught(failed.exc_value))


class Said(logging.Handler):
    """Hands what is logged to a function."""

    def __init__(self, say: Callable[[str], None], level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        """Say one record."""
        self._say(record.getMessage())


def _uncaught(error: BaseException | None) -> str:
    return "".join(traceback.format_exception(error)).rstrip() if error else "a thread has failed"


def has_colour(stream: IO[str]) -> bool:
    """Tell whether text may have colours, by the rules that rich has too: NO_COLOR, FORCE_COLOR, TERM, a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM", "") not in {"dumb", "unknown"}


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
