"""The options of `finetune` and `train`, and how they run."""

from __future__ import annotations

import shlex
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from resnest_cli.cli import options as shared
from resnest_cli.cli.parameters import AnyPath, Number, OrAuto, OutputFolder
from resnest_cli.errors import OutputError, TrainingStopped
from resnest_cli.training.recipe import PRECISIONS, VAL, Recipe, changed

if TYPE_CHECKING:
    from collections.abc import Callable

    from resnest_cli.cli.training_screen import Screen
    from resnest_cli.cli.view import View
    from resnest_cli.options import Options
    from resnest_cli.training.request import Request
    from resnest_cli.training.run import Run

RECIPE = {
    "epochs": "Passes over the training images.",
    "batch": "Images per step, over all processes.",
    "accumulate": "Forward passes that share one step.",
    "optimizer": "timm's name; sgd has Nesterov momentum.",
    "lr": "Highest learning rate.",
    "momentum": "Momentum of sgd.",
    "weight_decay": "Decay of weights; biases and norms have none.",
    "layer_decay": "Rate of a layer over that of the one above.",
    "warmup_epochs": "Epochs of rising rate; then it falls along a cosine.",
    "clip": "Largest norm of the gradient; 0 is any.",
    "smoothing": "Label smoothing.",
    "mixup": "Alpha of mixup; 0 is none.",
    "augment": "timm's auto_augment, or none.",
    "crop_scale": "Least share that a random crop keeps.",
    "hflip": "Probability of a mirror image.",
    "dropout": "Dropout before the classifier.",
    "drop_block": "Final rate of DropBlock; it grows from 0.",
    "ema": "Decay of averaged weights; 0 is none.",
    "patience": "Epochs without progress before it stops; 0 never does.",
    "balance": "Draw rare classes as often as common ones.",
    "sync_bn": "Compute norms over the batches of all processes.",
    "precision": "auto is bf16 where a GPU computes it, else fp32.",
    "seed": "Random seed for the split, weights and training.",
}


_TYPES: dict[str, Any] = {"lr": OrAuto(float), "batch": OrAuto(int), "dropout": OrAuto(float)}


def _recipe_option(name: str, default: Any) -> Callable[[Any], Any]:  # noqa: ANN401 - an item of any type
    long = f"--{name.replace('_', '-')}"
    names = ["-b", long, "--batch-size"] if name == "batch" else [long]
    settings: dict[str, Any] = {"type": _TYPES.get(name, type(default)), "metavar": "X"}
    if name == "precision":
        settings = {"type": click.Choice(PRECISIONS)}
    if isinstance(default, bool):
        settings = {"is_flag": True}
    return click.option(*names, name, default=default, show_default=True, help=RECIPE[name], **settings)


_RUN = (
    click.argument("data", metavar="DIR", type=AnyPath),
    shared.EXCLUDE,
    click.option(
        "-o",
        "--output",
        type=OutputFolder(),
        metavar="OUT",
        help="The model folder to make, outside DIR.  [default: DIR-MODEL-finetuned or -trained]",
    ),
    click.option("--resume", is_flag=True, help="Continue the run in OUT, as it was begun."),
    click.option(
        "--val",
        default=VAL,
        show_default=True,
        type=Number(0, 0.9, min_open=True),
        metavar="P",
        help="Share of each class to hold out, if DIR has no val folder.",
    ),
    shared.MODEL,
)
_GPUS = click.option("--gpus", metavar="N|all", help="Train in N processes, each with a GPU.")


def training_options(defaults: Recipe, *own: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Declare the options of a command that trains: its `own`, those of `defaults`, of the model and of the machine."""
    recipe = [_recipe_option(item.name, getattr(defaults, item.name)) for item in fields(Recipe)]
    machine = (shared.DEVICE, _GPUS, shared.WORKERS)
    declared = (*_RUN, *own, *recipe, shared.IMG_SIZE, *shared.PREPROCESSING, *machine)
    return shared.collected(*declared, apart=("batch", "precision"))


def execute(
    command: str,
    defaults: Recipe,
    *,
    options: Options,
    view: View,
    gpus: str | None,
    **values: Any,  # noqa: ANN401
) -> None:
    """Run the job, or what is left of it, and show its events.

    Raises:
        UsageError: torch is not installed; the folder is taken, or holds another job.
    """
    from resnest_cli.system.imports import require_torch

    require_torch(command)
    from resnest_cli.training import report
    from resnest_cli.training.request import Request

    recipe = changed(defaults, {item.name: values.pop(item.name) for item in fields(Recipe)})
    request = Request(command, recipe=recipe, options=options, **values)
    job, out = request.settle(_given())
    with view.doing("loading torch"):
        from resnest_cli.cli.training_screen import Screen
        from resnest_cli.training.run import Run
    if not report.can_draw():
        view.say(report.NO_PICTURES)
    run, screen = Run(job, out, device=options.device, workers=options.workers), Screen(view, out)
    try:
        if gpus:
            _launch(run, screen, request, gpus)
        else:
            screen.show(run.events(resume=request.resume))
    except (TrainingStopped, OutputError) as error:
        if run.begun:
            words = shlex.join(["resnest", command, job.data, "-o", str(out), "--resume"])
            error.args = (f"{error}\nTo go on: {words}",)
        raise


def _given() -> set[str]:
    """Return the parameters that the user set, by an option or an environment variable."""
    context = click.get_current_context()
    return {name for name in context.params if context.get_parameter_source(name) is not ParameterSource.DEFAULT}


def _launch(run: Run, screen: Screen, request: Request, gpus: str) -> None:
    """Check the data here, so that an error is reported once, then let the processes continue the run."""
    from resnest_cli.training import distributed

    processes = distributed.gpus(gpus)
    screen.show(run.prepare(resume=request.resume))
    where = ["-j", str(request.options.workers), *screen.view.flags]
    distributed.launch(processes, [run.job.command, run.job.data, "-o", str(run.out), "--resume", *where])
