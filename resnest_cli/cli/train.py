"""`resnest train`: train a network from scratch with the published recipe."""

from __future__ import annotations

from typing import Any

import click

from resnest_cli.cli.training import execute, training_command
from resnest_cli.training.recipe import RESNEST


@training_command(
    RESNEST,
    click.option(
        "--recipe", default="resnest", show_default=True, type=click.Choice(["resnest"]), help="The published one."
    ),
    click.option("--arch", multiple=True, metavar="KEY=VALUE", help="An argument of the network, for smaller ones."),
)
def train(*, recipe: str, **values: Any) -> None:  # noqa: ANN401, ARG001 - as declared; there is one recipe
    """Train a network from scratch with the published recipe.

    DIR is as for `resnest finetune`. Each item of the recipe is an option; the settled recipe is printed. With --lr
    auto the rate is 0.1 per 256 images of a step. Needs the extra torch.

    With --gpus all it runs in one process per GPU. On several nodes start it on each with torchrun; OUT and DIR must be
    on disks that all of them see:

      torchrun --nnodes 2 --nproc-per-node 8 ... -m resnest_cli train DIR -o OUT
    """
    execute("train", **values)
