"""Files under names that nothing has: copied, renamed, linked. What is there is never replaced, whoever else writes.

In: paths of files. Out: the file under its new name, or an `OSError` and nothing new. A copy has a partial name, which
the caller chooses and can remove after a kill, until it is complete. Does not know why a file goes where.
"""

from __future__ import annotations

import ctypes
import errno
import filecmp
import os
import shutil
import stat
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, TYPE_CHECKING

from resnest_cli.system import files

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

CHUNK = 1 << 20  # bytes read at a time
_COARSEST_NS = 2_000_000_000  # FAT keeps every other second
_HERE, _NO_REPLACE = -100, 1  # Linux: AT_FDCWD and RENAME_NOREPLACE


@dataclass(frozen=True, slots=True)
class Traits:
    """What a copy keeps beside the bytes, and what tells that a file was changed: bytes, nanoseconds, permissions."""

    size: int
    mtime_ns: int
    mode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Traits:
        """Return the traits of a file."""
        return cls(status.st_size, status.st_mtime_ns, stat.S_IMODE(status.st_mode))

    def fit(self, status: os.stat_result) -> bool:
        """Return whether it is a regular file of this size and time, which a disk may keep rounded down."""
        is_same_time = 0 <= self.mtime_ns - status.st_mtime_ns < _COARSEST_NS
        return stat.S_ISREG(status.st_mode) and status.st_size == self.size and is_same_time


def rename(source: Path, target: Path) -> None:
    """Rename a file within a disk.

    Raises:
        FileExistsError: something has the name.
        OSError: it cannot be renamed; `errno.EXDEV`: `target` is on another disk.
    """
    if os.name == "nt":  # never replaces
        source.rename(target)
    elif not _renamed_by_linux(source, target):  # macOS, and network drives, which have no such call
        os.link(source, target, follow_symlinks=False)
        _remove_old_name(source, target)


def copy(source: Path, target: Path, partial: Path, traits: Traits) -> None:
    """Copy a file's bytes, and give it these traits.

    Args:
        source: the file; links are followed.
        target: the new name.
        partial: a name in the folder of `target`; gone at the end, whatever happens but a kill.
        traits: of the source.

    Raises:
        FileExistsError: something has the name.
        OSError: the disk is full, the source has another size by now, or worse.
    """
    _copy(source, target, partial, traits, is_synced=False)


def move(source: Path, target: Path, partial: Path, traits: Traits) -> None:
    """Rename a file; to another disk, copy it, and remove it once the copy is on that disk and has the same bytes.

    Args:
        source: a file that is no link.
        target: the new name.
        partial: a name in the folder of `target`; gone at the end, whatever happens but a kill.
        traits: of the source.

    Raises:
        FileExistsError: something has the name.
        OSError: it cannot be moved; the source is as it was.
    """
    try:
        rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _move_across(source, target, partial, traits)


def link(source: Path, target: Path) -> None:
    """Make a hard link to a file, or to what it leads to.

    Raises:
        FileExistsError: something has the name.
        OSError: it cannot be made; `errno.EXDEV`: `target` is on another disk.
    """
    os.link(os.path.realpath(source), target)


def is_same(one: Path, other: Path) -> bool:
    """Return whether two files have the same bytes.

    Raises:
        OSError: one cannot be read.
    """
    filecmp.clear_cache()  # it goes by size and time
    return filecmp.cmp(one, other, shallow=False)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where a system can (Windows cannot).

    Raises:
        OSError: the disk fails.
    """
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in files.UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)


def _move_across(source: Path, target: Path, partial: Path, traits: Traits) -> None:
    _copy(source, target, partial, traits, is_synced=True)
    try:
        sync_folder(target.parent)
        _compare(source, target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    _remove_old_name(source, target)


def _compare(source: Path, target: Path) -> None:
    if not is_same(source, target):
        raise OSError(errno.EIO, "the copy has other bytes than the file")


def _remove_old_name(source: Path, target: Path) -> None:
    """Remove the old name of a file that has its new name, or the new one; never both: that would be the file."""
    try:
        source.unlink()
    except OSError:
        if os.path.lexists(source):
            target.unlink(missing_ok=True)
        raise


def _copy(source: Path, target: Path, partial: Path, traits: Traits, *, is_synced: bool) -> None:
    out = files.create(partial)
    try:
        with out:
            _fill(out, partial, source, traits)
            if is_synced:
                files.sync(out)
        rename(partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _fill(out: IO[bytes], partial: Path, source: Path, traits: Traits) -> None:
    with files.open_regular(source, sys.maxsize) as (file, _):
        shutil.copyfileobj(file, out, CHUNK)
        out.flush()
        if not out.tell() == os.fstat(file.fileno()).st_size == traits.size:
            raise OSError(errno.EAGAIN, "the file changed while it was copied")
        read_at = os.fstat(file.fileno()).st_atime_ns
    place: Any = out.fileno() if os.utime in os.supports_fd else partial  # not by a name, where the system can
    os.chmod(place, traits.mode)  # noqa: PTH101 - an open file
    os.utime(place, ns=(read_at, traits.mtime_ns))


def _renamed_by_linux(source: Path, target: Path) -> bool:
    """Rename by the system's own call, in one step; return False where there is none."""
    call = _renameat2()
    if call is None:
        return False
    if not call(_HERE, os.fsencode(source), _HERE, os.fsencode(target), _NO_REPLACE):
        return True
    number = ctypes.get_errno()
    if number in files.UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), str(source), None, str(target))


@lru_cache
def _renameat2() -> Any:  # noqa: ANN401 - a function of C
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
