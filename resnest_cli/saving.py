"""Results as files: asked for early whether they may be written, then written whole or not at all."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from resnest_cli.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path


def claim(path: Path, *, overwrite: bool) -> None:
    """Find out, before the work, whether the file can be written.

    Raises:
        OutputError: it exists and is not to be replaced, or its folder cannot be written.
    """
    if path.exists() and not overwrite:
        message = f"{path} exists; add --overwrite to replace it."
        raise OutputError(message)
    if path.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        reason = "it is a folder" if path.is_dir() else "its folder is missing or may not be written"
        message = f"{path} cannot be written: {reason}."
        raise OutputError(message)


def save(path: Path, content: bytes | str) -> None:
    """Write the file so that its name stands for the old content or the whole new one; text as UTF-8.

    A path in the text that is not valid UTF-8 keeps its bytes.

    Raises:
        OutputError: it cannot be written; what was begun is removed.
    """
    partial = path.with_name(f"{path.name}.part")
    try:
        partial.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape"))
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        message = f"{path} cannot be written: {error.strerror}."
        raise OutputError(message) from error
