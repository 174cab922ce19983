"""What a sort says: tables of folders and of files that stay, and what to type next.

In: a `Sorted`. Out: rows of tables and sentences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnest_cli.tasks.sort.journal import undo_command
from resnest_cli.text.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from resnest_cli.tasks.sort.job import Sorted

FOLDERS = ("folder", "files")
SKIPPED = ("stays where it is", "files", "such as")
_DO = {"copy": "copy", "link": "link", "hardlink": "link", "move": "move"}
_DONE = {"copy": "copied", "link": "linked", "hardlink": "linked", "move": "moved"}


def folders(found: Sorted) -> Iterator[tuple[str, str]]:
    """Yield a row per folder, by name."""
    return ((name, f"{count:,}") for name, count in sorted(found.folders.items()))


def outlook(found: Sorted) -> str:
    """Return what a dry run ends with."""
    if not found.files:
        return "there is nothing to do."
    return f"nothing was changed. Add --apply to {_DO[found.how]} {counted(found.files, 'file')}."


def done(found: Sorted, journal: Path) -> str:
    """Return what was done, and how to undo it."""
    return f"{_DONE[found.how]} {counted(found.files, 'file')}; to undo: {undo_command(journal)}"
