"""The inputs that a user names: arguments, and a list of more names.

In: names of files, folders, URLs and patterns, and the name of a list. Out: sources, in order. Does not read images.
"""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING

from resnest_cli.errors import UsageError
from resnest_cli.inputs import buckets
from resnest_cli.inputs.columns import index
from resnest_cli.inputs.find import count_sources, find_sources
from resnest_cli.inputs.lists import listed
from resnest_cli.inputs.selection import LeftOut
from resnest_cli.system.paths import Kind, look, reason
from resnest_cli.types import STDIN, Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resnest_cli.inputs.watching import Watch
    from resnest_cli.types import Source


@dataclass(frozen=True)
class Inputs:
    """The names of the inputs of a job.

    Attributes:
        names: files, folders, patterns, URLs, or "-" for an image on standard input.
        files_from: a list of more names (.parquet: its column path), or "-" for a list on standard input.
        null: a NUL byte ends each name in the list, instead of a newline.
        recursive: look into folders of folders.
        exclude: patterns of names and paths to leave out of folders.
    """

    names: tuple[str, ...]
    files_from: str | None = None
    null: bool = False
    recursive: bool = True
    exclude: tuple[str, ...] = ()

    @property
    def may_be_many(self) -> bool:
        """Whether there may be more than one image."""
        return self.files_from is not None or len(self.names) > 1 or look(self.names[0]).is_folder

    @property
    def are_live(self) -> bool:
        """Whether names come while the job runs: the list is no file."""
        if self.files_from == STDIN:
            return not _is_file(sys.stdin)
        return self.files_from is not None and look(self.files_from).kind is Kind.OTHER

    def find(self) -> Iterator[Source | Failure]:
        """Yield the sources: of the names first, then of the list, while it is read.

        Raises:
            UsageError: at once: the list cannot be read, or object stores need an extra that is not installed.
        """
        if any(map(buckets.is_bucket, self.names)):
            buckets.require()
        return find_sources(self._all_names(), recursive=self.recursive, exclude=self.exclude)

    def watch(self) -> Watch:
        """Watch the folders named.

        Raises:
            UsageError: something else is named.
        """
        if self.files_from is not None:
            raise UsageError("--watch: it goes with folders, not with --files-from.")
        from resnest_cli.inputs.watching import Watch  # noqa: PLC0415 - one command needs it

        return Watch(self.names, recursive=self.recursive, exclude=self.exclude)

    def count(self, done: int = 0) -> Callable[[], int | None]:
        """Count in the background what follows the first `done` sources; None: unknown, as for a list in a pipe."""
        if self.files_from == STDIN or (self.files_from is not None and not look(self.files_from).is_file):
            return lambda: None
        again = find_sources(self._all_names(), recursive=self.recursive, exclude=self.exclude, left_out=LeftOut())
        return count_sources(again, done)

    def _all_names(self) -> Iterator[str | Failure]:
        if self.files_from is None:
            if self.null:
                raise UsageError("-0 tells how a list is read: name it with --files-from.")
            return iter(self.names)
        if self.files_from == STDIN and STDIN in self.names:
            raise UsageError("- and --files-from - exclude each other: standard input is an image, or the list.")
        return chain(self.names, _or_failure(self.files_from, self._list(self.files_from)))

    def _list(self, path: str) -> Iterator[str]:
        if path.endswith(".parquet"):
            return index(path)
        names = _read_list(path, null=self.null)
        next(names)  # opens the file
        return names


def _or_failure(path: str, names: Iterator[str]) -> Iterator[str | Failure]:
    """Yield the names of a list; an empty list is an input without images, like an empty folder."""
    first = next(names, None)
    if first is None:
        yield Failure(path, "NoImages", "the list of inputs names nothing.")
        return
    yield first
    yield from names


def _read_list(path: str, *, null: bool) -> Iterator[str]:
    """Yield "" once the list is open, then its names; close it at the end.

    Raises:
        UsageError: there is no such file, or it cannot be read.
    """
    if path == STDIN:
        if sys.stdin is None:
            raise UsageError("--files-from -: standard input is closed.")
        yield ""
        yield from listed(sys.stdin.buffer, null=null)
        return
    with _open(path) as file:
        yield ""
        yield from listed(file, null=null)


def _is_file(stream: IO[str]) -> bool:
    """Return whether a stream reads a regular file, or something of the program itself."""
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (AttributeError, OSError, ValueError):
        return True


def _open(path: str) -> IO[bytes]:
    try:
        return Path(path).open("rb")
    except (OSError, ValueError) as error:
        raise UsageError(f"--files-from {path}: the list cannot be read: {reason(error)}") from error
