"""Short trials before all layers are trained: is the solved head a good start, and which learning rate is for it?

In: a network, training images, the recipe, a device. Out: a loss, or a rate of a few, between bounds. Networks stay
unchanged, and no validation image is read.

High rates lead further in a whole run, and in the first steps they cost more. So a short run is tried at each rate, the
highest first. The first rate is taken whose loss, on images that the short run was not trained on, is at most
`TOLERATED` times that of the start. Two rules were tried and dropped: the range test of arXiv:1506.01186 chose 0.1
where the loss never rose, and 1e-6 where it did not fall at once; the lowest loss of short runs chose a rate four times
too low (5 classes of clothing, 12 epochs: 73.0% instead of 77.6%).
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from timm.loss import LabelSmoothingCrossEntropy

from resnest_cli.training import layout
from resnest_cli.training.data import order
from resnest_cli.training.optimizer import make_optimizer, make_schedule
from resnest_cli.training.randomness import seed_everything
from resnest_cli.training.recipe import COSINE

if TYPE_CHECKING:
    from torch import nn

    from resnest_cli.training.data import Data
    from resnest_cli.training.recipe import Recipe

RATES = {"sgd": (0.08, 0.02, 0.005)}  # per optimizer, the highest first
OTHERS = (4e-3, 1e-3, 2.5e-4)  # of adaptive ones
TOLERATED = 1.25
LEAST_STEPS, MOST_STEPS = 12, 25  # of a short run: a tenth of those of the whole run, within these bounds
WARMUP = 0.2  # of a short run's steps
JUDGED = 256  # images, at most a fifth of all


class Trials:
    """Trials on these images: a share of them judges, the others train.

    Args:
        train: what the run will learn from.
        recipe: settled but for its learning rate.
        device: where the trials run.
    """

    def __init__(self, train: Data, recipe: Recipe, device: torch.device) -> None:
        self.train, self.recipe, self.device = train, recipe, device
        self.criterion = LabelSmoothingCrossEntropy(recipe.smoothing)
        rows = order(train.targets, 0, recipe)
        count = max(1, min(JUDGED, len(rows) // 5))
        judged, rest = rows[:count], rows[count:] or rows
        size = int(recipe.batch) // recipe.accumulate
        whole = recipe.epochs * (len(rows) // int(recipe.batch))
        self.steps = min(max(whole // 10, LEAST_STEPS), MOST_STEPS)  # few, where they would cost much of the run
        self.groups = [[rest[(step * size + i) % len(rest)] for i in range(size)] for step in range(self.steps)]
        self.parts = [judged[at : at + size] for at in range(0, count - size + 1, size)] or [judged]

    def rate(self, network: nn.Module, loss: float) -> float:
        """Return the highest rate of the optimizer's that keeps what this network knows; `loss` is its own."""
        rates = RATES.get(self.recipe.optimizer, OTHERS)
        limit = TOLERATED * loss
        return next((rate for rate in rates if self.loss(self._short_run(network, rate)) <= limit), rates[-1])

    def loss(self, network: nn.Module) -> float:
        """Return the mean loss of the images that judge, smoothed as in training; infinity if it is no number.

        Norms take the statistics of the batch, as in training: running averages lag behind a short run.
        """
        judged = copy.deepcopy(network).train()
        on_device = layout.place(judged, self.device)
        with torch.no_grad():
            losses = [
                self.criterion(judged(on_device(inputs)).float(), self._targets(part)).item()
                for part, inputs in zip(self.parts, self.train.batches(0, self.parts), strict=True)
            ]
        mean = sum(losses) / len(losses)
        return mean if math.isfinite(mean) else math.inf

    def _short_run(self, network: nn.Module, rate: float) -> nn.Module:
        """Train a copy for some steps, at a rate that rises and falls as that of a whole run."""
        seed_everything(self.recipe.seed, "trial")
        tried = copy.deepcopy(network).train()
        on_device = layout.place(tried, self.device)
        recipe = replace(self.recipe, lr=rate, epochs=1, schedule=COSINE, warmup_epochs=WARMUP)
        optimizer = make_optimizer(tried, recipe)
        schedule = make_schedule(optimizer, recipe, self.steps)
        batches = zip(self.groups, self.train.batches(0, self.groups), strict=True)
        for step, (group, inputs) in enumerate(batches, 1):
            loss = self.criterion(tried(on_device(inputs)).float(), self._targets(group))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step_update(step)
        return tried

    def _targets(self, rows: list[int]) -> torch.Tensor:
        return self.train.targets[rows].to(self.device)
