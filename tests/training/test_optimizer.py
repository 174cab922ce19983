"""The schedules are those of torch and timm, at any step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
from torch import nn

from resnest_cli.training.optimizer import make_optimizer, make_schedule
from resnest_cli.training.recipe import FINETUNE, Recipe


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize(("epochs", "steps_per_epoch", "warmup"), [(12, 7, 3.6), (3, 1, 0.9), (5, 4, 5.0), (1, 2, 0.0)])
def test_one_cycle_is_that_of_torch(optimizer: str, epochs: int, steps_per_epoch: int, warmup: float) -> None:
    steps = epochs * steps_per_epoch
    recipe = replace(FINETUNE, optimizer=optimizer, epochs=epochs, warmup_epochs=warmup, lr=0.01)
    ours, theirs = (make_optimizer(nn.Linear(2, 2), recipe) for _ in range(2))
    torchs = torch.optim.lr_scheduler.OneCycleLR(theirs, 0.01, total_steps=steps, pct_start=warmup / epochs)
    expected = []
    for step in range(steps):
        expected.append(numbers(theirs))
        theirs.step()
        if step < steps - 1:
            torchs.step()
    schedule = make_schedule(ours, recipe, steps_per_epoch)
    for step in [*range(steps), *reversed(range(steps))]:  # in any order
        schedule.step_update(step)
        assert numbers(ours) == pytest.approx(expected[step], rel=1e-6)


def numbers(optimizer: torch.optim.Optimizer) -> list[float]:
    """Return the rate and the momentum of each group."""
    groups: list[dict[str, Any]] = optimizer.param_groups
    return [number for group in groups for number in (group["lr"], group.get("momentum") or group["betas"][0])]


def test_after_the_last_step_one_cycle_stays_where_it_is() -> None:
    recipe = replace(FINETUNE, epochs=2, warmup_epochs=0.6, lr=0.01)
    optimizer = make_optimizer(nn.Linear(2, 2), recipe)
    schedule = make_schedule(optimizer, recipe, 5)
    schedule.step_update(9)
    last = numbers(optimizer)
    schedule.step_update(10)
    assert numbers(optimizer) == last


def test_one_cycle_keeps_the_layers_apart() -> None:
    recipe = replace(FINETUNE, layer_decay=0.5, lr=0.01, epochs=2, warmup_epochs=1)
    optimizer = make_optimizer(timm.create_model("resnest14d", num_classes=2), recipe)
    scales = [group["lr_scale"] for group in optimizer.param_groups]
    assert len(set(scales)) > 5
    make_schedule(optimizer, recipe, 10).step_update(9)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.01 * scale for scale in scales])


def test_the_default_is_one_cycle_in_finetuning_and_the_published_cosine_in_training() -> None:
    assert (FINETUNE.schedule, Recipe().schedule) == ("one-cycle", "cosine")
