"""`resnest quantize`: a model in int8, calibrated on one's own images."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from resnest_cli.cli import options as shared
from resnest_cli.cli.parameters import AnyPath, ModelName, Number
from resnest_cli.errors import ExitCode
from resnest_cli.options import Options
from resnest_cli.tasks.quantize.options import QuantizeOptions
from resnest_cli.text.layout import put_facts
from resnest_cli.text.terminal import note_failure

if TYPE_CHECKING:
    from pathlib import Path

    from resnest_cli.cli.view import View


@shared.command(
    click.argument("model", type=ModelName()),
    click.option(
        "--calibrate", required=True, type=AnyPath, metavar="DIR", help="Images like the ones the model will see."
    ),
    shared.EXCLUDE,
    shared.OUTPUT_FOLDER,
    shared.option(QuantizeOptions, "--samples", type=click.IntRange(1), metavar="N"),
    shared.option(QuantizeOptions, "--seed", metavar="N"),
    shared.option(QuantizeOptions, "--min-agreement", type=Number(0, 1), metavar="P"),
    shared.OVERWRITE_FOLDER,
    *shared.SETTLED,
    how=QuantizeOptions,
    options=Options,
)
def quantize(  # noqa: PLR0913 - one parameter per option
    *, calibrate: Path, output: Path, how: QuantizeOptions, overwrite: bool, options: Options, view: View
) -> ExitCode:
    """Make an int8 model, for CPUs that compute int8 natively.

    MODEL is a variant, digits, a model folder or hf-hub:OWNER/REPO. It is calibrated on some of the images in DIR, and
    judged on others: their first class must be fp32's. If DIR has a folder per class, accuracy before and after is
    measured too. The fastest method is tried first, then slower and better ones; if none keeps the answers, nothing is
    written. quantize.json in the new folder records what was done.

    Every command takes the new folder: it runs in int8 on CPUs with int8 instructions; elsewhere, for other tasks, and
    with --precision fp32, its weights run in fp32.

    Examples:
      resnest quantize resnest50d --calibrate photos/ -o resnest50d-int8
      resnest predict photos/ --model resnest50d-int8
    """
    from resnest_cli.tasks.quantize import quantization as task
    from resnest_cli.tasks.quantize.words import facts

    made = task.quantize(options, calibrate, output, **asdict(how), overwrite=overwrite)
    for failure in made.failures:
        note_failure(failure)
    put_facts(facts(made))
    view.say(f"next: {shlex.join(['resnest', 'predict', 'IMAGE', '-m', str(output)])}")
    return ExitCode.SOME_FAILED if made.failures else ExitCode.OK
