"""`resnest convert`: rows in another format."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from resnest_cli.cli import options as shared
from resnest_cli.cli.parameters import AnyPath, OutputPath
from resnest_cli.outputs.formats import AUTO, FORMATS, TABLE
from resnest_cli.text.words import counted

if TYPE_CHECKING:
    from pathlib import Path

    from resnest_cli.cli.view import View
    from resnest_cli.tasks.convert import Converted


@shared.command(
    click.argument("rows", type=AnyPath, metavar="ROWS"),
    shared.format_option((AUTO, TABLE.name, *FORMATS), AUTO),
    click.option("-o", "--output", type=OutputPath(), metavar="FILE", help="Write there, not to stdout."),
    click.option("--overwrite", is_flag=True, help="Replace an output file that exists."),
)
def convert(*, rows: Path, format: str, output: Path | None, overwrite: bool, view: View) -> None:
    """Write rows in another format.

    ROWS is what predict wrote with -o, in any format. No model runs and no image is read. The format "auto" follows the
    suffix of FILE; without a file it is a table on a terminal and jsonl in a pipe.

    What made the rows goes along: predict continues FILE (--resume, --append-new, --retry-failed) as it would ROWS.

    Examples:
      resnest convert answers.csv -o answers.parquet
      resnest convert answers.parquet -o report.html
      resnest convert answers.parquet -f csv | head
    """
    from resnest_cli.tasks.convert import convert

    with view.doing(f"converting {rows}"):
        found = convert(rows, output, format=format, overwrite=overwrite)
    if output:
        view.say(_words(rows, found))


def _words(rows: Path, found: Converted) -> str:
    failed = sum(found.failures.values())
    said = f"{found.output}: {counted(found.rows, 'row')}{f', {failed:,} of them failed' * bool(failed)}."
    if found.is_continuable:
        return said
    return f"{said} Nothing says what made {rows}, so predict cannot continue it."
