"""`resnest quantize`: a model in int8, calibrated on one's own images."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from resnest_cli.cli.help import Command
from resnest_cli.cli.inputs import EXCLUDE
from resnest_cli.cli.options import export_options, refuse_lost
from resnest_cli.cli.parameters import ModelName, Number, OutputFolder
from resnest_cli.errors import ExitCode, UsageError
from resnest_cli.tasks.quantize.options import QuantizeOptions
from resnest_cli.text.terminal import note, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resnest_cli.cli.view import View
    from resnest_cli.options import Options
    from resnest_cli.tasks.quantize.quantization import Quantized

_FOLDER = click.Path(path_type=Path)


@click.command(cls=Command)
@click.argument("model", type=ModelName())
@click.option("--calibrate", required=True, type=_FOLDER, metavar="DIR", help="Images like those the model is for.")
@EXCLUDE
@click.option("-o", "--output", required=True, type=OutputFolder(), metavar="DIR", help="The folder to make.")
@click.option(
    "--samples",
    default=QuantizeOptions.samples,
    show_default=True,
    type=click.IntRange(1),
    metavar="N",
    help="Images to calibrate on.",
)
@click.option(
    "--seed", default=QuantizeOptions.seed, show_default=True, metavar="N", help="Random seed for the choice of images."
)
@click.option(
    "--min-agreement",
    default=QuantizeOptions.min_agreement,
    show_default=True,
    type=Number(0, 1),
    metavar="P",
    help="Share of other images whose first class must stay.",
)
@click.option("--overwrite", is_flag=True, help="Replace the folder if there is one.")
@export_options
def quantize(  # noqa: PLR0913 - one parameter an option
    *,
    calibrate: Path,
    exclude: tuple[str, ...],
    output: Path,
    samples: int,
    seed: int,
    min_agreement: float,
    overwrite: bool,
    options: Options,
    view: View,
) -> None:
    """Make an int8 model, for CPUs that compute int8 by themselves.

    MODEL is a variant, digits, a model folder or hf-hub:OWNER/REPO. It is calibrated on some of the images in DIR, and
    judged on others: their first class must be that of fp32. If DIR has a folder for each class, accuracy before and
    after is measured too. Where the quickest way to int8 does not do, slower and better ones are tried; if none does,
    nothing is written. What was done is in quantize.json in the new folder.

    Every command takes the new folder: on such a CPU it runs in int8; elsewhere, for other tasks, and where you give
    --precision fp32, its weights run in fp32.

    \b
    Examples:
      resnest quantize resnest50d --calibrate photos/ -o resnest50d-int8
      resnest predict photos/ --model resnest50d-int8
    """  # noqa: D301 - \b is click's mark of a paragraph that stays as it is
    from resnest_cli.models import folders
    from resnest_cli.outputs import saving

    refuse_lost(options)
    folders.require(folders.INT8)
    if not os.path.lexists(calibrate):
        raise UsageError(f"--calibrate {calibrate}: no such folder.")
    saving.claim_folder(output, overwrite=overwrite)
    with view.doing("loading torch"):
        from resnest_cli.tasks.quantize import quantization as task

    view.say(f"{options.model}, to be calibrated on images in {calibrate}")
    made = task.quantize(
        options,
        calibrate,
        output,
        QuantizeOptions(samples, seed, min_agreement, exclude),
        overwrite=overwrite,
    )
    from resnest_cli.cli.output import console, facts

    for failure in made.failures:
        note(one_line(f"{failure.path}: {failure.type}: {failure.message}"))
    console(sys.stdout).print(facts(list(_rows(made))))
    if made.failures:
        click.get_current_context().exit(ExitCode.SOME_FAILED)


def _rows(made: Quantized) -> Iterator[tuple[str, str]]:
    method, found = list(made.tried.items())[-1]
    said = found.figures()
    size = sum(path.stat().st_size for path in made.folder.glob("model.[xb]*"))
    yield "folder", f"{made.folder} (int8: {size / 1e6:.1f} MB)"
    yield "method", method
    yield "in floating point", f"{len(made.floating)} layers with weights" + ", see quantize.json" * bool(made.floating)
    yield "judged on", f"{found.images} other images"
    yield "first class", f"that of fp32 for {_share(said, 'agreement')}"
    most, mean = found.max_probability_change, found.mean_probability_change
    yield "probabilities", f"differ by at most {most:.3f}; that of the first class by {mean:.4f} in the mean"
    yield "accuracy", _accuracy(said) if found.labelled else "not known: the folders there name no classes"
    speed = made.speed
    ratio = f"{speed.int8 / speed.other:.2f} times {speed.precision}"
    yield "speed", f"{speed.int8:.1f} images/s, {ratio} ({speed.other:.1f}), in turns"


def _accuracy(said: dict[str, Any]) -> str:
    return f"{_share(said, 'accuracy_after')}, in fp32 {_share(said, 'accuracy_before')}"


def _share(said: dict[str, Any], name: str) -> str:
    low, high = (100 * bound for bound in said[f"{name}_ci95"])
    return f"{100 * said[name]:.2f} % (95%: {low:.2f} to {high:.2f})"
