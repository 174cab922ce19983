"""Files that are whole or not there, bytes that are on the disk itself, and one process at a time.

In: paths and bytes. Out: files. Some disks (network shares, FUSE, old NFS) have no locks, or cannot say when bytes are
safe: that is said once, and the work goes on. Does not know what is in a file.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
import shutil
import tempfile
import zlib
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING

from resnest_cli.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from filelock import BaseFileLock

# What a system says of a call that a disk does not have; all else (EIO, ENOSPC) is a disk that fails.
_NOT_THERE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}
_NO_LOCKS = _NOT_THERE | {errno.ENOLCK, errno.ENOTTY}
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that gets its name when the block ends well, and is removed if it does not.

    Until then it has a name that no other file has. A link stays, and what it leads to is replaced; permissions stay.

    Raises:
        OSError: it cannot be written.
    """
    place = Path(os.path.realpath(path))
    partial = place.with_name(f"{_prefix(place)}{secrets.token_hex(4)}.partial")
    try:
        with partial.open("xb") as out:  # with the permissions of any new file; those of `tempfile` are for its owner
            yield out
            out.flush()
            sync(out)
        with contextlib.suppress(FileNotFoundError):
            shutil.copymode(place, partial)
        partial.replace(place)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def check(path: Path) -> None:
    """See, before the work, whether `atomic(path)` has a folder to write in; links are followed.

    Raises:
        OSError: it has none.
    """
    place = Path(os.path.realpath(path))
    with contextlib.suppress(FileNotFoundError):
        place.stat()  # a link that leads back to itself
    with tempfile.TemporaryFile(dir=place.parent):
        pass


def sweep(path: Path) -> None:
    """Remove what killed processes left of `atomic(path)`; for who holds a lock that keeps the living out."""
    place = Path(os.path.realpath(path))
    for partial in place.parent.glob(f"{_prefix(place)}*.partial"):
        partial.unlink(missing_ok=True)


def checksum(path: Path) -> int:
    """Return the CRC-32 of a file's content: it finds damage, at 4 GB/s, which is as fast as reading.

    Raises:
        OSError: it cannot be read.
    """
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            value = zlib.crc32(chunk, value)
    return value


def sync(file: IO[bytes]) -> None:
    """Wait until all of the file is on the disk itself.

    Raises:
        OSError: the disk fails. One that cannot tell is no failure; it is said once.
    """
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
        _say_once("this disk cannot tell when data is safe on it: a power cut may cost the last rows")


@contextlib.contextmanager
def as_output_error(path: Path) -> Iterator[None]:
    """Turn what the system refuses into an `OutputError` that names the file or folder."""
    try:
        yield
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror or error}."
        raise OutputError(message) from error


def lock(path: Path, *, mode: int = 0o644) -> BaseFileLock | None:
    """Return the lock of the file at `path`, which is made: not yet held, and free when its holder is gone.

    None where the disk has no locks; that is said once.

    Raises:
        OSError: the file cannot be made.
    """
    is_new = not path.exists()
    path.open("ab").close()  # FileLock would make missing folders, and take what cannot be written for a held lock
    if _has_locks(path):
        from filelock import FileLock  # noqa: PLC0415 - not needed for what is cached

        return FileLock(path, mode=mode)
    if is_new:
        path.unlink(missing_ok=True)
    _say_once("this disk has no locks: two processes that write the same there are not noticed")
    return None


def _has_locks(path: Path) -> bool:
    """Ask the disk for a shared lock: releases of `FileLock` differ in what they make of a disk without any."""
    try:
        import fcntl  # noqa: PLC0415 - not on Windows, whose disks have locks
    except ImportError:
        return True
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:  # held by another process: there are locks
            return error.errno not in _NO_LOCKS
    return True


def _prefix(path: Path) -> str:
    """Return how partial files of `path` begin: short, however long its name is."""
    return f".resnest-{zlib.crc32(os.fsencode(path.name)):08x}-"


@lru_cache
def _say_once(words: str) -> None:
    _log.warning("%s", words)
