"""Files opened safely: never through a link that another user planted, never into a file that has other names.

In: paths. Out: open files, and their bytes. Everything that this package writes is opened here (and renamed by
`atomic`): others may write in the same folder, and put a link where a file of ours will be. Does not know what is in a
file.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import stat
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING

from resnest_cli.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a system says of a call that a disk does not have; all else (EIO, ENOSPC) is a disk that fails.
UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}
_MAX_LINKS = 40  # that lead to one another; Linux has the same limit
# Open the file of this name and not what a link leads to; and do not wait for the writer of a pipe.
_NO_FOLLOW = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
_log = logging.getLogger(__name__)


def resolve(path: Path) -> Path:
    """Return where the file of this name is or would be; links at its end are followed if this user or root made them.

    Raises:
        OSError: a link is another user's, or the links form a circle.
    """
    here = Path(os.path.realpath(path.parent), path.name)
    for _ in range(_MAX_LINKS):
        status = _status(here)
        if status is None or not stat.S_ISLNK(status.st_mode):
            return here
        if status.st_uid not in _trusted_users():
            message = f"{here} is a link that another user made: remove it, or give another name"
            raise PermissionError(errno.EPERM, message)
        target = here.parent / here.readlink()
        here = Path(os.path.realpath(target.parent), target.name)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


@contextlib.contextmanager
def open_regular(path: Path, most: int) -> Iterator[tuple[IO[bytes], int]]:
    """Open a regular file of at most `most` bytes; yield it with its size. A pipe is refused, and not waited for.

    Raises:
        OSError: the file cannot be read, or is something else.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if status.st_size > most:
            raise OSError(errno.EFBIG, f"{status.st_size:,} bytes are too many, {most:,} are allowed")
        yield file, status.st_size


def read(path: Path, most: int) -> bytes:
    """Return the content of a regular file of at most `most` bytes.

    Raises:
        OSError: see `open_regular`.
    """
    with open_regular(path, most) as (file, size):
        return file.read(size)


def open_own(path: Path) -> IO[bytes]:
    """Open a file of ours to read it again: not through another user's link, and not a pipe, which might never end.

    Raises:
        OSError: it cannot be read, or is no file.
    """
    return os.fdopen(_open(path, os.O_RDONLY), "rb")


def create(path: Path) -> IO[bytes]:
    """Create a file for writing, with the permissions of any new file (`tempfile` makes files for their owner only).

    Raises:
        OSError: it cannot be created, or the name is taken.
    """
    return path.open("xb")


def open_for_update(path: Path, mode: int = 0o666) -> io.FileIO:
    """Open a file to change it in place, at its start and unbuffered; a missing one is made with this mode.

    Links are followed as `resolve` says.

    Raises:
        OSError: it cannot be opened for writing, or is no file, or has other names, which would change with it.
    """
    return io.FileIO(_open(path, os.O_RDWR | os.O_CREAT, mode), "r+b")


def open_device(path: Path) -> int:
    """Open a device or a pipe to write to, which waits for a reader; return its descriptor.

    Raises:
        OSError: it cannot be opened, or is a link or a pipe of another user, who would get what is written.
    """
    status = _status(resolve(path))  # where /dev/stdout leads may have no name to open
    if status and stat.S_ISFIFO(status.st_mode) and status.st_uid not in _trusted_users():
        message = f"{path} is a pipe that another user made: remove it, or give another name"
        raise PermissionError(errno.EPERM, message)
    return os.open(path, os.O_WRONLY | getattr(os, "O_NOCTTY", 0))


def make_folder(path: Path) -> None:
    """Make a folder, with its parents, unless it exists; not where another user's link of this name leads.

    Raises:
        OSError: it cannot be made.
    """
    resolve(path).mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def pin(folder: Path) -> Iterator[Path]:
    """Yield a path that stays this very folder's, on Linux, though another folder may get its name.

    Whoever may write in the parent folder can rename a folder, also while we write in it for minutes.

    Raises:
        OSError: the folder cannot be opened.
    """
    if not (hasattr(os, "O_DIRECTORY") and Path("/proc/self/fd").is_dir()):
        yield folder
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        pinned = Path(f"/proc/{os.getpid()}/fd/{descriptor}")
        yield pinned if pinned.is_dir() else folder
    finally:
        os.close(descriptor)


def check_writable(path: Path) -> None:
    """Check, before the work, that `atomic.writer(path)` can write; links are followed.

    Raises:
        OSError: there is no such folder, or `path` is no file.
    """
    target = resolve(path)
    if status := _status(target):
        _check_regular(target, status)
    with tempfile.TemporaryFile(dir=target.parent):
        pass


def copy_mode(path: Path, out: IO[bytes]) -> None:
    """Copy the permissions of the file at `path`, if there is one, to the new file `out` that will replace it.

    If that file is another user's, the new file gets only permissions that any new file has.

    Raises:
        OSError: what is there is no file.
    """
    status = _status(path)
    if status is None:
        return
    _check_regular(path, status)
    if os.chmod in os.supports_fd:  # not by its name, which may be another file's by now
        own = stat.S_IMODE(os.fstat(out.fileno()).st_mode)
        mode = status.st_mode & 0o777
        os.chmod(out.fileno(), mode if status.st_uid in _trusted_users() else mode & own)  # noqa: PTH101 - an open file


def sync(file: IO[bytes]) -> None:
    """Wait until all of the file is on the disk itself.

    Raises:
        OSError: the disk fails. A disk that cannot sync is no failure: a warning says so once.
    """
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        warn_once("this disk cannot tell when data is safe on it: a power cut may cost the last rows")


@contextlib.contextmanager
def as_output_error(path: Path) -> Iterator[None]:
    """Raise an `OSError` of the block as an `OutputError` that names the file or folder."""
    try:
        yield
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror or error}."
        raise OutputError(message) from error


@lru_cache
def warn_once(message: str) -> None:
    """Log a warning the first time in a process."""
    _log.warning("%s", message)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # else it waits for the writer of a pipe


def _status(path: Path) -> os.stat_result | None:
    """Return the status of this name itself, not of what it leads to; None if nothing has the name."""
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _open(path: Path, flags: int, mode: int = 0o666) -> int:
    """Open a regular file, and to write only one without other names; return its descriptor."""
    target = resolve(path)
    descriptor = os.open(target, flags | _NO_FOLLOW, mode)
    try:
        status = os.fstat(descriptor)
        _check_regular(target, status)
        if flags & os.O_RDWR:
            _check_only_name(target, status)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_regular(path: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        message = f"{path} is no file but a device or a pipe"
        raise OSError(errno.EINVAL, message)


def _check_only_name(path: Path, status: os.stat_result) -> None:
    if status.st_nlink > 1:
        message = f"{path} has other names too (hard links), which would change with it: remove it first"
        raise OSError(errno.EMLINK, message)


def _trusted_users() -> set[int]:
    """Return the users whose links are followed: this user, and root, who needs no link to do harm."""
    return {0, os.geteuid()} if hasattr(os, "geteuid") else {0}  # Windows calls every owner 0
