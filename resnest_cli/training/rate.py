"""A learning rate from the data: the range test of Smith (arXiv:1506.01186), for `--lr auto` in finetuning.

In: a network, its training data, the recipe. Out: a rate. The network stays unchanged.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from timm.loss import LabelSmoothingCrossEntropy

from resnest_cli.training.data import order, seed_everything
from resnest_cli.training.optimizer import make_optimizer

if TYPE_CHECKING:
    import torch
    from torch import nn

    from resnest_cli.training.data import Data
    from resnest_cli.training.recipe import Recipe

LOWEST, HIGHEST, STEPS = 1e-5, 1.0, 50
SMOOTH = 0.8  # weight of the past in the running loss, which single batches make jump
DIVERGED = 3.0  # times the lowest loss so far
BACK = 10.0  # the rate at the lowest loss is too high to stay at; a tenth of it is the usual choice


def find_rate(network: nn.Module, train: Data, recipe: Recipe, device: torch.device) -> float:
    """Raise the rate from step to step until the loss grows; return a tenth of the rate of the lowest loss."""
    tried = copy.deepcopy(network).to(device).train()
    optimizer = make_optimizer(tried, replace(recipe, lr=1.0))
    criterion: nn.Module = LabelSmoothingCrossEntropy(recipe.smoothing)
    groups = _groups(train.targets, recipe)
    lowest, best, running = math.inf, LOWEST, 0.0
    for step, inputs in enumerate(train.batches(0, groups)):
        rate = LOWEST * (HIGHEST / LOWEST) ** (step / (STEPS - 1))
        seed_everything(recipe.seed, "rate", step)
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)
        loss = criterion(tried(inputs.to(device)).float(), train.targets[groups[step]].to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        running = SMOOTH * running + (1 - SMOOTH) * loss.item()
        smoothed = running / (1 - SMOOTH ** (step + 1))
        if not math.isfinite(smoothed) or smoothed > DIVERGED * lowest:
            break
        if smoothed < lowest:
            lowest, best = smoothed, rate
    return best / BACK


def _groups(targets: torch.Tensor, recipe: Recipe) -> list[list[int]]:
    """Return the rows of each step; a small data set is repeated."""
    size = int(recipe.batch) // recipe.accumulate
    passes = math.ceil(STEPS * size / len(targets))
    rows = [row for epoch in range(passes) for row in order(targets, epoch, recipe)]
    return [rows[at * size : (at + 1) * size] for at in range(STEPS)]
