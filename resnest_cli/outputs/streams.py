"""Outputs that cannot be read back, so that no job can resume: standard output, a device, a pipe, a table for people.

In: rows as they come. Out: bytes as they come. An error of the output becomes an `OutputError` here: callers cannot
tell it from other errors of the system. For files that can be resumed see `resumable`.
"""

from __future__ import annotations

import io
import os
import stat
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from resnest_cli.errors import OutputError
from resnest_cli.system import files
from resnest_cli.system.paths import look
from resnest_cli.text import terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from resnest_cli.outputs.formats import Format
    from resnest_cli.outputs.job import Follow, Found, Job
    from resnest_cli.outputs.summary import Summary


@dataclass(frozen=True)
class Stream:
    """An output that gets every row once, as it comes.

    Attributes:
        path: its name; None for standard output.
        format: how it holds rows.
        out: where the bytes go.
    """

    path: Path | None
    format: Format
    out: IO[bytes]

    @property
    def is_traced(self) -> bool:
        """Whether it says what made its rows."""
        return self.format.has_facts

    def fill(self, job: Job, found: Found, summary: Summary, follow: Follow) -> None:
        """Write the row of every input."""
        records = follow(summary.watch(job.records(found)), 0)
        out = terminal.harmless(self.out) if self.format.lines else self.out  # a table is made harmless cell by cell
        self.format.write(map(job.to_row, records), out, job.about)
        summary.output = self.path


@contextmanager
def stream(path: Path | None, format: Format, *, overwrite: bool) -> Iterator[Stream]:
    """Open `path`, or standard output if None, as a `Stream`.

    Raises:
        OutputError: see `open_output`.
    """
    with open_output(path, overwrite=overwrite) as out:
        yield Stream(path, format, out)


def is_device(path: Path) -> bool:
    """Return whether a path is there and cannot be read back: a device, a pipe."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


@contextmanager
def open_output(path: Path | None, *, overwrite: bool) -> Iterator[IO[bytes]]:
    """Open `path`, or standard output if None, for bytes that are written once.

    Raises:
        OutputError: the file exists and is not to be replaced, or cannot be written.
    """
    if path is None:
        yield sys.stdout.buffer
        return
    if look(path).is_file and not overwrite:
        message = f"{path} exists; add --overwrite to replace it."
        raise OutputError(message)
    try:
        out = _Checked(path, "wb", opener=lambda *_: _descriptor(path))
    except (OSError, ValueError) as error:
        raise _not_written(path, error) from error
    with io.BufferedWriter(out) as buffered:
        yield buffered


def _descriptor(path: Path) -> int:
    """Open an empty file, or a device or a pipe, which waits for its reader.

    Raises:
        OSError: it cannot be opened, or another user has put a link there.
    """
    if not is_device(path):
        with files.open_for_update(path) as file:
            file.truncate()
            return os.dup(file.fileno())
    return files.open_device(path)


class _Checked(io.FileIO):
    """A file whose errors name it: callers cannot tell them from other errors of the system."""

    def write(self, content: Any, /) -> int:  # noqa: ANN401 - whatever holds bytes
        """Write some of the content, and return how many bytes.

        Raises:
            BrokenPipeError: the reader of the pipe is gone.
            OutputError: the file cannot be written.
        """
        try:
            return super().write(content)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _not_written(self.name, error) from error


def _not_written(path: object, error: Exception) -> OutputError:
    return OutputError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}.")
