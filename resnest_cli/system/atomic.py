"""Atomic writes: a file or a folder gets its name when it is complete, or the name keeps what it stood for.

In: a path, and bytes or a block that writes. Out: the file or the folder. Until then the content has a random name
beside its place, on the same disk. Does not know what is in a file.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING

from resnest_cli.system import files

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = ".resnest-"  # of every partial file and folder


@contextlib.contextmanager
def writer(path: Path) -> Iterator[IO[bytes]]:
    """Open a new file for writing; it becomes `path` when the block ends well, and is removed if it does not.

    A link stays, and what it leads to is replaced (see `files.resolve`). Permissions stay as `files.copy_mode` says.

    Raises:
        OSError: the file cannot be written.
    """
    target = files.resolve(path)
    partial = target.with_name(f"{_prefix(target)}{secrets.token_hex(4)}.partial")
    try:
        with files.create(partial) as out:
            yield out
            out.flush()
            files.copy_mode(target, out)
            files.sync(out)
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write(path: Path, content: bytes | str) -> None:
    """Write `content` to `path`, whose folder is made; text as UTF-8, with surrogate escapes as the bytes they mean.

    Raises:
        OSError: the folder cannot be made or written; no partial file is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with writer(path) as out:
        out.write(content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape"))


@contextlib.contextmanager
def folder(path: Path) -> Iterator[Path]:
    """Yield a new folder; it becomes `path` when the block ends well, and is removed if it does not.

    What the block puts beside the folder, on the same disk, is removed in any case.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with scratch(path.parent) as place:
        new = place / "new"
        new.mkdir()
        yield new
        _swap(path, new)


@contextlib.contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """Yield a new folder in `parent`, for this user only, by a name that stays its own (see `files.pin`); remove it.

    Raises:
        OSError: the folder cannot be made.
    """
    made = Path(tempfile.mkdtemp(dir=parent, prefix=PREFIX))  # short, however long the final name is
    try:
        with files.pin(made) as place:
            yield place
    finally:
        shutil.rmtree(made, ignore_errors=True)


def publish(partial: Path, path: Path) -> None:
    """Rename a file that is complete to `path`, once its bytes are on the disk itself.

    Raises:
        OSError: the disk fails.
    """
    with files.open_for_update(partial) as file:
        files.sync(file)
    partial.replace(path)


def remove_leftovers(path: Path) -> None:
    """Remove what killed processes left of `writer(path)`. The caller holds a lock that keeps other writers out.

    Raises:
        OSError: see `files.resolve`.
    """
    target = files.resolve(path)
    for partial in target.parent.glob(f"{_prefix(target)}*.partial"):
        partial.unlink(missing_ok=True)


def _swap(path: Path, new: Path) -> None:
    """Rename the folder `new` to `path`; what has that name is moved beside `new` first, and back if that fails.

    Raises:
        OSError: the folder cannot be renamed.
    """
    old = new.with_name("old")
    if os.path.lexists(path):
        path.rename(old)
    try:
        new.rename(path)
    except BaseException:
        if os.path.lexists(old):
            old.rename(path)
        raise


def _prefix(path: Path) -> str:
    """Return how partial files of `path` begin: short, however long its name is."""
    return f"{PREFIX}{zlib.crc32(os.fsencode(path.name)):08x}-"
