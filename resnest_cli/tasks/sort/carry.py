"""The steps of a plan, taken: files are copied, linked or moved to their new names.

In: a plan. Out: the journal that undoes it, and the files that could not be carried, with why. A kill at any moment
leaves a tree that `undo` makes what it was.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from resnest_cli.errors import OutputError
from resnest_cli.outputs.state import Skipped
from resnest_cli.system import transfer
from resnest_cli.system.paths import reason
from resnest_cli.system.transfer import Traits
from resnest_cli.tasks.sort import journal
from resnest_cli.tasks.sort.plan import OTHER_DISK
from resnest_cli.text.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from resnest_cli.tasks.sort.plan import Plan, Step

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


def carry(
    plan: Plan, on_begin: Callable[[Path], None], progress: Callable[[Iterable[Step], int], Iterator[Step]]
) -> tuple[Path, list[tuple[Step, Skipped]]]:
    """Take all steps; return the journal, and the steps that could not be taken, with why.

    Args:
        plan: at least one step.
        on_begin: gets the path of the journal, before the first step.
        progress: passes the steps on, and knows their number.

    Raises:
        OutputError: the journal or a folder cannot be made, or the disk is full. The message says how to go back.
    """
    skipped: list[tuple[Step, Skipped]] = []
    with journal.begun(plan) as (path, token):
        on_begin(path)
        try:
            for folder in plan.folders:
                _make(folder)
        except OSError as error:
            raise OutputError(f"{folder} cannot be made: {reason(error)} {_go_back(path)}") from error
        for number, step in enumerate(progress(plan.steps, len(plan.steps))):
            try:
                _take(step, plan.how, journal.partial_name(token, number))
            except OSError as error:  # noqa: PERF203 - one file that fails costs no other
                if error.errno in _FULL:
                    done = counted(number - len(skipped), "file")
                    raise OutputError(f"{plan.to}: the disk is full after {done}. {_go_back(path)}") from error
                skipped.append((step, Skipped(step.source, _why(error))))
    return path, skipped


def _go_back(path: Path) -> str:
    return f"Go back with: {journal.undo_command(path)}"


def _make(folder: str) -> None:
    """Make a folder; another process may have made it since.

    Raises:
        OSError: it cannot be made, or is no folder.
    """
    try:
        os.mkdir(folder)
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(folder).st_mode):
            raise
    transfer.sync_folder(Path(folder).parent)


def _take(step: Step, how: str, partial: str) -> None:
    """Take a step, unless the file was changed since the plan.

    Raises:
        OSError: the file is where it was, and its new name is free or another's.
    """
    source, target = Path(step.source), Path(step.target)
    if Traits.of(source.lstat() if how == "move" else source.stat()) != step.traits:
        raise OSError(errno.EAGAIN, "it was changed since the plan was made: run the command again")
    if how == "move":
        transfer.move(source, target, target.with_name(partial), step.traits)
    elif how == "copy":
        transfer.copy(source, target, target.with_name(partial), step.traits)
    elif how == "link":
        target.symlink_to(step.link)
    else:
        transfer.link(source, target)


def _why(error: OSError) -> str:
    if error.errno == errno.EXDEV:
        return OTHER_DISK
    if isinstance(error, FileExistsError):
        return "its new name was taken meanwhile: run the command again."
    return reason(error)
