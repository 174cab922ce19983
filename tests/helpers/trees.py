"""Trees of files: what a folder holds, to compare before and after; a results file that names its files; sorting it."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from resnest_cli.tasks.sort.job import Sorted


def snapshot(root: Path) -> dict[str, tuple[Any, ...]]:
    """Return all that is below a folder by name: kind, permissions; of files time and bytes, of links the target."""
    return {str(path.relative_to(root)): _look(path) for path in root.rglob("*")}


def contents(*roots: Path) -> Counter[bytes]:
    """Return the bytes of all regular files below folders, each path once."""
    found = {path for root in roots for path in root.rglob("*") if path.is_file() and not path.is_symlink()}
    return Counter(path.read_bytes() for path in found)


def row(path: str | Path, label: str = "cat", probability: float = 0.9, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the row of an answer; its index is a number of the label."""
    one = {"rank": 1, "index": sum(map(ord, label)), "wnid": None, "label": label, "probability": probability}
    known = {name: more.pop(name) for name in [*more] if name in one}
    return {"path": str(path), "status": "ok", "predictions": [one | known]} | more


def failure(path: str | Path) -> dict[str, Any]:
    """Return the row of an input without an answer."""
    return {"path": str(path), "status": "error", "predictions": [], "error": {"type": "BrokenImage", "message": ""}}


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """Write a results file of JSON lines."""
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a working folder with `photos/`, and go there."""
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


def put(path: Path, content: bytes = b"") -> str:
    """Write a file whose content is its name, unless given; return its path in the working folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content or os.fsencode(path))
    return os.path.relpath(path)


def sorted_from(*rows: dict[str, Any], **choices: Any) -> Sorted:  # noqa: ANN401 - passed on
    """Sort what the rows name into `to`, and do it."""
    from resnest_cli import sort

    return sort(write_rows(Path("rows.jsonl"), rows), "to", apply=True, **choices)


def names(folder: str = "to") -> list[str]:
    """Return the names of all files below a folder."""
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if not path.is_dir())


def why(found: Sorted) -> dict[str, tuple[str, bool]]:
    return {each.path: (each.why, each.is_failure) for each in found.skipped}


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
