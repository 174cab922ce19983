"""Results as files and folders: asked for early whether they may be written, then written whole or not at all."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from resnest_cli.errors import OutputError
from resnest_cli.outputs import records
from resnest_cli.system import atomic, files
from resnest_cli.system.paths import Kind, is_empty, look

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def claim(path: Path, *, overwrite: bool) -> None:
    """Check, before the work, that the file can be written.

    Raises:
        OutputError: it exists or an unfinished job will make it, and it is not to be replaced; or it cannot be written.
    """
    seen = look(path)
    if seen.is_there and not overwrite:
        message = f"{path} exists; add --overwrite to replace it."
        raise OutputError(message)
    if look(records.unfinished(path)).is_there and not overwrite:
        message = f"{path} is the name of a job that was begun and is not finished: give another name."
        raise OutputError(message)
    if seen.kind is Kind.UNKNOWN or seen.is_folder or not os.access(path.parent, os.W_OK | os.X_OK):
        why = "it is a folder." if seen.is_folder else "its folder is missing or may not be written."
        message = f"{path} cannot be written: {seen.why if seen.kind is Kind.UNKNOWN else why}"
        raise OutputError(message)
    with files.as_output_error(path):
        files.check_writable(path)


@contextmanager
def writer(path: Path) -> Iterator[IO[bytes]]:
    """Open a file as `atomic.writer` does.

    Raises:
        OutputError: it cannot be written; what was begun is removed.
    """
    with files.as_output_error(path), atomic.writer(path) as out:
        yield out


def save(path: Path, content: bytes | str) -> None:
    """Write a file as `atomic.write` does.

    Raises:
        OutputError: it cannot be written; what was begun is removed.
    """
    with files.as_output_error(path):
        atomic.write(path, content)


def claim_folder(folder: Path, *, overwrite: bool) -> None:
    """Check, before the work, that a model folder can be made here.

    Raises:
        OutputError: it exists and is not to be replaced, or is no model folder.
    """
    seen = look(folder)
    if seen.kind is Kind.UNKNOWN:
        message = f"{folder} cannot be written: {seen.why}"
        raise OutputError(message)
    if seen.is_there and not overwrite:
        message = f"{folder} exists; add --overwrite to replace it."
        raise OutputError(message)
    if seen.is_there and not look(folder / "config.json").is_there and not is_empty(folder):
        message = f"{folder} is not a model folder, so --overwrite does not replace it. Name another."
        raise OutputError(message)
