"""Whether what is at a path can have been put there by this user only: what we believe without reading it anew.

In: a path. Out: in words who else may have, or nothing. Standard library only. A system without user numbers (Windows)
is not asked: there, home folders are their users' own.

Where there is no doubt about a folder there is none later: every folder on the way to it would have to be changed, and
only this user and the system can do that.
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
    """Say why others may have written what is at `path`, from which no link may lead away; nothing if none can have.

    It and every folder above must belong to this user or the system, and others must not be able to write in it. Above,
    a folder will do in which all may write but nobody may take away what is another's (sticky, as /tmp).
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
    """Say as `doubt` does of files in a folder about which there is none; a link is none of them."""
    if not hasattr(os, "geteuid"):
        return ""
    for name in names:
        found = (folder / name).lstat()
        why = "" if stat.S_ISREG(found.st_mode) else "is not a regular file"
        if why := why or _why_doubtful(found, may_be_shared=False):
            return f"{folder / name} {why}"
    return ""


def make_private(folder: Path) -> None:
    """Make a folder for this user only, and those above it that are missing; one that is there stays as it is.

    Raises:
        OSError: it cannot be made.
    """
    for place in reversed(folder.parents):
        if not place.exists():
            place.mkdir(PRIVATE, exist_ok=True)
    folder.mkdir(PRIVATE, exist_ok=True)


def keep_private(folder: Path) -> None:
    """Take from files in a folder of ours what an umask may have left to others: to write in them.

    Raises:
        OSError: it cannot be done.
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
    """Return the owner of the root folder: 0, or what stands for it in a container of a user's own."""
    return Path("/").stat().st_uid


@lru_cache
def _is_own_group(number: int) -> bool:
    """Tell whether a group is the user's alone, as systems have that let groups write by default (umask 002)."""
    import grp  # noqa: PLC0415 - not on Windows
    import pwd  # noqa: PLC0415

    try:
        user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(number)
    except KeyError:
        return False
    return group.gr_name == user and set(group.gr_mem) <= {user}
