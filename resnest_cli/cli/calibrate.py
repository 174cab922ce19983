"""`resnest calibrate`: how sure may one be of a model's answers?"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from resnest_cli.cli import options as shared
from resnest_cli.cli.parameters import STDOUT, AnyName, AnyPath, ModelName
from resnest_cli.errors import ExitCode
from resnest_cli.inputs.splits import CHOICES
from resnest_cli.options import Options
from resnest_cli.text.layout import put_facts, put_note, put_table
from resnest_cli.text.terminal import data as put_data
from resnest_cli.text.terminal import note_failure, put
from resnest_cli.text.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from resnest_cli.cli.view import View
    from resnest_cli.tasks.labelled import Scored


@shared.command(
    click.argument("model", type=ModelName()),
    click.argument("data", type=AnyName, metavar="DIR"),
    click.option("-o", "--output", required=True, type=AnyPath, metavar="FILE", help="The file to write; - prints it."),
    click.option("--split", type=click.Choice(CHOICES), help="Side to read.  [default: val, else test]"),
    shared.EXCLUDE,
    click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Random seed for the halves."),
    click.option("--plot", type=AnyPath, metavar="FILE.png", help="Draw how sure and how right answers are."),
    click.option("--overwrite", is_flag=True, help="Replace files that exist."),
    *(*shared.WEIGHTS, shared.LABELS, *shared.RUN),
    *shared.images(),
    options=Options,
)
def calibrate(  # noqa: PLR0913 - one parameter per option
    *,
    data: str,
    output: Path,
    plot: Path | None,
    split: str | None,
    exclude: tuple[str, ...],
    seed: int,
    overwrite: bool,
    options: Options,
    view: View,
) -> ExitCode:
    """Measure how sure one may be of a model's answers.

    MODEL is a variant, digits, a model folder or hf-hub:OWNER/REPO; DIR has labeled images that it was not trained on,
    as for validate. The file makes probabilities as sure as they are right, gives each image the set of classes that
    it may have, and tells how strange the image is. predict uses it with --calibration.

    One half of the images fits, the other judges. The figures come with 95% intervals.

    Examples:
      resnest calibrate digits held-out/ -o calibration.json
      resnest predict photos/ -m digits --calibration calibration.json --coverage 0.95
    """
    from resnest_cli.outputs import plots, saving
    from resnest_cli.tasks.calibrate import calibration as task
    from resnest_cli.tasks.calibrate import words
    from resnest_cli.tasks.calibrate.file import PROMISE, claim

    is_printed = output == Path(STDOUT)
    claim(None if is_printed else output, plot, overwrite=overwrite)

    def follow(items: Iterable[Scored], total: int) -> Iterator[Scored]:
        view.say(f"{options.model}{', random weights (the numbers mean nothing)' * options.random_weights} on {data}")
        return view.follow(items, lambda: total, "calibrating")

    found = task.calibrate(
        options, data, split=split, exclude=exclude, seed=seed, on_failure=note_failure, progress=follow
    )
    if plot:
        saving.save(plot, plots.calibration_png(found.figures))
    if is_printed:
        put_data(found.text())
    else:
        saving.save(output, found.text())
        put_facts(words.facts(found))
        put("")
        put_table(words.SETS, words.sets(found))
        put_note(PROMISE)
        then = ["resnest", "predict", "IMAGE", "-m", options.model, "--calibration", str(output)]
        view.say(f"next: {shlex.join(then)}")
    if failed := found.images["failed"]:
        view.say(f"no answer for {failed:,} of {counted(found.images['all'], 'image')}.")
    return ExitCode.SOME_FAILED if failed else ExitCode.OK
