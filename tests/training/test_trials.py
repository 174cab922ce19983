"""Short trials tell a start that is worth keeping from one that is not, and a rate that spoils it from others."""

from __future__ import annotations

import copy
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from resnest_cli.training import stages, trials
from resnest_cli.training.data import order
from resnest_cli.training.distributed import Rank
from resnest_cli.training.recipe import FINETUNE
from resnest_cli.training.trials import OTHERS, RATES, Trials

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from resnest_cli.training.recipe import Recipe

CPU = torch.device("cpu")
RECIPE = replace(FINETUNE, batch=16, epochs=40)  # 7 steps per epoch, so short runs have 25
CLASSES = 4


class Points:
    """Points around a center per class, of a length."""

    def __init__(self, length: float) -> None:
        rng = torch.Generator().manual_seed(0)
        self.targets = torch.arange(120) % CLASSES
        self.centers = torch.randn(CLASSES, 8, generator=rng)
        self.inputs = (self.centers[self.targets] + 0.3 * torch.randn(120, 8, generator=rng)) * length

    def batches(self, epoch: int, groups: Iterable[list[int]]) -> Iterator[torch.Tensor]:  # noqa: ARG002 - as the protocol
        for group in groups:
            yield self.inputs[group].clone()


def knowing(points: Points, length: float) -> nn.Linear:
    """Return a network that answers by the nearest center."""
    network = nn.Linear(8, CLASSES)
    with torch.no_grad():
        network.weight.copy_(points.centers / length)
        network.bias.copy_(-points.centers.square().sum(dim=1) / 2)
    return network


def rate(points: Points, network: nn.Module, recipe: Recipe = RECIPE) -> float:
    trials = Trials(points, recipe, CPU)
    return trials.rate(network, trials.loss(network))


def test_the_loss_is_that_of_a_fifth_of_the_images_in_whole_batches() -> None:
    points = Points(1.0)
    network = knowing(points, 1.0)
    rows = order(points.targets, 0, RECIPE)[:16]  # of 24, a batch of 16
    expected = functional.cross_entropy(
        network(points.inputs[rows]), points.targets[rows], label_smoothing=RECIPE.smoothing
    ).item()
    assert Trials(points, RECIPE, CPU).loss(network) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("length", "highest"), [(1.0, OTHERS[0]), (300.0, OTHERS[1]), (3000.0, OTHERS[2]), (1e6, OTHERS[2])]
)
def test_the_rate_is_the_highest_that_keeps_what_the_network_knows(length: float, highest: float) -> None:
    """The longer the inputs, the more a step of one size changes the answers."""
    points = Points(length)
    network = knowing(points, length)
    before = copy.deepcopy(network.state_dict())
    assert rate(points, network) == highest
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_where_every_rate_spoils_it_the_lowest_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "TOLERATED", 0.0)
    points = Points(1.0)
    assert rate(points, knowing(points, 1.0)) == OTHERS[-1]


def test_each_optimizer_has_its_rates() -> None:
    points = Points(1.0)
    assert rate(points, knowing(points, 1.0), replace(RECIPE, optimizer="sgd")) == RATES["sgd"][0]


def test_a_network_that_knows_nothing_takes_the_highest() -> None:
    assert rate(Points(1.0), nn.Linear(8, CLASSES)) == OTHERS[0]


@pytest.mark.parametrize(("epochs", "steps"), [(1, 12), (24, 16), (300, 25)])  # 7 steps per epoch
def test_a_short_run_has_a_tenth_of_the_steps_within_bounds(epochs: int, steps: int) -> None:
    assert Trials(Points(1.0), replace(RECIPE, epochs=epochs), CPU).steps == steps


@pytest.mark.parametrize("factor", [1.0, -50.0])
def test_a_solved_head_is_the_start_unless_it_is_worse_than_chance_in_training(factor: float) -> None:
    points = Points(1.0)
    solved, new = knowing(points, 1.0), nn.Linear(8, CLASSES)
    with torch.no_grad():
        solved.weight.mul_(factor)
    setup: Any = SimpleNamespace(recipe=RECIPE, rank=Rank(CPU), data=SimpleNamespace(classes=range(CLASSES)))
    assert stages._choose(setup, new, solved, points) == (factor == 1, OTHERS[0])  # noqa: SLF001 - the choice itself
    setup.recipe = replace(RECIPE, lr=0.5)
    assert stages._choose(setup, new, solved, points)[1] == 0.5  # noqa: SLF001 - as above
