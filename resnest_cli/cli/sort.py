"""`resnest sort`: the files of a results file into folders by their classes, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from resnest_cli.cli import options as shared
from resnest_cli.cli.parameters import AnyPath, Number
from resnest_cli.errors import ExitCode, UsageError
from resnest_cli.text.layout import put_note, put_table
from resnest_cli.text.terminal import put
from resnest_cli.text.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from resnest_cli.cli.view import View
    from resnest_cli.outputs.state import Skipped
    from resnest_cli.tasks.sort.plan import Step


@shared.command(
    click.argument("results", required=False, type=AnyPath, metavar="RESULTS"),
    click.option("--to", type=AnyPath, metavar="DIR", help="The folder to sort into; made if it is not there."),
    click.option("--copy", is_flag=True, help="Copy files, with their times and permissions: the default."),
    click.option("--link", is_flag=True, help="Make symbolic links, relative to DIR."),
    click.option("--hardlink", is_flag=True, help="Make hard links: other names of the same files."),
    click.option("--move", is_flag=True, help="Move files."),
    click.option("--apply", is_flag=True, help="Do it; without this, only say what would happen."),
    click.option("--min", type=Number(0, 1), default=0.0, metavar="P", help="Answers less probable go to DIR/_unsure."),
    click.option("--failed", is_flag=True, help="Inputs without an answer go to DIR/_failed; else they stay."),
    click.option("--with-sidecars", is_flag=True, help="Take along .xmp, .json, and RAW beside JPEG."),
    click.option("--undo", type=AnyPath, metavar="JOURNAL", help="Go back: the file that an earlier sort named."),
)
def sort(  # noqa: PLR0913 - one parameter per option
    *,
    results: Path | None,
    to: Path | None,
    copy: bool,
    link: bool,
    hardlink: bool,
    move: bool,
    apply: bool,
    min: float,
    failed: bool,
    with_sidecars: bool,
    undo: Path | None,
    view: View,
) -> ExitCode:
    """Sort files into folders by the answers of predict.

    RESULTS is what predict wrote with -o, in any format. Each file goes to DIR/CLASS under its own name, with a number
    where another file has that name: nothing is ever overwritten. Unsure answers go to DIR/_unsure: below --min, or
    those from which a calibrated model abstains.

    Without --apply nothing is changed. With it, a journal is written first, and --undo makes all as it was, even if
    the sort was killed.

    Examples:
      resnest predict photos/ -o answers.csv
      resnest sort answers.csv --to sorted --min 0.6
      resnest sort answers.csv --to sorted --min 0.6 --move --apply
    """
    from resnest_cli.tasks.sort import job, words
    from resnest_cli.tasks.sort.plan import HOW

    def follow(steps: Iterable[Step], total: int) -> Iterator[Step]:
        return view.follow(steps, lambda: total, "undoing" if undo else "sorting")

    if undo:
        if results or to:
            raise UsageError("--undo takes the journal only: leave out RESULTS and --to.")
        return _undo(undo, follow, view)
    if not (results and to):
        raise UsageError("give RESULTS and --to DIR, or --undo JOURNAL.")
    chosen = [how for how, is_set in zip(HOW, (copy, link, hardlink, move), strict=True) if is_set]
    if len(chosen) > 1:
        raise UsageError(f"--{chosen[0]} and --{chosen[1]} exclude each other: give one of them.")
    found = job.sort(
        *(results, to),
        how=chosen[0] if chosen else "copy",
        apply=apply,
        min=min,
        failed=failed,
        with_sidecars=with_sidecars,
        on_begin=lambda path: view.say(f"journal: {path}"),
        progress=follow,
    )
    put_table(words.FOLDERS, words.folders(found), numeric={1})
    _put_skipped(found.skipped)
    if found.journal:
        view.say(words.done(found, found.journal))
    else:
        put_note(words.outlook(found))
    return found.exit_code


def _undo(journal: Path, follow: Callable[[Iterable[Step], int], Iterator[Step]], view: View) -> ExitCode:
    from resnest_cli.tasks.sort.undo import undo_sort

    found = undo_sort(journal, progress=follow)
    _put_skipped(found.kept)
    view.say(f"{counted(found.files, 'file')} as before.")
    if found.exit_code:
        view.say(f"{journal} stays: the same command tries again.")
    return found.exit_code


def _put_skipped(files: Sequence[Skipped]) -> None:
    from resnest_cli.outputs.state import by_reason
    from resnest_cli.tasks.sort import words

    if files:
        put("")
        put_table(words.SKIPPED, by_reason(files), numeric={1})
