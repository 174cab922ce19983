"""Locks between processes: one holder per lock file, freed by the system when its holder ends.

In: the path of a lock file, and what to do while another process holds it. Out: a block that runs under the lock. Some
disks (network shares, FUSE, old NFS) have no locks: a warning says so once, and the work continues without. Does not
know what a lock protects.
"""

from __future__ import annotations

import contextlib
import errno
from typing import IO, TYPE_CHECKING, TypeAlias

from resnest_cli.system import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from filelock import BaseFileLock

    Acquire: TypeAlias = Callable[[float], bool]  # waits so many seconds (below 0: for ever); whether the lock is held

_UNSUPPORTED = files.UNSUPPORTED | {errno.ENOLCK, errno.ENOTTY}


@contextlib.contextmanager
def hold(path: Path, busy: Callable[[Acquire], None], *, mode: int = 0o644) -> Iterator[bool]:
    """Make the lock file `path` and hold its lock; yield whether it is held (False on a disk without locks).

    Args:
        path: the lock file; its folder exists.
        busy: called where another process holds the lock: it waits with the function that it is given, or raises.
        mode: permissions of a new lock file.

    Raises:
        OSError: the file cannot be made; and whatever `busy` raises.
    """
    lock = _lock(path, mode)
    if lock is None:
        yield False
        return
    if not _acquire(lock, 0):
        busy(lambda seconds: _acquire(lock, seconds))
    try:
        yield True
    finally:
        lock.release()


def try_own(file: IO[bytes]) -> bool:
    """Lock an open file until it is closed; return False if another process holds its lock.

    Where there are no locks it is True: Windows refuses to remove or rename a file that is open, by itself.
    """
    try:
        import fcntl  # noqa: PLC0415 - not on Windows
    except ImportError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in {errno.EWOULDBLOCK, errno.EACCES}
    return True


def _acquire(lock: BaseFileLock, seconds: float) -> bool:
    from filelock import Timeout  # noqa: PLC0415 - not needed for what is cached

    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        return False
    return True


def _lock(path: Path, mode: int) -> BaseFileLock | None:
    """Return the lock, not yet held; None where the disk has no locks."""
    path = files.resolve(path)
    is_new = not path.exists()
    # FileLock makes missing folders, and takes what cannot be written for a held lock; older ones cut what is there.
    with files.open_for_update(path, mode) as file:
        has_locks = _has_locks(file)
    if has_locks:
        from filelock import FileLock  # noqa: PLC0415 - not needed for what is cached

        return FileLock(path, mode=mode)
    if is_new:
        path.unlink(missing_ok=True)
    files.warn_once("this disk has no locks: two processes that write the same there are not noticed")
    return None


def _has_locks(file: IO[bytes]) -> bool:
    """Ask the disk for a shared lock: releases of `FileLock` differ in what they make of a disk without any."""
    try:
        import fcntl  # noqa: PLC0415 - not on Windows, whose disks have locks
    except ImportError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:  # another process holds it: there are locks
        return error.errno not in _UNSUPPORTED
    return True
