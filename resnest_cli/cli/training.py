"""What `finetune` and `train` share: their options, and a run from the options to its folder."""

from __future__ import annotations

import shlex
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from resnest_cli.cli.inputs import EXCLUDE
from resnest_cli.cli.options import view_options
from resnest_cli.cli.parameters import ModelName, Number, OrAuto, OutputFolder
from resnest_cli.cli.view import VERBOSE, View
from resnest_cli.errors import OutputError, TrainingStopped, UsageError
from resnest_cli.options import INTERPOLATIONS, Options
from resnest_cli.system.paths import Kind, is_empty, look
from resnest_cli.training.recipe import PRECISIONS, VAL, Recipe, changed

if TYPE_CHECKING:
    from collections.abc import Callable

    from resnest_cli.training.job import Job
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
    "warmup_epochs": "The rate rises, then falls along a cosine.",
    "clip": "Largest norm of the gradient; 0 is any.",
    "smoothing": "Label smoothing.",
    "mixup": "Alpha of mixup; 0 is none.",
    "augment": "timm's auto_augment, or none.",
    "crop_scale": "Least share that a random crop keeps.",
    "hflip": "Probability of a mirror image.",
    "dropout": "Before the classifier.",
    "drop_block": "DropBlock's last rate; it grows from 0.",
    "ema": "Decay of averaged weights; 0 is none.",
    "patience": "Epochs without progress before it stops; 0 never does.",
    "balance": "Draw rare classes as often as common ones.",
    "sync_bn": "Norms see the batches of all processes.",
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


def _model_option(*names: str, **settings: Any) -> Callable[[Any], Any]:  # noqa: ANN401 - passed on to click
    field = names[-1].lstrip("-").replace("-", "_")
    return click.option(*names, field, default=getattr(Options, field), **settings)


_RUN = (
    click.argument("data", metavar="DIR", type=click.Path(path_type=Path)),
    EXCLUDE,
    click.option(
        "-o",
        "--output",
        type=OutputFolder(),
        metavar="OUT",
        help="The model folder to make, outside DIR.  [default: DIR-MODEL-finetuned or -trained]",
    ),
    click.option("--resume", is_flag=True, help="Go on with the run in OUT, as it was begun."),
    click.option(
        "--val",
        default=VAL,
        show_default=True,
        type=Number(0, 0.9, min_open=True),
        metavar="P",
        help="Share of each class to hold out, if DIR has no val folder.",
    ),
    _model_option(
        "-m",
        "--model",
        type=ModelName(),
        metavar="MODEL",
        show_default=True,
        help="Variant, digits, folder or hf-hub:OWNER/REPO.",
    ),
)
_WEIGHTS = (
    _model_option("--weights", type=click.Path(), metavar="FILE", help="Local checkpoint for the variant."),
    _model_option("--random-weights", is_flag=True, help="Start from untrained weights."),
)
_IMAGES = (
    _model_option("--img-size", type=int, metavar="N", help="Edge of the network's input, in pixels."),
    _model_option("--crop-pct", type=float, metavar="P", help="Share that validation's centre crop keeps."),
    _model_option("--interpolation", type=click.Choice(INTERPOLATIONS), help="How images are resized."),
    _model_option("--mean", type=float, nargs=3, metavar="R G B", help="Subtracted from each channel (scale 0..1)."),
    _model_option("--std", type=float, nargs=3, metavar="R G B", help="Each channel is divided by it (scale 0..1)."),
)
_WHERE = (
    _model_option("--device", metavar="DEVICE", show_default=True, help="auto, cpu, cuda, cuda:N, mps or xpu."),
    click.option("--gpus", metavar="N|all", help="Train in so many processes, each with a GPU."),
    _model_option(
        "-j",
        "--workers",
        type=OrAuto(int),
        metavar="N|auto",
        show_default=True,
        help="Decoding processes; 0 uses none.",
    ),
    view_options,
)


def training_options(defaults: Recipe, *own: Callable[[Any], Any], weights: bool) -> Callable[[Any], Any]:
    """Declare the options of a command that trains: its `own`, those of `defaults`, of the model and of the machine."""
    recipe = [_recipe_option(item.name, getattr(defaults, item.name)) for item in fields(Recipe)]
    declared = (*_RUN, *(_WEIGHTS if weights else ()), *own, *recipe, *_IMAGES, *_WHERE)

    def decorate(command: Any) -> Any:  # noqa: ANN401 - passed on to click
        for declare in reversed(declared):
            command = declare(command)
        return command

    return decorate


def execute(command: str, defaults: Recipe, values: dict[str, Any]) -> None:
    """Do what the options in `values` ask for, and show how it goes.

    Raises:
        UsageError: the folder is taken, or holds another job.
    """
    from resnest_cli.training import job, report

    click.get_current_context().meta[VERBOSE] = values["verbose"]
    view = View(quiet=values["quiet"], progress=not (values["quiet"] or values["no_progress"]))
    asked = _job(command, defaults, values)
    seen = look(asked.data)
    if not seen.is_there and not values["resume"]:  # then the images may have moved, which is said further on
        why = "no such folder or table." if seen.kind is Kind.MISSING else seen.why
        raise UsageError(f"{values['data']}: {why}")
    out = values["output"] or job.folder_for(asked)
    begun = _begun(asked, out, resume=values["resume"])
    with view.doing("loading torch"):
        from resnest_cli.cli.training_screen import Screen
        from resnest_cli.training.run import Run
    if not report.can_draw():
        view.say(report.NO_PICTURES)
    run = Run(begun, out, device=values["device"], workers=values["workers"])
    try:
        if values["gpus"]:
            _launch(run, Screen(view, out), values)
        else:
            Screen(view, out).show(run.events(resume=values["resume"]))
    except (TrainingStopped, OutputError) as error:
        if run.begun:
            words = shlex.join(["resnest", command, asked.data, "-o", str(out), "--resume"])
            error.args = (f"{error}\nTo go on: {words}",)
        raise


def _job(command: str, defaults: Recipe, values: dict[str, Any]) -> Job:
    from resnest_cli.models import catalog, weights
    from resnest_cli.training import job

    model = {name: values[name] for name in job.OF_MODEL if name in values}
    model["weights"] = job.absolute(model.get("weights"))
    spec = catalog.find_model(model["model"])
    if model["weights"] is not None and not values["resume"]:
        weights.locate(spec, model["weights"])
    folder = spec.folder
    if folder not in {None, catalog.DIGITS}:
        model["model"] = job.absolute(folder)
    return job.Job(
        command=command,
        data=str(job.absolute(values["data"])),
        recipe=changed(defaults, {item.name: values[item.name] for item in fields(Recipe)}),
        model={name: list(value) if isinstance(value, tuple) else value for name, value in model.items()},
        arch=job.parse_arch(values.get("arch", ())),
        val=values["val"],
        full=values.get("full"),
        exclude=values["exclude"],
    )


def _begun(asked: Job, out: Path, *, resume: bool) -> Job:
    """Return the job to do: the one asked for, in a folder that is free, or with --resume the one that was begun."""
    from resnest_cli.training import job

    if resume:
        kept = job.read(out)
        job.agree(kept, asked, _given())
        return replace(kept, data=asked.data)
    job.check_outside(out, Path(asked.data))
    seen = look(out)
    if seen.kind is Kind.UNKNOWN:
        message = f"{out} cannot be written: {seen.why}"
        raise UsageError(message)
    if seen.is_there and not is_empty(out):
        message = f"{out} exists: go on with the run in it with --resume, or name another folder with -o."
        raise UsageError(message)
    return asked


def _given() -> set[str]:
    """Name the parameters that the user set, by an option or an environment variable."""
    context = click.get_current_context()
    return {name for name in context.params if context.get_parameter_source(name) is not ParameterSource.DEFAULT}


def _launch(run: Run, screen: Any, values: dict[str, Any]) -> None:  # noqa: ANN401 - a Screen
    """Check the data here, where an error is one, not one a process; then let the processes take the run up."""
    from resnest_cli.training.distributed import gpus, launch

    processes = gpus(values["gpus"])
    screen.show(run.prepare(resume=values["resume"]))
    flags = [f"--{name.replace('_', '-')}" for name in ("quiet", "verbose", "no_progress") if values[name]]
    words = [run.job.command, run.job.data, "-o", str(run.out), "--resume", "-j", str(values["workers"]), *flags]
    launch(processes, words)
