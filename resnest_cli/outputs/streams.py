"""Outputs that nothing comes back to: standard output, a device, a pipe, a table for a person. None can be resumed.

In: rows as they come. Out: bytes, as they come. A fault of the output is told in our words here, since nobody above can
tell it from others of the system. For files that can be resumed see `jobs`.
"""

from __future__ import annotations

import io
import os
import stat
import sys
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from resnest_cli.errors import OutputError
from resnest_cli.system import files
from resnest_cli.system.paths import look

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from resnest_cli.outputs.formats import Writer
    from resnest_cli.outputs.rows import About, Row
    from resnest_cli.types import Failure, Source


class Stream:
    """What `jobs.Output` is for a file, for an output that nothing comes back to."""

    done = 0
    complete = False

    def __init__(self, out: IO[bytes], write: Writer) -> None:
        self._out = out
        self._write = write

    def begin(self, about: About, fingerprint: Mapping[str, Any], batch: int) -> None:  # noqa: ARG002 - as `Output` has it
        """Take note of what the writer needs to know."""
        self._about = about

    def rest(
        self,
        found: Iterable[Source | Failure],
        seen: Callable[[str | None], None],  # noqa: ARG002 - as `Output` has it
    ) -> Iterable[Source | Failure]:
        """Skip nothing."""
        return found

    def write(self, rows: Iterable[Row]) -> None:
        """Write every row as it comes."""
        self._write(rows, self._out, self._about)

    def finish(self) -> None:
        """Leave it as it is."""


@contextmanager
def stream(path: Path | None, write: Writer, *, overwrite: bool) -> Iterator[Stream]:
    """Open `path`, or standard output if None, for rows that nothing comes back to.

    Raises:
        OutputError: see `open_output`.
    """
    with open_output(path, overwrite=overwrite) as out:
        yield Stream(out, write)


def is_device(path: Path) -> bool:
    """Tell whether it is there and can be written to, but holds nothing to come back to: a device, a pipe."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


@contextmanager
def open_output(path: Path | None, *, overwrite: bool) -> Iterator[IO[bytes]]:
    """Open `path`, or stdout if None, for what cannot be resumed.

    Raises:
        OutputError: it exists and is not to be replaced, or cannot be written.
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
    """A file that says what is wrong with it: nobody above can tell its faults from others of the system."""

    def write(self, content: Any, /) -> int:  # noqa: ANN401 - whatever holds bytes
        """Write some of it.

        Raises:
            BrokenPipeError: it is a pipe that nobody reads any more.
            OutputError: it cannot be written.
        """
        try:
            return super().write(content)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _not_written(self.name, error) from error


def _not_written(path: object, error: Exception) -> OutputError:
    return OutputError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}.")
