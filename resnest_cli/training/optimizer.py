"""The optimizer, the schedule and the mixup of a recipe, as timm makes them.

In: a network and a settled recipe. Out: torch's optimizer, timm's schedule, timm's mixup.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from timm.data.mixup import Mixup
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2

if TYPE_CHECKING:
    import torch
    from torch import nn

    from resnest_cli.training.recipe import Recipe

WARMUP_LR = 1e-5  # where the rise begins


def make_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return an optimizer: no weight decay on biases and norms; each layer's rate is below that of the layer above."""
    made: torch.optim.Optimizer = create_optimizer_v2(
        network,
        opt=recipe.optimizer,
        lr=float(recipe.lr),
        weight_decay=recipe.weight_decay,
        momentum=recipe.momentum,
        layer_decay=recipe.layer_decay if recipe.layer_decay < 1 else None,
    )
    return made


def make_schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, steps_per_epoch: int) -> Any:  # noqa: ANN401 - timm is untyped
    """Return a schedule to update at every step: a rise over the warm-up, then a cosine to 0."""
    schedule, _ = create_scheduler_v2(
        optimizer,
        sched="cosine",
        num_epochs=recipe.epochs,
        warmup_epochs=min(recipe.warmup_epochs, recipe.epochs / 2),  # type: ignore[arg-type] # fractions are fine
        warmup_lr=min(WARMUP_LR, float(recipe.lr)),
        step_on_epochs=False,
        updates_per_epoch=steps_per_epoch,
    )
    schedule.step_update(0)
    return schedule


def make_mixup(recipe: Recipe, classes: int) -> Mixup | None:
    """Return timm's mixup with the recipe's label smoothing, or None if the recipe has none."""
    if not recipe.mixup:
        return None
    return Mixup(mixup_alpha=recipe.mixup, label_smoothing=recipe.smoothing, num_classes=classes)
