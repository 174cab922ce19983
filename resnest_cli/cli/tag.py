"""`resnest tag`: classes as keywords in XMP sidecars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from resnest_cli.cli import options as shared
from resnest_cli.cli.parameters import AnyPath, Number
from resnest_cli.text.layout import put_note, put_table
from resnest_cli.text.terminal import put

if TYPE_CHECKING:
    from pathlib import Path

    from resnest_cli.cli.view import View
    from resnest_cli.errors import ExitCode


@shared.command(
    click.argument("rows", type=AnyPath, metavar="ROWS"),
    click.option("--min", type=Number(0, 1), default=0.0, metavar="P", help="No keyword for answers less probable."),
    click.option("--apply", is_flag=True, help="Do it; without this, only say what would happen."),
)
def tag(*, rows: Path, min: float, apply: bool, view: View) -> ExitCode:
    """Write classes as keywords for photo libraries.

    ROWS is what predict wrote with -o, in any format. The first class of each image becomes a keyword in the XMP
    sidecar beside it, which digiKam, darktable and PhotoPrism read: IMG.jpg.xmp, or IMG.xmp if only that is there.
    Images are never changed, and everything else in a sidecar stays.

    Without --apply nothing is changed. Answers from which a calibrated model abstains give no keyword.

    Examples:
      resnest predict photos/ -o answers.csv
      resnest tag answers.csv --min 0.6
      resnest tag answers.csv --min 0.6 --apply
    """
    from resnest_cli.outputs.state import by_reason
    from resnest_cli.tasks import tag as task

    found = task.tag(rows, min=min, apply=apply)
    if found.keywords:
        put_table(("keyword", "images"), [(name, f"{n:,}") for name, n in sorted(found.keywords.items())], numeric={1})
    if found.keywords and found.skipped:
        put("")
    if found.skipped:
        put_table(("no keyword", "images", "such as"), by_reason(found.skipped), numeric={1})
    if apply:
        view.say(task.outlook(found))
    else:
        put_note(task.outlook(found))
    return found.exit_code
