"""The options of `finetune` and `train`, and how they run."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from resnest_cli.cli import options as shared
from resnest_cli.cli.parameters import AnyPath, Number, OutputPath, or_auto
from resnest_cli.options import Options
from resnest_cli.training.recipe import PRECISIONS, SCHEDULES, VAL, Recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from resnest_cli.cli.view import View

_RUN = (
    click.argument("data", metavar="DIR", type=AnyPath),
    shared.EXCLUDE,
    click.option(
        *("-o", "--output"),
        type=OutputPath(stdout=False),
        metavar="OUT",
        help="The model folder to make, outside DIR.  [default: DIR-MODEL-finetuned or -trained]",
    ),
    click.option("--resume", is_flag=True, help="Continue the run in OUT, as it was begun or with more --epochs."),
    click.option(
        "--val",
        default=VAL,
        show_default=True,
        type=Number(0, 0.9, min_open=True),
        metavar="P",
        help="Share of each class to hold out, if DIR has no val folder.",
    ),
    click.option(
        "--groups",
        metavar="COLUMN",
        help="Keep images with one value in this column of the table on one side; of class folders, 'folder': those in "
        "one subfolder.",
    ),
    shared.MODEL,
)
CHOICES = {"precision": PRECISIONS, "schedule": SCHEDULES}
_TYPES = {"int": int, "float": float, "str": str, "int | str": or_auto(int), "float | str": or_auto(float)}


def training_command(defaults: Recipe, *own: Callable[[Any], Any]) -> Callable[[Callable[..., None]], click.Command]:
    """Declare a command that trains: its `own` options, those of the recipe, of the model and of the machine."""
    recipe = [_recipe_option(item.name, str(item.type), getattr(defaults, item.name)) for item in fields(Recipe)]
    gpus = click.option("--gpus", metavar="N|all", help="Train in N processes, each with a GPU.")
    declared = (*_RUN, *own, *recipe, shared.IMG_SIZE, *shared.PREPROCESSING, shared.DEVICE, gpus, shared.WORKERS)
    return shared.command(*declared, how=Recipe, options=Options)


def _recipe_option(name: str, kind: str, default: Any) -> Callable[[Any], Any]:  # noqa: ANN401 - an item of any type
    long = f"--{name.replace('_', '-')}"
    names = ["-b", long, "--batch-size"] if name == "batch" else [long]
    if name in CHOICES:
        return shared.option(Recipe, *names, default=default, type=click.Choice(CHOICES[name]))
    return shared.option(Recipe, *names, default=default, type=_TYPES.get(kind), metavar="X")


def execute(
    command: str,
    *,
    how: Recipe,
    options: Options,
    view: View,
    arch: Sequence[str] = (),
    **values: Any,  # noqa: ANN401 - fields of Request
) -> None:
    """Run the job, or what is left of it, and show its events.

    Raises:
        UsageError: torch is not installed; or as `Request.settle` does.
    """
    from resnest_cli.system.imports import require_torch

    require_torch(command)
    from resnest_cli.training import report
    from resnest_cli.training.job import parse_arch
    from resnest_cli.training.request import Request

    plan = Request(command, recipe=how, options=options, arch=parse_arch(arch), **values).settle(_given())
    with view.doing("loading torch"):
        from resnest_cli.cli.training_screen import FoldsScreen, Screen

        events = plan.start(view.flags)
    if not report.can_draw():
        view.say(report.NO_PICTURES)
    screen = FoldsScreen if plan.job.folds else Screen
    screen(view, plan.out).show(events)


def _given() -> set[str]:
    """Return the parameters that the user set, by an option or an environment variable."""
    context = click.get_current_context()
    return {name for name in context.params if context.get_parameter_source(name) is not ParameterSource.DEFAULT}
