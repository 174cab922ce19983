"""`resnest check`: do rows still hold?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from resnest_cli.cli import options as shared
from resnest_cli.cli.parameters import AnyPath, ModelName
from resnest_cli.options import Options
from resnest_cli.text.layout import put_facts, put_note, put_table
from resnest_cli.text.terminal import put, put_json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from resnest_cli.cli.view import View
    from resnest_cli.errors import ExitCode
    from resnest_cli.types import Record


@shared.command(
    click.argument("rows", type=AnyPath, metavar="ROWS"),
    click.option("--sample", default="1%", show_default=True, metavar="N|P%", help="Rows to predict again."),
    click.option("--seed", default=0, show_default=True, type=int, help="Random seed for the choice."),
    shared.format_option(("table", "json"), "table"),
    click.option(
        *("-m", "--model"),
        default="",
        type=ModelName(),
        metavar="MODEL",
        help="Where the rows' model is now, or which it is, if they do not say it.",
    ),
    *(shared.WEIGHTS_FILE, shared.LABELS, shared.CALIBRATION[0]),
    *(shared.DEVICE, shared.ENGINE, shared.BATCH, shared.WORKERS),
    options=Options,
)
def check(  # noqa: PLR0913 - one parameter per option, or per group of them
    *, rows: Path, sample: str, seed: int, format: str, options: Options, view: View
) -> ExitCode:
    """Check whether rows still hold.

    ROWS is what predict wrote with -o, in any format. All files are looked at: gone, or changed since? A random sample,
    1% but at least ten rows, is predicted again, by the model and the preprocessing that ROWS name. Nothing is changed.

    The exit code is 0 if all that was looked at holds, and 3 if not.

    Examples:
      resnest check answers.parquet
      resnest check answers.csv --sample 100%
      resnest check moved.csv --model digits --sample 50 -f json
    """
    from resnest_cli.tasks.check import words
    from resnest_cli.tasks.check.job import check

    def follow(records: Iterable[Record], total: int) -> Iterable[Record]:
        return view.follow(records, lambda: total, "checking")

    found = check(rows, options, sample=sample, seed=seed, follow=follow)
    if format == "json":
        put_json(words.as_json(found))
        return found.exit_code
    put_facts(words.facts(found))
    if found.drifted:
        put("")
        put_table(words.DRIFTED, words.drifted(found), numeric={3})
    for step in words.advice(found):
        put_note(step)
    return found.exit_code
