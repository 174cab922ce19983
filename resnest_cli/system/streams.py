"""The standard streams: a fault of the output is told apart, here, from whatever else the system refuses.

`install` puts itself under `sys.stdout` and `sys.stderr`, so it does not matter who writes: click, rich, a format's
writer. What cannot be written to stdout ends the command; what cannot be said on stderr is lost, and the rows are not.
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
    """Whoever read standard output (`| head -1`) has what it wanted."""


class _Raw(io.RawIOBase):
    """The raw stream under another one, whose `write` can fail in words."""

    def __init__(self, stream: Any) -> None:  # noqa: ANN401 - a `TextIOWrapper`, or what stands for one
        self._stream = stream  # or it would be collected, and closed
        self._raw = getattr(stream.buffer, "raw", stream.buffer)  # with `python -u` there is no other

    def write(self, content: Any, /) -> int:  # noqa: ANN401 - whatever holds bytes
        """Write some of it."""
        while (written := self._raw.write(content)) is None:  # whoever shares the pipe has made it not wait
            select.select([], [self._raw], [])
        return int(written)

    def writable(self) -> bool:
        """Say yes."""
        return True

    def fileno(self) -> int:
        """Return the descriptor."""
        return int(self._raw.fileno())

    def isatty(self) -> bool:
        """Tell whether it is a terminal."""
        return bool(self._raw.isatty())


class _Output(_Raw):
    """Standard output."""

    def write(self, content: Any, /) -> int:  # noqa: ANN401 - whatever holds bytes
        """Write some of it.

        Raises:
            ReaderGone: nobody reads any more.
            OutputError: it cannot be written.
        """
        try:
            return super().write(content)
        except BrokenPipeError as error:
            raise ReaderGone from error
        except (OSError, ValueError) as error:
            message = f"the output cannot be written: {getattr(error, 'strerror', None) or error}."
            raise OutputError(message) from error


class _Words(_Raw):
    """Standard error."""

    def write(self, content: Any, /) -> int:  # noqa: ANN401 - whatever holds bytes
        """Write some of it, if that can be done: a full disk under a log is no reason to lose answers."""
        try:
            return super().write(content)
        except (OSError, ValueError):
            return len(content)


def install() -> None:
    """Write to the standard streams through these from now on.

    One that the caller has closed is opened again, so that no file gets its number: standard output for reading, so
    that writing fails as to any other file that cannot be written.
    """
    sys.stdout = _over(_Output, sys.stdout or os.fdopen(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8"))
    sys.stderr = _over(_Words, sys.stderr or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))


def abandon_stdout() -> None:
    """Let the interpreter's own flush at exit go nowhere, instead of failing a second time."""
    with contextlib.suppress(OSError, ValueError):  # stdout may be closed, or no file at all
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _over(kind: type[_Raw], old: Any) -> io.TextIOWrapper:  # noqa: ANN401 - see _Raw
    return io.TextIOWrapper(
        io.BufferedWriter(kind(old)),
        encoding=old.encoding,
        errors="backslashreplace",  # a name that the screen cannot show must not end a job
        line_buffering=old.line_buffering,
        write_through=old.write_through,
    )
