"""Atomic checkpoints of a run, each with its checksum in its name.

In: a state of plain values and tensors. Out: files named by step and the hash of their content. A file cut short
does not have the hash of its name: the checkpoint before it is taken. Does not know what a state holds. timm's
CheckpointSaver is not used: it writes in place and keeps no hash.
"""

from __future__ import annotations

import hashlib
from io import BytesIO
from typing import IO, TYPE_CHECKING, Any

import torch

from resnest_cli.errors import OutputError, TrainingStopped
from resnest_cli.models import checkpoint
from resnest_cli.system import atomic

if TYPE_CHECKING:
    from pathlib import Path

KEYS = {"step", "lr", "earlier"}  # every state has these
KEPT = 2  # the newest, and the one before it in case the newest is damaged
_HASH = 16  # hex digits of the sha256 in a name


def save(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write `state` and remove all but the newest two.

    Raises:
        OutputError: it cannot be written (a full disk); earlier checkpoints stand.
    """
    unnamed = folder / f"step-{step:09d}-unnamed.pt"  # a crash here leaves a file whose hash is not its name
    path = unnamed
    try:
        with atomic.writer(unnamed) as file:
            hashing = _Hashing(file)
            torch.save(state, hashing)  # type: ignore[arg-type] # it writes and flushes, which is enough
        path = folder / f"step-{step:09d}-{hashing.digest.hexdigest()[:_HASH]}.pt"
        unnamed.replace(path)
    except (OSError, RuntimeError) as error:
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        message = f"{path} cannot be written ({cause.strerror or cause})."  # torch has closed its archive after it
        raise OutputError(message) from error
    for old in _newest_first(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


class _Hashing:
    """A file to write to that hashes what is written; so the state is never in memory a second time."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def write(self, content: bytes) -> int:
        """Write and hash."""
        self.digest.update(content)
        return self.file.write(content)

    def flush(self) -> None:
        """Hand the bytes to the system."""
        self.file.flush()


def newest(folder: Path) -> dict[str, Any] | None:
    """Return the newest checkpoint that is not damaged, or None; damaged ones are deleted.

    Raises:
        TrainingStopped: a file has the hash of its name, and no run wrote it.
    """
    for path in _newest_first(folder):
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest()[:_HASH] == path.stem.rsplit("-", 1)[1]:
            return _state(content, path)
        path.unlink()
    return None


def _state(content: bytes, path: Path) -> dict[str, Any]:
    try:
        checkpoint.examine(content, path)  # what unpacks to more than itself is none of torch's
        state: object = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
        if isinstance(state, dict) and state.keys() >= KEYS and isinstance(state["lr"], int | float):
            return state
        why = "it lacks what a run keeps"
    except Exception as error:  # noqa: BLE001 - a hostile file can make torch raise anything
        why = type(error).__name__
    message = f"{path} is not a state that a run wrote ({why}): remove it, and --resume goes on from the one before."
    raise TrainingStopped(message)


def _newest_first(folder: Path) -> list[Path]:
    """Return the files, sorted by step."""
    return sorted(folder.glob("step-*-*.pt"), reverse=True)
