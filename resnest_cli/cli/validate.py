"""`resnest validate`: how right a model is on labeled images."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from resnest_cli.cli import options as shared
from resnest_cli.cli.parameters import STDOUT, AnyName, AnyPath
from resnest_cli.errors import ExitCode
from resnest_cli.inputs.splits import CHOICES
from resnest_cli.options import Options
from resnest_cli.tasks.validate.request import Results
from resnest_cli.text.layout import put_facts, put_table
from resnest_cli.text.terminal import data as put_data
from resnest_cli.text.terminal import note_failure, put
from resnest_cli.text.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from resnest_cli.cli.view import View
    from resnest_cli.tasks.labelled import Scored

_result = partial(shared.option, Results)


@shared.command(
    click.argument("data", type=AnyName, metavar="DATA"),
    click.option("--split", type=click.Choice(CHOICES), help="Side to score.  [default: val, else test]"),
    shared.EXCLUDE,
    click.option("--subset", is_flag=True, help="Score among the classes that DATA has only (ImageNet-A, -R)."),
    click.option(
        "--real-labels", type=AnyPath, metavar="FILE", help="ReaL labels for ImageNet's validation set (real.json)."
    ),
    shared.format_option(("table", "json"), "table"),
    _result("-o", "--output", type=AnyPath, metavar="FILE"),
    _result("--per-class", type=AnyPath, metavar="FILE.csv"),
    _result("--confusion", type=AnyPath, multiple=True, metavar="FILE"),
    _result("--mistakes", type=AnyPath, metavar="FILE.html"),
    _result("--overwrite"),
    *shared.CALIBRATION,
    *(shared.MODEL, *shared.WEIGHTS, shared.LABELS, *shared.RUN),
    *shared.images("exif, but no-exif for models with a published number"),
    wanted=Results,
    options=Options,
)
def validate(
    *,
    data: str,
    format: str,
    wanted: Results,
    options: Options,
    view: View,
    **settings: Any,  # noqa: ANN401 - as `task.validate` has them
) -> ExitCode:
    """Measure accuracy on labeled images.

    DATA is a folder that has a folder for each class, a tar archive of one, or a table (CSV or Parquet) with the
    columns path and label. A class is named by its WordNet id, its name or its index: names decide, not the order of
    folders. Of a folder with train and val (or test) in it, or a table with a column split, the val side is scored.

    An image without an answer is named, counted as an error and never replaced; the exit code is 3 then. Images are
    turned by their EXIF orientation, but for models with a published number, which was made without.

    Examples:
      resnest validate imagenet/val --model resnest101e
      resnest validate imagenet-a --subset --format json
      resnest validate photos/ --model my-model --calibration calibration.json
      resnest validate photos.csv --confusion matrix.png --mistakes worst.html
    """
    from resnest_cli.tasks.validate import files, overview
    from resnest_cli.tasks.validate import validation as task

    if wanted.output == Path(STDOUT):
        wanted, format = replace(wanted, output=None), "json"
    results = files.claim(wanted)

    def follow(items: Iterable[Scored], total: int) -> Iterator[Scored]:
        view.say(f"{options.model}{', random weights (the numbers mean nothing)' * options.random_weights} on {data}")
        return view.follow(items, lambda: total, "validating")

    found = task.validate(
        data,
        options,
        keep_worst=wanted.mistakes is not None,
        on_failure=note_failure,
        progress=follow,
        **settings,
    )
    if format == "json":
        put_data(files.summary(found))
    else:
        put_facts(overview.facts(found))
        if rows := overview.hardest(found):
            put("")
            put_table(overview.HARDEST, rows, numeric=(1, 2, 4))
    if found.errors:
        view.say(f"no answer for {found.errors:,} of {counted(found.errors + found.tally.images, 'image')}.")
    results.save(found)
    return ExitCode.SOME_FAILED if found.errors else ExitCode.OK
