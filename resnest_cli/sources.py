"""From what the user names to a stream of things to read: files, folders, glob patterns, URLs, "-" for standard input.

In: arguments. Out: `Source` values in the order given, folders sorted by name, one for each mention (nothing is dropped
as a duplicate); a folder or pattern that names no image becomes a `Failure`. Reads no file here: `read` does, one at a
time and late, and refuses what is not a regular file, so that a FIFO or a device cannot hang a job.
"""

from __future__ import annotations

import errno
import glob
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from resnest_cli import urls
from resnest_cli.errors import NoImages, UnreadableInput
from resnest_cli.images import SUFFIXES
from resnest_cli.types import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

STDIN = "-"


def find(inputs: Iterable[str | os.PathLike[str]], *, recursive: bool = True) -> Iterator[Source | Failure]:
    """Turn inputs into sources, lazily.

    A named file is always tried; in folders the suffix decides (`images.SUFFIXES`, any case). Links to folders are
    followed unless they lead back to a folder they are in.
    """
    for named in inputs:
        path = os.fspath(named)
        if Path(path).is_dir():
            yield from _or_failure(path, "this folder", _walk(path, (), recursive=recursive))
        elif urls.is_url(path):
            yield urls.source(path)
        elif glob.has_magic(path) and not os.path.lexists(path):
            yield from _or_failure(path, "this pattern", _expand(path))
        else:
            yield Source(path)


def read(source: Source, *, allow_private: bool = False) -> bytes:
    """Read the bytes of `source`; `allow_private` is for URLs (see `urls.read`).

    Raises:
        UnreadableInput: missing, not permitted, or not a regular file.
        UrlRefused, DownloadFailed: see `urls.read`.
    """
    if source.path == STDIN:
        if sys.stdin is None:
            message = "standard input is closed."
            raise UnreadableInput(message)
        return sys.stdin.buffer.read()
    if source.url or urls.is_url(source.path):
        return urls.read(source.url or source.path, allow_private=allow_private)
    try:
        # O_NONBLOCK: opening a FIFO that nobody writes to would wait for ever. Regular files are not affected.
        descriptor = os.open(source.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                message = "not a regular file: give an image file, or `-` to read one from standard input."
                raise UnreadableInput(message)
            return file.read()
    except (OSError, ValueError) as error:
        raise UnreadableInput(_reason(error)) from error


def _walk(folder: str, inside: tuple[tuple[int, int], ...], *, recursive: bool) -> Iterator[Source | Failure]:
    """Walk one folder in the order of names; `inside` holds the (device, inode) of this folder's ancestors."""
    try:
        status = os.stat(folder)  # noqa: PTH116 - paths stay strings: pathlib would normalise what the user typed
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        yield Failure.of(folder, UnreadableInput(_reason(error)))
        return
    here = (status.st_dev, status.st_ino)
    if here in inside:
        return
    for entry in entries:
        if _is_folder(entry):
            if recursive:
                yield from _walk(entry.path, (*inside, here), recursive=True)
        elif entry.name.lower().endswith(SUFFIXES):
            yield Source(entry.path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _expand(pattern: str) -> Iterator[Source]:
    for path in sorted(glob.iglob(pattern, recursive=True)):  # noqa: PTH207 - as typed, absolute or not
        if not Path(path).is_dir():
            yield Source(path)


def _or_failure(path: str, what: str, found: Iterator[Source | Failure]) -> Iterator[Source | Failure]:
    """Pass on what was found; say so when that was nothing, since each input named has a record."""
    first = next(found, None)
    if first is None:
        yield Failure.of(path, NoImages(f"no images in {what}; the suffixes looked for are {' '.join(SUFFIXES)}."))
        return
    yield first
    yield from found


def _reason(error: OSError | ValueError) -> str:
    """Say what went wrong without the path, which the record already has."""
    if isinstance(error, FileNotFoundError):
        return "no such file."
    if isinstance(error, OSError) and error.errno == errno.ENXIO:
        return "not a regular file: a socket cannot be read as an image."
    return f"{error.strerror if isinstance(error, OSError) else error}."
