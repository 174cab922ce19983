"""Where artefacts of our own live, and how a file gets there whole or not at all.

In: bytes and a path. Out: files under `RESNEST_CACHE` (default: the platform's user cache folder). Weights are not
here; they stay in the Hugging Face cache (`hub`).
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import platformdirs

GRAPHS = "graphs"  # the folder of converted networks
INT8 = "int8"  # ... and of int8 models that no folder was named for


def folder() -> Path:
    """Give the cache folder, which need not exist yet."""
    override = os.environ.get("RESNEST_CACHE")
    return Path(override) if override else platformdirs.user_cache_path("resnest", appauthor=False)


def items() -> list[Path]:
    """List what is kept, each graph and model by itself, in the order of names; not the locks, which keep nothing."""
    shelves = {folder() / GRAPHS, folder() / INT8}
    found = [item for place in (folder(), *shelves) for item in place.glob("*")]
    return sorted(item for item in found if item not in shelves and item.suffix != ".lock")


def size(item: Path) -> int:
    """Count the bytes of a file, or of all files in a folder."""
    files = item.rglob("*") if item.is_dir() else [item]
    return sum(file.stat().st_size for file in files if file.is_file())


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that readers see the old file or the whole new one.

    Raises:
        OSError: the folder cannot be made or written; no partial file is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # With the permissions of any new file; those of `tempfile` are for its owner only.
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with partial.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
