"""Text for a terminal: every text that a command writes for a person is made harmless here, and written here.

In: text with names, class names and messages from outside. Out: lines on stdout (`put`) and stderr (`note`, `error`),
and data for programs (`data`, `harmless`). Tables are made by `layout`, which escapes each cell with `one_line`.
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import threading
import traceback
import unicodedata
import warnings
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from resnest_cli.text import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from resnest_cli.types import Failure

# Control, format (bidi and zero-width) and surrogate characters, and line and paragraph separators.
_UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
MAX_ERROR = 3000  # characters: more than a screen
_DIM, _RED, _PLAIN = "\x1b[2m", "\x1b[31m\x1b[1m", "\x1b[0m"


def printable(text: str, encoding: str | None = None) -> str:
    """Escape what could move the cursor, hide or reorder text, or has no bytes in `encoding`; keep newlines."""
    if not text.replace("\n", "").isprintable():
        text = "".join(_escape(c) if c != "\n" and unicodedata.category(c) in _UNSAFE else c for c in text)
    encoding = encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def one_line(text: str, encoding: str | None = None) -> str:
    """Escape newlines too, for a name in a table."""
    return printable(text, encoding).replace("\n", "\\n")


def put(text: str) -> None:
    """Write a line to stdout."""
    _write(sys.stdout, f"{printable(text, sys.stdout.encoding)}\n")


def write_lines(out: IO[str], lines: Iterable[str]) -> None:
    """Write lines that `layout` has made harmless."""
    for line in lines:
        _write(out, f"{line}\n")


def data(text: str) -> None:
    """Write data for programs to stdout: UTF-8 in any locale, file names with their own bytes.

    A terminal gets harmless text instead: no program reads it.
    """
    content = text.encode("utf-8", "surrogateescape")
    sys.stdout.flush()
    sys.stdout.buffer.write(_harmless(content) if sys.stdout.isatty() else content)
    sys.stdout.buffer.flush()


def put_json(value: object) -> None:
    """Write a value as JSON to stdout, like `data`."""
    data(json.dumps(value, indent=1) + "\n")


def put_json_items(values: Iterable[object]) -> None:
    """Write values as one JSON array to stdout, each as it comes, like `data`."""
    separator = "[\n"
    for value in values:
        data(separator + json.dumps(value))
        separator = ",\n"
    data("[]\n" if separator == "[\n" else "\n]\n")


@contextmanager
def as_text(out: IO[bytes]) -> Iterator[IO[str]]:
    """Yield a text stream on a binary one, which stays open: UTF-8, with the bytes of names that are not."""
    if out is sys.stdout.buffer:
        yield sys.stdout
        return
    text = io.TextIOWrapper(out, encoding="utf-8", errors="surrogateescape", newline="", write_through=True)
    try:
        yield text
    finally:
        text.detach()  # or the wrapper would close the stream when it is collected


def harmless(out: IO[bytes]) -> IO[bytes]:
    """Return a stream that writes like `data`: on a terminal, rows are made harmless."""
    screen: Any = _Screen(out)
    return screen if out.isatty() else out


def note(text: str, *, dim: bool = False) -> None:
    """Write a line to stderr, above the progress bar if there is one; secrets in URLs are redacted."""
    _note("", text, _DIM if dim else "", "")


def error(text: str) -> None:
    """Write an error message to stderr, like `note`; of a very long one, the middle is left out."""
    if len(text) > MAX_ERROR:  # a long name stands there: the command to type is at the end
        text = f"{text[: MAX_ERROR // 2]} ... {text[-MAX_ERROR // 2 :]}"
    _note("error:", f" {text}", "", _RED)


def note_failure(failure: Failure) -> None:
    """Write an input that failed, and why, on a line of stderr."""
    note(one_line(f"{failure.path}: {failure.type}: {failure.message}"))


def has_color(stream: IO[str]) -> bool:
    """Return whether a stream gets colors, by rich's rules: NO_COLOR, FORCE_COLOR, TERM, a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM", "") not in {"dumb", "unknown"} and os.name != "nt"


def install_hooks() -> None:
    """Write warnings, log records and uncaught exceptions of all libraries with `note`."""
    warnings.showwarning = lambda message, category, *_: note(one_line(f"{category.__name__}: {message}"))
    logging.lastResort = LogHandler(lambda text: note(one_line(text)), logging.WARNING)
    sys.excepthook = lambda _kind, error, _trace: note(_uncaught(error))
    threading.excepthook = lambda failed: note(_uncaught(failed.exc_value))
    sys.unraisablehook = lambda failed: note(_uncaught(failed.exc_value))


class LogHandler(logging.Handler):
    """Pass the message of each log record to a function."""

    def __init__(self, write: Callable[[str], None], level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one record on."""
        self._write(record.getMessage())


class _Screen(io.BufferedIOBase):
    """A terminal that shows whole rows."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out

    def write(self, content: Any, /) -> int:  # noqa: ANN401 - any buffer of bytes
        """Write all of it."""
        self._out.write(_harmless(content))
        return len(content)

    def flush(self) -> None:
        """Show it now."""
        self._out.flush()


def _harmless(content: bytes) -> bytes:
    """Escape bytes for a terminal; tabs stay: they separate cells."""
    text = content.decode("utf-8", "surrogateescape")
    return "\t".join(map(printable, text.split("\t"))).encode()


def _note(label: str, text: str, style: str, label_style: str) -> None:
    text = printable(redact.message(text), sys.stderr.encoding)
    if has_color(sys.stderr):
        label = f"{label_style}{label}{_PLAIN}" if label else ""
        text = f"{style}{text}{_PLAIN}" if style else text
    _write(sys.stderr, f"{label}{text}\n")  # looked up now: a progress bar replaces sys.stderr while it is shown


def _write(stream: IO[str], text: str) -> None:
    stream.write(text)
    stream.flush()


def _uncaught(error: BaseException | None) -> str:
    return "".join(traceback.format_exception(error)).rstrip() if error else "a thread has failed"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
