"""A sort undone: what was moved is moved back; what was copied or linked, and the folders that were made, are removed.

In: a journal. Out: how many files are as before, and what is kept instead, with why. Each step is judged by what the
disk has at its two names, so that a sort may have been killed anywhere, and an undoing too.

The law: a file is removed only if the same content stays under its old name.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resnest_cli.errors import ExitCode
from resnest_cli.outputs.state import Skipped
from resnest_cli.system import files, transfer
from resnest_cli.system.paths import reason
from resnest_cli.tasks.sort import journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from os import PathLike

    from resnest_cli.system.transfer import Traits
    from resnest_cli.tasks.sort.plan import Step

CHANGED = "it was changed since it was sorted."


@dataclass(frozen=True)
class Undone:
    """What an undoing did.

    Attributes:
        files: steps that are undone, those of an earlier try included.
        kept: files that stay where the sort put them, and folders that are not empty.
    """

    files: int
    kept: tuple[Skipped, ...]

    @property
    def exit_code(self) -> ExitCode:
        """`SOME_FAILED` if a file is kept."""
        return ExitCode.SOME_FAILED if any(each.is_failure for each in self.kept) else ExitCode.OK


def undo_sort(
    path: str | PathLike[str],
    *,
    progress: Callable[[Iterable[Step], int], Iterator[Step]] = lambda steps, _: iter(steps),
) -> Undone:
    """Undo a sort, also one that was killed; the journal is removed once no file is kept.

    Args:
        path: the journal that `sort` named.
        progress: passes the steps on, and knows their number.

    Raises:
        OutputError: it cannot be read, is no journal, or its sort still runs.
    """
    path, kept = Path(path), []
    with journal.reopened(path) as written:
        numbered = list(enumerate(written.steps))[::-1]
        for step, (number, _) in zip(progress(written.steps[::-1], len(numbered)), numbered, strict=True):
            if why := _undone(step, written.how, journal.partial_name(written.token, number)):
                kept.append(Skipped(step.target, why))
        folders = [each for each in reversed(written.folders) if not _removed(each)]
    done = len(numbered) - len(kept)
    if not kept:
        with files.as_output_error(path):
            path.unlink()
    return Undone(done, (*kept, *(Skipped(each, "it is not empty.", is_failure=False) for each in folders)))


def _removed(folder: str) -> bool:
    """Remove a folder if it is empty; return whether it is not there."""
    try:
        os.rmdir(folder)
    except OSError:
        return not os.path.lexists(folder)
    return True


def _undone(step: Step, how: str, partial: str) -> str:
    """Undo a step; return why its file is kept, "" if it is as before."""
    source, target = Path(step.source), Path(step.target)
    try:
        _remove(target.with_name(partial))
        if how == "move":
            _remove(source.with_name(partial))  # of an undoing that was killed
            return _moved_back(source, target, source.with_name(partial), step.traits)
        there = _status(target)
        if there is None:
            return ""
        return _unlinked(target, step.link) if how == "link" else _dropped(source, target, step.traits, how)
    except OSError as error:
        return reason(error)


def _remove(partial: Path) -> None:
    if os.path.lexists(partial):  # a disk that cannot be written refuses to remove even what is not there
        partial.unlink()


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _unlinked(target: Path, link: str) -> str:
    if not target.is_symlink() or os.readlink(target) != link:
        return CHANGED
    target.unlink()
    return ""


def _dropped(source: Path, target: Path, traits: Traits, how: str) -> str:
    """Remove a copy or a hard link, if the original is there."""
    there = target.lstat()
    if not source.exists() or not (traits.fit(original := source.stat()) or os.path.samestat(original, there)):
        return "its original is gone, or was changed."
    if not (os.path.samestat(original, there) if how == "hardlink" else traits.fit(there)):
        return CHANGED
    target.unlink()
    return ""


def _moved_back(source: Path, target: Path, partial: Path, traits: Traits) -> str:
    """Give a file its old name back."""
    old, new = _status(source), _status(target)
    if new is None:
        return "" if old else "it is neither there nor at its old place."
    if old is None:
        if not traits.fit(new):
            return CHANGED
        transfer.move(target, source, partial, traits)
        return ""
    is_copied = traits.fit(old) and traits.fit(new) and transfer.is_same(source, target)
    if is_copied or os.path.samestat(old, new):
        target.unlink()  # killed between the two names
        return ""
    return "" if traits.fit(old) else f"something else has its old name, {source}."
