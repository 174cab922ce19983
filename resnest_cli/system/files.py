"""Files that are whole or not there, bytes that are on the disk itself, and one process at a time.

In: paths and bytes. Out: files. Some disks (network shares, FUSE, old NFS) have no locks, or cannot say when bytes are
safe: that is said once, and the work goes on. Does not know what is in a file.

Everything that this package writes is opened here. Others may write in the folder too, and put a link where a file of
ours will be: a link of theirs is never followed, and what has other names (hard links) is never written into.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import logging
import os
import secrets
import stat
import sys
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
_MOST_LINKS = 40  # that lead to one another, as Linux has it
# What is opened is the thing of this name, not what a link leads to; and a pipe that nobody writes to does not wait.
_AS_IT_IS = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
_log = logging.getLogger(__name__)


def place(path: Path) -> Path:
    """Return where the file of this name is, or would be: links at its end are followed, if we or root made them.

    Raises:
        OSError: one of them is another user's, or they lead in a circle.
    """
    here = Path(os.path.realpath(path.parent), path.name)
    for _ in range(_MOST_LINKS):
        seen = _seen(here)
        if seen is None or not stat.S_ISLNK(seen.st_mode):
            return here
        if seen.st_uid not in _ours():
            message = f"{here} is a link that another user made: remove it, or give another name"
            raise PermissionError(errno.EPERM, message)
        target = here.parent / here.readlink()
        here = Path(os.path.realpath(target.parent), target.name)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that gets its name when the block ends well, and is removed if it does not.

    Until then it has a name that no other file has. A link stays, and what it leads to is replaced (see `place`).
    Permissions stay; of another user's file those that a new one has too.

    Raises:
        OSError: it cannot be written.
    """
    target = place(path)
    partial = target.with_name(f"{_prefix(target)}{secrets.token_hex(4)}.partial")
    try:
        with partial.open("xb") as out:  # with the permissions of any new file; those of `tempfile` are for its owner
            yield out
            out.flush()
            take_mode(target, out)
            sync(out)
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def regular(path: Path, most: int) -> Iterator[tuple[IO[bytes], int]]:
    """Open a regular file of at most `most` bytes; give it with its size. A pipe is refused, and not waited for.

    Raises:
        OSError: it cannot be read, or is something else.
    """
    with open(path, "rb", opener=_at_once) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if found.st_size > most:
            raise OSError(errno.EFBIG, f"{found.st_size:,} bytes are too many, {most:,} are allowed")
        yield file, found.st_size


def read(path: Path, most: int) -> bytes:
    """Return the content of a regular file of at most `most` bytes.

    Raises:
        OSError: as `regular`.
    """
    with regular(path, most) as (file, size):
        return file.read(size)


def sha256(path: Path, most: int) -> str:
    """Return the hash of the content of a regular file of at most `most` bytes, without keeping the content.

    Raises:
        OSError: as `regular`.
    """
    digest = hashlib.sha256()
    with regular(path, most) as (file, _):
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def take_mode(path: Path, out: IO[bytes]) -> None:
    """Copy to a new file the permissions of the one at `path` that it is to replace, if there is one.

    Raises:
        OSError: what is there is no file.
    """
    seen = _seen(path)
    if seen is None:
        return
    _check_regular(path, seen)
    if os.chmod in os.supports_fd:  # not by its name, which may be another file's by now
        own = stat.S_IMODE(os.fstat(out.fileno()).st_mode)
        mode = seen.st_mode & 0o777
        os.chmod(out.fileno(), mode if seen.st_uid in _ours() else mode & own)  # noqa: PTH101 - of what is open


def grown(path: Path, mode: int = 0o666) -> io.FileIO:
    """Open a file that grows where it is, made with this mode if it is not there; it is at its start, and unbuffered.

    Links are followed as `place` does.

    Raises:
        OSError: it cannot be opened for writing, or is no file, or has other names, which would change with it.
    """
    return io.FileIO(_open(path, os.O_RDWR | os.O_CREAT, mode), "r+b")


def device(path: Path) -> int:
    """Open a device or a pipe to write to, which waits for a reader, and return its descriptor.

    Raises:
        OSError: it cannot be opened, or is a link or a pipe of another user, who would get what is written.
    """
    seen = _seen(place(path))  # where /dev/stdout leads may have no name to open
    if seen and stat.S_ISFIFO(seen.st_mode) and seen.st_uid not in _ours():
        message = f"{path} is a pipe that another user made: remove it, or give another name"
        raise PermissionError(errno.EPERM, message)
    return os.open(path, os.O_WRONLY | getattr(os, "O_NOCTTY", 0))


def opened(path: Path) -> IO[bytes]:
    """Open a file of ours to read it again; not a pipe, which might never end.

    Raises:
        OSError: it cannot be read, or is no file.
    """
    return os.fdopen(_open(path, os.O_RDONLY), "rb")


def folder(path: Path) -> None:
    """Make a folder, with those above it, unless it is there; not where another user's link of this name leads.

    Raises:
        OSError: it cannot be made.
    """
    place(path).mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def held(path: Path) -> Iterator[Path]:
    """Yield a name for an open folder which stays that folder's, on Linux: another of its name does not take its place.

    Whoever may write in the folder above can rename one, also while we write in it for minutes.

    Raises:
        OSError: it cannot be opened.
    """
    if not sys.platform.startswith("linux"):
        yield path
        return
    number = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        named = Path(f"/proc/{os.getpid()}/fd/{number}")
        yield named if named.is_dir() else path  # where there is no /proc
    finally:
        os.close(number)


def check(path: Path) -> None:
    """See, before the work, whether `atomic(path)` can be written; links are followed.

    Raises:
        OSError: it has no folder, or is no file.
    """
    target = place(path)
    if seen := _seen(target):
        _check_regular(target, seen)
    with tempfile.TemporaryFile(dir=target.parent):
        pass


def sweep(path: Path) -> None:
    """Remove what killed processes left of `atomic(path)`; for who holds a lock that keeps the living out.

    Raises:
        OSError: see `place`.
    """
    target = place(path)
    for partial in target.parent.glob(f"{_prefix(target)}*.partial"):
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
    path = place(path)
    is_new = not path.exists()
    # FileLock makes missing folders, and takes what cannot be written for a held lock; older ones cut what is there.
    with grown(path, mode) as file:
        has_locks = _has_locks(file)
    if has_locks:
        from filelock import FileLock  # noqa: PLC0415 - not needed for what is cached

        return FileLock(path, mode=mode)
    if is_new:
        path.unlink(missing_ok=True)
    _say_once("this disk has no locks: two processes that write the same there are not noticed")
    return None


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe that nobody writes to would be waited for


def _has_locks(file: IO[bytes]) -> bool:
    """Ask the disk for a shared lock: releases of `FileLock` differ in what they make of a disk without any."""
    try:
        import fcntl  # noqa: PLC0415 - not on Windows, whose disks have locks
    except ImportError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:  # held by another process: there are locks
        return error.errno not in _NO_LOCKS
    return True


def _seen(path: Path) -> os.stat_result | None:
    """Look at what has this name itself, not at what it leads to; None if nothing has."""
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _open(path: Path, flags: int, mode: int = 0o666) -> int:
    """Open what must be a file, and one without other names where it is written; return its descriptor."""
    where = place(path)
    descriptor = os.open(where, flags | _AS_IT_IS, mode)
    try:
        seen = os.fstat(descriptor)
        _check_regular(where, seen)
        if flags & os.O_RDWR:
            _check_alone(where, seen)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_regular(path: Path, seen: os.stat_result) -> None:
    if stat.S_ISDIR(seen.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(seen.st_mode):
        message = f"{path} is no file but a device or a pipe"
        raise OSError(errno.EINVAL, message)


def _check_alone(path: Path, seen: os.stat_result) -> None:
    if seen.st_nlink > 1:
        message = f"{path} has other names too (hard links), which would change with it: remove it first"
        raise OSError(errno.EMLINK, message)


def _ours() -> set[int]:
    """Return the users whose links are believed: this one, and root, who needs none to do harm."""
    return {0, os.geteuid()} if hasattr(os, "geteuid") else {0}  # Windows calls every owner 0


def _prefix(path: Path) -> str:
    """Return how partial files of `path` begin: short, however long its name is."""
    return f".resnest-{zlib.crc32(os.fsencode(path.name)):08x}-"


@lru_cache
def _say_once(words: str) -> None:
    _log.warning("%s", words)
