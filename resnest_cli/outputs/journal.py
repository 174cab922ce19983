"""A file that grows by whole rows, whatever ends the process: what a job has done so far.

In: rows, and the format of a line. Out: bytes on the disk, and the rows again. Does not know what made a row, but for
whether it has an error.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from resnest_cli.outputs.rows import About
from resnest_cli.pipeline.stream import MAX_FAILURES_PER_BATCH
from resnest_cli.system import atomic, files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from resnest_cli.outputs.formats import Lines
    from resnest_cli.outputs.rows import Row


class Journal:
    """A file of lines that grows by whole rows, whatever ends the process.

    Args:
        path: the file; made if it is not there, and left as it is until the first call.
        lines: the format of a row.

    Raises:
        OSError: it cannot be opened for writing.
    """

    def __init__(self, path: Path, lines: Lines) -> None:
        self.path = path
        self.lines = lines
        # Unbuffered: a row is in the system's hands when `append` returns, and nothing is written later unasked.
        self._file = files.open_for_update(path)
        self.size = 0
        self.about = About(0, {})

    def start(self, about: About) -> None:
        """Begin anew."""
        self.about = about
        self.cut(0)
        self._put(self.lines.header(about))

    def recover(self, about: About, batch: int) -> int:
        """Keep the rows up to the last whole batch, cut the rest, and return how many are kept.

        Whole batches, because some engines give other last digits to an image in a batch of another size. With a batch
        of 0, all rows are kept.
        """
        self.about = about
        kept, count, end, images, failures = 0, 0, len(self.lines.header(about)), 0, 0
        size = end
        for text, row in self.scan():
            count, end = count + 1, end + len(text)
            images, failures = images + ("error" not in row), failures + ("error" in row)
            if images >= batch or failures >= MAX_FAILURES_PER_BATCH:
                kept, size, images, failures = count, end, 0, 0
        if not kept:
            self.start(about)
        else:
            self.cut(size)
        return kept

    def append(self, row: Row) -> None:
        """Add a row; if that fails, the rows before it stay whole.

        Raises:
            OSError: the disk is full, or worse.
        """
        self._put(self.lines.encode(row, self.about))

    def keep(self, wanted: Callable[[int], bool]) -> None:
        """Drop the rows whose number, from 0, is not wanted: the file is replaced by a new one, or stays as it was.

        Raises:
            OSError: it cannot be written.
        """
        with atomic.writer(self.path) as out:
            out.write(self.lines.header(self.about))
            out.writelines(text for number, (text, _) in enumerate(self.scan()) if wanted(number))
        self._file.close()
        self._file = files.open_for_update(self.path)
        self.size = self._file.seek(0, os.SEEK_END)

    def rows(self) -> Iterator[Row]:
        """Read the rows again, one by one."""
        return (row for _, row in self.scan())

    def cut(self, size: int) -> None:
        """Drop what comes after `size` bytes."""
        if self._file.seek(0, os.SEEK_END) != size:  # else the time of the last change would change
            self._file.truncate(size)
        self._file.seek(size)
        self.size = size

    def sync(self) -> None:
        """Wait until all is on the disk itself."""
        files.sync(self._file)

    def close(self) -> None:
        """Write everything to the disk and close the file."""
        with self._file:
            self.sync()

    def _put(self, text: bytes) -> None:
        rest = memoryview(text)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except BaseException:  # a signal too: it can come after half a row
            with contextlib.suppress(OSError):
                self.cut(self.size)
            raise
        self.size += len(text)

    def scan(self) -> Iterator[tuple[bytes, Row]]:
        """Read rows, each with its text, up to the end, or to what is torn."""
        with files.open_own(self.path) as file:
            if not os.path.samestat(os.fstat(file.fileno()), os.fstat(self._file.fileno())):
                message = f"{self.path} is another file than it was"
                raise OSError(errno.ESTALE, message)
            header = self.lines.header(self.about)
            if file.read(len(header)) != header:
                return
            text = b""
            for line in file:
                text += line
                if not (line.endswith(b"\n") and self.lines.is_whole(text)):
                    continue
                try:
                    yield text, self.lines.decode(text)
                except ValueError:
                    return
                text = b""
