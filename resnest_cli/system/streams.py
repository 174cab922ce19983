"""The standard streams: a failed write to them raises an error of its own.

In: `sys.stdout` and `sys.stderr`, which `install` wraps, so that every writer is covered: click, rich, a format's.
Out: a failed write to stdout ends the command; a failed write to stderr loses the message, and costs no row.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from typing import Any

from resnest_cli.errors import OutputError


class ReaderGone(Exception):
    """The reader of standard output stopped reading (`| head -1`)."""


class _Raw(io.RawIOBase):
    """The raw stream under a text stream."""

    def __init__(self, stream: Any) -> None:  # noqa: ANN401 - a `TextIOWrapper`, or what stands for one
        self._stream = stream  # else it would be collected, and closed
        self._raw = getattr(stream.buffer, "raw", stream.buffer)  # `python -u` has no buffer

    def write(self, content: Any, /) -> int:  # noqa: ANN401 - whatever holds bytes
        """Write some of the bytes."""
        while (written := self._raw.write(content)) is None:  # another process made the shared pipe non-blocking
            select.select([], [self._raw], [])
        return int(written)

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the descriptor."""
        return int(self._raw.fileno())

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return bool(self._raw.isatty())


class _Output(_Raw):
    """Standard output."""

    def write(self, content: Any, /) -> int:  # noqa: ANN401 - whatever holds bytes
        """Write some of the bytes.

        Raises:
            ReaderGone: the reader has closed the pipe.
            OutputError: the write failed.
        """
        try:
            return super().write(content)
        except BrokenPipeError as error:
            raise ReaderGone from error
        except (OSError, ValueError) as error:
            message = f"the output cannot be written: {getattr(error, 'strerror', None) or error}."
            raise OutputError(message) from error


class _Messages(_Raw):
    """Standard error."""

    def write(self, content: Any, /) -> int:  # noqa: ANN401 - whatever holds bytes
        """Write some of the bytes, or drop them: a full disk under a log must not cost answers."""
        try:
            return super().write(content)
        except (OSError, ValueError):
            return len(content)


def install() -> None:
    """Wrap the standard streams.

    A stream that the caller closed is opened again, so that no file gets its descriptor: standard output for reading,
    so that a write fails like one to any other unwritable file.
    """
    sys.stdout = _over(_Output, sys.stdout or os.fdopen(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8"))
    sys.stderr = _over(_Messages, sys.stderr or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))


def abandon_stdout() -> None:
    """Point stdout at the null device: the interpreter's flush at exit would fail a second time."""
    with contextlib.suppress(OSError, ValueError):  # stdout may be closed, or no file at all
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _over(kind: type[_Raw], old: Any) -> io.TextIOWrapper:  # noqa: ANN401 - see _Raw
    return io.TextIOWrapper(
        io.BufferedWriter(kind(old)),
        encoding=old.encoding,
        errors="backslashreplace",  # a name that the encoding lacks must not end a job
        line_buffering=old.line_buffering,
        write_through=old.write_through,
    )
