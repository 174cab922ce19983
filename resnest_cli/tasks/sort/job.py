"""Sort the files of a results file into folders: show what would happen, or do it.

In: a results file, a folder, and the choices of the user. Out: a `Sorted`. Does not know the terminal.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from resnest_cli.errors import ExitCode, OutputError
from resnest_cli.outputs.reading import Results
from resnest_cli.outputs.state import CHANGED, Files, Skipped, State
from resnest_cli.system import files
from resnest_cli.tasks.sort import journal
from resnest_cli.tasks.sort.carry import carry
from resnest_cli.tasks.sort.plan import Choices, plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from os import PathLike

    from resnest_cli.outputs.rows import Row
    from resnest_cli.tasks.sort.plan import Step


@dataclass(frozen=True)
class Sorted:
    """What a sort did, or would do.

    Attributes:
        to: the folder that was sorted into.
        how: "copy", "link", "hardlink" or "move".
        folders: how many files each folder gets, by its name.
        skipped: files that stay where they are, each with why.
        journal: what `undo_sort` takes; None if nothing was changed.
    """

    to: Path
    how: str
    folders: Mapping[str, int]
    skipped: tuple[Skipped, ...]
    journal: Path | None

    @property
    def files(self) -> int:
        """How many files are sorted."""
        return sum(self.folders.values())

    @property
    def exit_code(self) -> ExitCode:
        """`SOME_FAILED` if a file could not be sorted that should be."""
        return ExitCode.SOME_FAILED if any(each.is_failure for each in self.skipped) else ExitCode.OK


def sort(  # noqa: PLR0913 - one parameter per option
    results: str | PathLike[str],
    to: str | PathLike[str],
    *,
    how: str = "copy",
    apply: bool = False,
    min: float = 0.0,
    failed: bool = False,
    with_sidecars: bool = False,
    on_begin: Callable[[Path], None] = lambda _: None,
    progress: Callable[[Iterable[Step], int], Iterator[Step]] = lambda steps, _: iter(steps),
) -> Sorted:
    """Sort files into folders named by their classes; without `apply`, only say what would happen.

    Args:
        results: what `predict` wrote, in any format; its paths are relative to this folder, as they were then.
        to: the folder to sort into; it is made if its parent is there.
        how: "copy"; "link" (relative symbolic links), "hardlink" or "move".
        apply: do it.
        min: the probability, 0..1, below which an answer is unsure: its file goes to `_unsure`.
        failed: inputs without an answer go to `_failed`; else they stay.
        with_sidecars: .xmp and .json beside a picture go along, and the other half of RAW and JPEG.
        on_begin: gets the path of the journal before the first file is touched.
        progress: passes the steps on, and knows their number.

    Raises:
        UsageError: an invalid value, or `results` cannot be read.
        OutputError: `to` cannot be written, the disk is full, or an earlier sort was stopped; the message says what to
            do.
    """
    choices = Choices(how, min, failed, with_sidecars)
    folder = _claimed(to)
    found = Results(Path(results))
    found.require_here()
    changed: list[Skipped] = []
    with files.as_output_error(folder):
        planned = plan(_unchanged(found, changed), folder, choices)
    planned = replace(planned, skipped=(*changed, *planned.skipped))
    if not (apply and planned.steps):
        return Sorted(folder, how, planned.counts, planned.skipped, None)
    path, skipped = carry(planned, on_begin, progress)
    left = Counter(os.path.basename(os.path.dirname(each.target)) for each, _ in skipped)
    refused = tuple(why for _, why in skipped)
    return Sorted(folder, how, planned.counts - left, planned.skipped + refused, path)


def _unchanged(found: Results, changed: list[Skipped]) -> Iterator[Row]:
    """Yield the rows whose files are as they were; the others are collected."""
    state = Files(found).state
    for row in found.rows():
        if state(row) is State.CHANGED:
            changed.append(Skipped(row["path"], CHANGED))
        else:
            yield row


def _claimed(to: str | PathLike[str]) -> Path:
    """Return the folder to sort into, absolute.

    Raises:
        OutputError: it cannot be sorted into.
    """
    path = Path(to)
    with files.as_output_error(path):
        folder = files.resolve(Path.cwd() / path)
    if os.path.lexists(folder) and not folder.is_dir():
        raise OutputError(f"{path} is no folder: name another with --to.")
    if not folder.parent.is_dir():
        raise OutputError(f"{path} cannot be made: its parent folder is missing. Make it first, or name another.")
    with files.as_output_error(path):
        stopped = journal.stopped(folder)
    if stopped:
        raise OutputError(
            f"{path}: a sort into it was stopped, or still runs. Undo it: {journal.undo_command(stopped)}\n"
            "Or keep what it did, and remove that file."
        )
    return Path(os.path.realpath(folder))
