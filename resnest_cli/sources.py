"""From what the user names to a stream of things to read: files, folders, patterns, URLs, buckets, "-" for stdin.

In: arguments, and lists of names (`listed`). Out: `Source` values in the order given, folders sorted by name, one for
each mention (nothing is dropped as a duplicate); a folder or pattern that names no image becomes a `Failure`. Reads no
image here: `read` does, one at a time and late, and refuses what is not a regular file, so that a FIFO or a device
cannot hang a job. All is lazy: what is held is a folder's names, which have to be sorted, and a pattern's matches.
"""

from __future__ import annotations

import errno
import glob
import os
import stat
import sys
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from resnest_cli import buckets, urls
from resnest_cli.errors import ImageTooLarge, NoImages, ResnestError, UnreadableInput
from resnest_cli.images import SUFFIXES
from resnest_cli.options import MAX_PIXELS
from resnest_cli.types import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

STDIN = "-"
MAX_BYTES = 4 * MAX_PIXELS
CHUNK_BYTES = 1 << 16


def find(inputs: Iterable[str | os.PathLike[str]], *, recursive: bool = True) -> Iterator[Source | Failure]:
    """Turn inputs into sources, lazily.

    A named file is always tried; in folders the suffix decides (`images.SUFFIXES`, any case). Links to folders are
    followed unless they lead back to a folder they are in.
    """
    for named in inputs:
        path = os.fspath(named)
        if Path(path).is_dir():
            yield from _or_failure(path, "this folder", _walk(path, recursive=recursive))
        elif buckets.is_bucket(path):
            yield from _or_failure(path, "this bucket or prefix", buckets.find(path, recursive=recursive))
        elif urls.is_url(path):
            yield urls.source(path)
        elif glob.has_magic(path) and not os.path.lexists(path):
            yield from _or_failure(path, "this pattern", _expand(path))
        else:
            yield Source(path)


def listed(file: IO[bytes], *, null: bool = False) -> Iterator[str]:
    """Read names from a list, lazily: one a line (ended as on Unix or Windows), or with `null` up to a NUL byte.

    Their bytes are kept, as surrogate escapes where they are not valid text. Empty ones are skipped. The name "-" is
    that of a file, since standard input is no image if it is a list.

    Raises:
        ResnestError: the list cannot be read to its end.
    """
    for name in _split(file, b"\0" if null else b"\n"):
        path = os.fsdecode(name if null else name.removesuffix(b"\r"))
        if path:
            yield f"./{path}" if path == STDIN else path


def count(found: Iterable[Source | Failure], done: int = 0) -> Callable[[], int | None]:
    """Count sources in the background, so that nobody waits for it.

    What is returned gives the number of those after the first `done`, once it is known.
    """
    counted: list[int] = []
    threading.Thread(target=lambda: counted.append(sum(1 for _ in found) - done), daemon=True).start()
    return lambda: counted[0] if counted else None


def read(source: Source, *, max_bytes: int = MAX_BYTES, allow_private: bool = False) -> bytes:
    """Read the bytes of `source`; `allow_private` is for URLs (see `urls.read`).

    Raises:
        UnreadableInput: missing, not permitted, or not a regular file.
        ImageTooLarge: more than `max_bytes`.
        UrlRefused, DownloadFailed: see `urls.read`.
    """
    if source.path == STDIN:
        if sys.stdin is None:
            message = "standard input is closed."
            raise UnreadableInput(message)
        return _read_within(sys.stdin.buffer, max_bytes)
    if buckets.is_bucket(source.path):
        return buckets.read(source.path, max_bytes)
    if source.url or urls.is_url(source.path):
        return urls.read(source.url or source.path, allow_private=allow_private)
    try:
        # O_NONBLOCK: opening a FIFO that nobody writes to would wait for ever. Regular files are not affected.
        descriptor = os.open(source.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                message = "not a regular file: give an image file, or `-` to read one from standard input."
                raise UnreadableInput(message)
            _check_size(status.st_size, max_bytes)
            return file.read()
    except (OSError, ValueError) as error:
        raise UnreadableInput(_reason(error)) from error


def _split(file: IO[bytes], separator: bytes) -> Iterator[bytes]:
    rest = b""
    while chunk := _more(file):
        *names, rest = (rest + chunk).split(separator)
        yield from names
    yield rest


def _more(file: IO[bytes]) -> bytes:
    """Read what there is, without waiting for more."""
    try:
        chunk: bytes = file.read1(CHUNK_BYTES)  # type: ignore[attr-defined] # every buffered reader has it
    except (OSError, ValueError) as error:
        raise ResnestError(f"the list of inputs cannot be read to its end: {_reason(error)}") from error
    return chunk


def _read_within(file: IO[bytes], limit: int) -> bytes:
    """Read to the end, but not endlessly: a device or a program may feed it."""
    content = bytearray()
    while chunk := file.read(CHUNK_BYTES):
        content += chunk
        _check_size(len(content), limit)
    return bytes(content)


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise ImageTooLarge(f"the file has more than {limit:,} bytes, which is the limit ({size:,}); see --max-pixels.")


def _walk(folder: str, *, recursive: bool) -> Iterator[Source | Failure]:
    """Walk a folder in the order of names, a folder's content where its name stands; never into an ancestor of itself.

    Holds the names of one folder at each level, since these are to be sorted, and nothing else.
    """
    levels = [_Level(iter([folder]), frozenset([folder]), frozenset())]
    while levels:
        level = levels[-1]
        path = next(level.paths, None)
        if path is None:
            levels.pop()
        elif path not in level.folders:
            yield Source(path)
        elif recursive or len(levels) == 1:
            try:
                inner = _list(path, level.inside)
            except OSError as error:
                yield Failure.of(path, UnreadableInput(_reason(error)))
            else:
                levels.append(inner)


class _Level(NamedTuple):
    """A folder that is being walked: what is left of it, which of that are folders, and itself and its ancestors."""

    paths: Iterator[str]
    folders: frozenset[str]
    inside: frozenset[tuple[int, int]]  # device and inode of each


def _list(folder: str, inside: frozenset[tuple[int, int]]) -> _Level:
    """List the images and folders in a folder; nothing if it is one of those it is inside of."""
    status = os.stat(folder)  # noqa: PTH116 - paths stay strings: pathlib would normalise what the user typed
    here = (status.st_dev, status.st_ino)
    names: list[str] = []
    folders: set[str] = set()
    if here not in inside:
        with os.scandir(folder) as scan:
            for entry in scan:
                if _is_folder(entry):
                    folders.add(entry.name)
                    names.append(entry.name)
                elif entry.name.lower().endswith(SUFFIXES):
                    names.append(entry.name)
    names.sort()
    names.reverse()
    return _Level(_joined(folder, names), frozenset(os.path.join(folder, name) for name in folders), inside | {here})  # noqa: PTH118 - strings


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _joined(folder: str, names: list[str]) -> Iterator[str]:
    """Give the paths of names, which are in reverse order and are forgotten as they are given."""
    while names:
        yield os.path.join(folder, names.pop())  # noqa: PTH118 - strings


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
