"""Trees of files: what a folder holds, to compare before and after."""

from __future__ import annotations

import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


def snapshot(root: Path) -> dict[str, tuple[Any, ...]]:
    """Return all that is below a folder by name: kind, permissions; of files time and bytes, of links the target."""
    return {str(path.relative_to(root)): _look(path) for path in root.rglob("*")}


@contextmanager
def other_disk() -> Iterator[Path]:
    """Yield a new folder on another disk than that of temporary files; skip the test where there is none."""
    memory = Path("/dev/shm")  # noqa: S108 - a new folder in it
    if not memory.is_dir() or memory.stat().st_dev == Path(tempfile.gettempdir()).stat().st_dev:
        pytest.skip("there is no second disk")
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


def _look(path: Path) -> tuple[Any, ...]:
    status = path.lstat()
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        return ("link", str(path.readlink()))
    if stat.S_ISREG(status.st_mode):
        return ("file", mode, status.st_mtime_ns, path.read_bytes())
    return ("folder" if stat.S_ISDIR(status.st_mode) else "other", mode)
