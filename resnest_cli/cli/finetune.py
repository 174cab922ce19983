"""`resnest finetune`: adapt a pretrained model to one's own classes."""

from __future__ import annotations

from typing import Any

import click

from resnest_cli.cli.options import WEIGHTS
from resnest_cli.cli.training import execute, training_command
from resnest_cli.training.recipe import FINETUNE


@training_command(
    FINETUNE,
    *WEIGHTS,
    click.option("--full/--head-only", default=None, help="Train all layers after the head.  [default: with a GPU]"),
    click.option(
        "--folds",
        type=int,
        default=0,
        metavar="K",
        help="Train K models, each judged on another K-th of the images.",
    ),
)
def finetune(**values: Any) -> None:  # noqa: ANN401 - as declared
    """Adapt a pretrained model to your own classes.

    DIR has one subfolder per class, or train and val folders with such subfolders; or it is a CSV or Parquet file with
    the columns path and label. Every file is checked before training begins.

    First a new head is fitted to features that are computed once. Then, with a GPU or --full, all layers are trained.
    OUT is a model folder that every command takes as --model. Needs the extra torch.

    Examples:
      resnest finetune flowers/
      resnest finetune flowers/ -m resnest101e -o flowers-model --full --epochs 10
      resnest finetune flowers/ -o flowers-model --resume
      resnest finetune flowers/ -o flowers-5 --folds 5
    """
    execute("finetune", **values)
