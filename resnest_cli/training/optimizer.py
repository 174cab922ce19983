"""The optimizer, the schedule and the mixup of a recipe, as timm makes them.

In: a network and a settled recipe. Out: torch's optimizer, timm's schedule, timm's mixup.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from timm.data.mixup import Mixup
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2

from resnest_cli.training.recipe import ONE_CYCLE

if TYPE_CHECKING:
    import torch
    from torch import nn

    from resnest_cli.training.recipe import Recipe

WARMUP_LR = 1e-5  # where the rise of a cosine begins
# Of one cycle, as in torch: the first and the last rate as shares of the highest; the momentum beside the lowest and
# beside the highest rate.
FIRST, LAST = 1 / 25, 1 / 250_000
MOMENTUM = 0.95, 0.85


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


class OneCycle:
    """One cycle (arXiv:1708.07120): the learning rate rises from a 25th of each group's to all of it, and falls to 0.

    Momentum, or the first beta, falls from 0.95 to 0.85 meanwhile, and rises again. The numbers are those of torch's
    `OneCycleLR`, as a function of the step alone: so a run can be resumed at any step, with more epochs too.

    Args:
        optimizer: its groups' rates are the highest ones, times `lr_scale` where layers have rates of their own.
        steps: of the whole run.
        rising: the steps of the rise.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, steps: int, rising: float) -> None:
        self.optimizer, self.last, self.peak = optimizer, steps - 1, rising - 1
        self.rates = [group["lr"] * group.get("lr_scale", 1.0) for group in optimizer.param_groups]

    def step_update(self, step: int) -> None:
        """Set the rates and the momentum of a step, counted from 0."""
        if step < self.peak:
            share = _between(FIRST, 1.0, step / self.peak)
            momentum = _between(*MOMENTUM, step / self.peak)
        else:
            fallen = min(1.0, (step - self.peak) / max(1.0, self.last - self.peak))
            share, momentum = _between(1.0, LAST, fallen), _between(*MOMENTUM[::-1], fallen)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * share
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            elif "momentum" in group:
                group["momentum"] = momentum


def _between(start: float, end: float, share: float) -> float:
    """Return the value at a share of the way from start to end, along half a cosine."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


def make_schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, steps_per_epoch: int) -> Any:  # noqa: ANN401 - timm is untyped
    """Return the schedule to update at every step: one cycle, or a rise over the warm-up and then a cosine to 0."""
    if recipe.schedule == ONE_CYCLE:
        steps = recipe.epochs * steps_per_epoch
        one_cycle = OneCycle(optimizer, steps, float(recipe.warmup_epochs) * steps_per_epoch)
        one_cycle.step_update(0)
        return one_cycle
    schedule, _ = create_scheduler_v2(
        optimizer,
        sched="cosine",
        num_epochs=recipe.epochs,
        warmup_epochs=min(float(recipe.warmup_epochs), recipe.epochs / 2),  # type: ignore[arg-type] # fractions are fine
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
