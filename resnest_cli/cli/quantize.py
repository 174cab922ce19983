"""`resnest quantize`: a model in int8, calibrated on one's own images."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from resnest_cli.cli.help import Command
from resnest_cli.cli.options import EXCLUDE, OUTPUT_FOLDER, OVERWRITE_FOLDER, export_options
from resnest_cli.cli.parameters import AnyPath, ModelName, Number
from resnest_cli.errors import ExitCode, UsageError
from resnest_cli.tasks.quantize.options import DEFAULTS, QuantizeOptions
from resnest_cli.text.terminal import note_failure

if TYPE_CHECKING:
    from pathlib import Path

    from resnest_cli.cli.view import View
    from resnest_cli.options import Options


@click.command(cls=Command)
@click.argument("model", type=ModelName())
@click.option(
    "--calibrate", required=True, type=AnyPath, metavar="DIR", help="Images like the ones the model will see."
)
@EXCLUDE
@OUTPUT_FOLDER
@click.option(
    "--samples",
    default=DEFAULTS.samples,
    show_default=True,
    type=click.IntRange(1),
    metavar="N",
    help="Images to calibrate on.",
)
@click.option(
    "--seed", default=DEFAULTS.seed, show_default=True, metavar="N", help="Random seed for the choice of images."
)
@click.option(
    "--min-agreement",
    default=DEFAULTS.min_agreement,
    show_default=True,
    type=Number(0, 1),
    metavar="P",
    help="Least share of other images with fp32's first class.",
)
@OVERWRITE_FOLDER
@export_options
def quantize(
    *,
    calibrate: Path,
    output: Path,
    overwrite: bool,
    options: Options,
    view: View,
    **settings: Any,  # noqa: ANN401 - fields of QuantizeOptions
) -> None:
    """Make an int8 model, for CPUs that compute int8 natively.

    MODEL is a variant, digits, a model folder or hf-hub:OWNER/REPO. It is calibrated on some of the images in DIR, and
    judged on others: their first class must be fp32's. If DIR has a folder per class, accuracy before and after is
    measured too. The fastest method is tried first, then slower and better ones; if none keeps the answers, nothing is
    written. quantize.json in the new folder records what was done.

    Every command takes the new folder: it runs in int8 on CPUs with int8 instructions; elsewhere, for other tasks, and
    with --precision fp32, its weights run in fp32.

    \b
    Examples:
      resnest quantize resnest50d --calibrate photos/ -o resnest50d-int8
      resnest predict photos/ --model resnest50d-int8
    """  # noqa: D301 - \b is click's mark of a paragraph that stays as it is
    from resnest_cli.models import folders
    from resnest_cli.models.check import check
    from resnest_cli.outputs import saving

    check(options)
    folders.require(folders.INT8)
    if not os.path.lexists(calibrate):
        raise UsageError(f"--calibrate {calibrate}: no such folder.")
    saving.claim_folder(output, overwrite=overwrite)
    with view.doing("loading torch"):
        from resnest_cli.tasks.quantize import quantization as task
    from resnest_cli.cli.output import print_facts
    from resnest_cli.tasks.quantize.words import facts

    view.say(f"{options.model}, to be calibrated on images in {calibrate}")
    made = task.quantize(options, calibrate, output, QuantizeOptions(**settings), overwrite=overwrite)
    for failure in made.failures:
        note_failure(failure)
    print_facts(facts(made))
    if made.failures:
        click.get_current_context().exit(ExitCode.SOME_FAILED)
