"""Whether only this user can have written what is at a path, so that it is trusted without a check of its content.

In: a path. Out: in words why others may have written it, "" if none can have. Standard library only. On systems without
user numbers (Windows) all is trusted: there, home folders belong to their users.

A folder that is trusted stays trusted: only this user and the system can change it or a folder above it.
"""

from __future__ import annotations

import os
import stat
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from resnest_cli.system.paths import reason

if TYPE_CHECKING:
    from collections.abc import Iterable

PRIVATE = 0o700
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def distrust(path: Path) -> str:
    """Return why others may have written what is at `path`, which must be no link; "" if none can have.

    The path and every folder above it must belong to this user or the system, and not be writable for others. A folder
    above may be writable for all if it is sticky, as /tmp is: nobody can remove another user's files there.
    """
    if not hasattr(os, "geteuid"):
        return ""
    for place in (path, *path.parents):
        try:
            found = place.lstat()
        except OSError as error:
            return f"{place}: {reason(error)}"
        if why := _why_doubtful(found, may_be_shared=place != path):
            return f"{place} {why}"
    return ""


def distrust_files(folder: Path, names: Iterable[str]) -> str:
    """Return why others may have written files of a trusted folder; "" if none can have. A link is not trusted."""
    if not hasattr(os, "geteuid"):
        return ""
    for name in names:
        found = (folder / name).lstat()
        why = "" if stat.S_ISREG(found.st_mode) else "is not a regular file"
        if why := why or _why_doubtful(found, may_be_shared=False):
            return f"{folder / name} {why}"
    return ""


def make_private(folder: Path) -> None:
    """Make a folder, and missing folders above it, for this user only; existing folders stay as they are.

    Raises:
        OSError: a folder cannot be made.
    """
    for place in reversed(folder.parents):
        if not place.exists():
            place.mkdir(PRIVATE, exist_ok=True)
    folder.mkdir(PRIVATE, exist_ok=True)


def keep_private(folder: Path) -> None:
    """Remove the write permission of others, which an umask may have left, from the files in a folder of ours.

    Raises:
        OSError: a permission cannot be changed.
    """
    for place in folder.iterdir():
        place.chmod(place.stat().st_mode & ~OTHERS_WRITE)


def _why_doubtful(found: os.stat_result, *, may_be_shared: bool) -> str:
    if found.st_uid not in {os.geteuid(), _system()}:
        return f"belongs to another user (number {found.st_uid})"
    if stat.S_ISLNK(found.st_mode):
        return "is a link"
    if may_be_shared and found.st_mode & stat.S_ISVTX:
        return ""
    by_group = found.st_mode & stat.S_IWGRP and not _is_own_group(found.st_gid)
    return "can be written by others" if found.st_mode & stat.S_IWOTH or by_group else ""


@lru_cache
def _system() -> int:
    """Return the owner of the root folder: 0, or the user who stands for root in a rootless container."""
    return Path("/").stat().st_uid


@lru_cache
def _is_own_group(number: int) -> bool:
    """Return whether this user is the only member of a group, as on systems with an umask of 002."""
    import grp  # noqa: PLC0415 - not on Windows
    import pwd  # noqa: PLC0415

    try:
        user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(number)
    except KeyError:
        return False
    return group.gr_name == user and set(group.gr_mem) <= {user}
