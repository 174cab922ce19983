"""`resnest validate`: how right a model is on labeled images."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from resnest_cli.cli.help import Command
from resnest_cli.cli.options import EXCLUDE, format_option, validate_options
from resnest_cli.cli.parameters import STDOUT, AnyPath, Names
from resnest_cli.errors import ExitCode
from resnest_cli.inputs.splits import CHOICES
from resnest_cli.text.terminal import data as write_data
from resnest_cli.text.terminal import note_failure
from resnest_cli.text.words import counted

if TYPE_CHECKING:
    from resnest_cli.cli.view import View
    from resnest_cli.options import Options
    from resnest_cli.tasks.validate.result import Validation


@click.command(cls=Command)
@click.argument("data", type=Names(), metavar="DATA")
@click.option("--split", type=click.Choice(CHOICES), help="Side to score.  [default: val, else test]")
@EXCLUDE
@click.option("--subset", is_flag=True, help="Score among the classes that DATA has only (ImageNet-A, -R).")
@click.option(
    "--real-labels", type=AnyPath, metavar="FILE", help="ReaL labels for ImageNet's validation set (real.json)."
)
@format_option(("table", "json"), "table")
@click.option(
    "-o", "--output", type=AnyPath, metavar="FILE", help="Write the numbers there too, as JSON; - is -f json."
)
@click.option("--per-class", type=AnyPath, metavar="FILE.csv", help="Write the table of classes.")
@click.option(
    "--confusion", type=AnyPath, multiple=True, metavar="FILE", help="Write the confusion matrix: .csv or .png."
)
@click.option("--mistakes", type=AnyPath, metavar="FILE.html", help="Write a page of the worst mistakes.")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@validate_options
def validate(  # noqa: PLR0913 - one parameter an option
    *,
    data: str,
    split: str | None,
    exclude: tuple[str, ...],
    subset: bool,
    real_labels: Path | None,
    format: str,
    output: Path | None,
    per_class: Path | None,
    confusion: tuple[Path, ...],
    mistakes: Path | None,
    overwrite: bool,
    options: Options,
    view: View,
) -> None:
    """Measure accuracy on labeled images.

    DATA is a folder that has a folder for each class, a tar archive of one, or a table (CSV or Parquet) with the
    columns path and label. A class is named by its WordNet id, its name or its index: names decide, not the order of
    folders. Of a folder with train and val (or test) in it, or a table with a column split, the val side is scored.

    An image without an answer is named, counted as an error and never replaced; the exit code is 3 then. Images are
    turned by their EXIF orientation, but for models with a published number, which was made without.

    \b
    Examples:
      resnest validate imagenet/val --model resnest101e
      resnest validate imagenet-a --subset --format json
      resnest validate photos.csv --confusion matrix.png --mistakes worst.html
    """  # noqa: D301 - \b is click's mark of a paragraph that stays as it is
    from resnest_cli.tasks.validate import files
    from resnest_cli.tasks.validate import validation as task

    if output == Path(STDOUT):
        output, format = None, "json"
    results = files.claim(output, per_class, mistakes, confusion, overwrite=overwrite)
    view.say(f"{options.model}{', random weights (the numbers mean nothing)' * options.random_weights} on {data}")
    found = task.validate(
        data,
        options,
        real_labels=real_labels,
        subset=subset,
        split=split,
        exclude=exclude,
        keep_worst=mistakes is not None,
        on_failure=note_failure,
        progress=lambda items, total: (
            view.follow(items, lambda: total, "validating") if view.has_bar() else iter(items)
        ),
    )
    if format == "json":
        write_data(json.dumps(found.summary()) + "\n")
    else:
        _print(found)
    if found.errors:
        view.say(f"no answer for {found.errors:,} of {counted(found.errors + found.tally.images, 'image')}.")
    results.save(found)
    if found.errors:
        click.get_current_context().exit(ExitCode.SOME_FAILED)


def _print(found: Validation) -> None:
    from resnest_cli.cli.output import console, facts, table
    from resnest_cli.tasks.validate import overview

    out = console(sys.stdout)
    out.print(facts(list(overview.facts(found))))
    if rows := overview.hardest(found):
        out.print()
        out.print(table([*overview.HARDEST], rows, numeric=(1, 2, 4)))
