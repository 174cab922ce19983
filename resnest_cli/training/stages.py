"""The stages of a run: a new head, solved on cached features, then all layers; or all layers from new weights.

In: a `Setup`. Out: events, and an `Outcome`. A resumed run goes on from the newest checkpoint of all layers; the head,
which takes seconds, is solved again.
"""

from __future__ import annotations

import contextlib
import copy
import math
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from resnest_cli.errors import TrainingStopped
from resnest_cli.inputs import splits
from resnest_cli.inputs.loading import Loader
from resnest_cli.training import head, judgement, recipe
from resnest_cli.training.augmentation import Augmentation
from resnest_cli.training.data import Images
from resnest_cli.training.distributed import from_first
from resnest_cli.training.events import HEAD, Epoch, Settled, Solved
from resnest_cli.training.features import cached_features
from resnest_cli.training.loop import Loop
from resnest_cli.training.trials import Trials

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from resnest_cli.training.data import Data
    from resnest_cli.training.events import Event
    from resnest_cli.training.head import Head
    from resnest_cli.training.judgement import Judgement
    from resnest_cli.training.setup import Setup
    from resnest_cli.training.signals import Signals

    Stage = Generator[Event, None, "Outcome"]


@dataclass(frozen=True)
class Outcome:
    """What a run leads to.

    Attributes:
        state: the weights of the whole network, on the CPU.
        judgement: the validation side as this network sees it.
        history: a row per epoch; the head's is epoch 0.
        recipe: the items that acted; of a head alone, its strength, balance and seed.
        parameters: how many were trained last.
    """

    state: dict[str, torch.Tensor]
    judgement: Judgement
    history: list[dict[str, Any]]
    recipe: dict[str, Any]
    parameters: int


@dataclass(frozen=True)
class Start:
    """What all layers are trained from; `best` are the weights to keep if no epoch does better than `earlier`."""

    network: nn.Module
    rate: float
    earlier: list[dict[str, Any]]
    best: dict[str, torch.Tensor] | None = None


def from_scratch(setup: Setup, signals: Signals) -> Stage:
    """Train all layers from new weights."""
    settled = setup.recipe
    published = recipe.LR_PER_256 * int(settled.batch) / 256
    rate = published if settled.lr == recipe.AUTO else float(settled.lr)
    begun_at = setup.state["lr"] if setup.state else rate  # with other processes the batch may differ from before
    with _images(setup) as images:
        return (yield from _layers(setup, signals, Start(setup.untrained(), begun_at, []), images))


def finetune(setup: Setup, signals: Signals) -> Stage:
    """Solve a new head; then train all layers, if the job asks for it."""
    if setup.state is not None:  # a checkpoint of all layers, with the head in it
        start = Start(setup.untrained(), setup.state["lr"], setup.state["earlier"])
        with _images(setup) as images:
            return (yield from _layers(setup, signals, start, images))
    solved, judged, row = yield from _head(setup, signals)
    with_head = setup.pretrained(setup.for_training(setup.start))
    made = setup.untrained() if setup.job.options().random_weights else _with_zeros(copy.deepcopy(with_head))
    with_head.load_state_dict({"fc.weight": solved.weight, "fc.bias": solved.bias}, strict=False)
    state = with_head.state_dict()
    if not setup.job.full:
        items = {"strength": solved.strength, "balance": setup.recipe.balance, "seed": setup.recipe.seed}
        return Outcome(state, judged, [row], items, solved.weight.numel() + solved.bias.numel())
    with _images(setup) as images:
        takes_head, rate = from_first(setup.rank, lambda: _choose(setup, made, with_head, images[0]))
        chosen = with_head if takes_head else made
        return (yield from _layers(setup, signals, Start(chosen, rate, [row], copy.deepcopy(state)), images))


def _head(setup: Setup, signals: Signals) -> Generator[Event, None, tuple[Head, Judgement, dict[str, Any]]]:
    """Solve a linear classifier on the pooled features of images as `predict` sees them; return it and its row."""
    rows = torch.from_numpy((yield from cached_features(setup, signals)))
    targets = [torch.tensor([label for _, label in setup.data.side(split)]) for split in (splits.TRAIN, splits.VAL)]
    count, classes, settled = len(targets[0]), len(setup.data.classes), setup.recipe
    began = time.monotonic()
    solved = from_first(
        setup.rank,
        lambda: head.solve(rows[:count], targets[0], classes, balance=settled.balance, seed=settled.seed),
    )
    judged = judgement.of_logits(solved.logits(rows[count:]), targets[1])
    event = Solved(solved.strength, solved.loss, judged.loss, judged.top1, round(time.monotonic() - began, 3))
    yield event
    row = Epoch(HEAD, 0, 0, 0.0, event.train_loss, event.val_loss, event.val_top1, event.seconds)
    return solved, judged, asdict(row)


def _layers(setup: Setup, signals: Signals, start: Start, images: tuple[Images, Images]) -> Stage:
    """Train all layers of a network on images, from the newest checkpoint if there is one."""
    train, val = images
    loop = Loop(
        start.network,
        train,
        val,
        replace(setup.recipe, lr=start.rate),
        setup.rank,
        folder=setup.checkpoints,
        signals=signals,
        classes=len(setup.data.classes),
        earlier=start.earlier,
        best=start.best,
    )
    if setup.state:
        _resume(loop, setup.state, setup.checkpoints)
    yield Settled(loop.recipe, setup.rank, loop.steps, loop.step)
    yield from loop.events()
    state = {name: value.cpu() for name, value in loop.network.state_dict().items()}
    count = sum(value.numel() for value in loop.network.parameters())
    return Outcome(state, loop.validate(), [*start.earlier, *loop.history], asdict(loop.recipe), count)


def _with_zeros(network: nn.Module) -> nn.Module:
    """Return a pretrained network with a classifier of zeros.

    The first steps of a random one change what the layers know by chance: letters, from the digits model, had 68% after
    12 epochs where zeros had 88% (two seeds). Random layers have nothing to lose: clothes had 73 and 70%.
    """
    for parameter in network.get_classifier().parameters():  # type: ignore[operator] # timm's models have it
        nn.init.zeros_(parameter)
    return network


@contextlib.contextmanager
def _images(setup: Setup) -> Iterator[tuple[Images, Images]]:
    """Open the images to train and to validate on."""
    config, workers = setup.result.data, setup.decoders
    augmented, as_predicted = Augmentation(config, setup.recipe), Loader.of(config, setup.job.options())
    with (
        Images(setup.data.side(splits.TRAIN), augmented, workers) as train,
        Images(setup.data.side(splits.VAL), as_predicted, workers) as val,
    ):
        yield train, val


def _choose(setup: Setup, made: nn.Module, with_head: nn.Module, train: Data) -> tuple[bool, float]:
    """Return whether all layers are trained from the solved head, not from a new one, and at which rate.

    The solved head fits features as `predict` computes them. In training, crops and the statistics of batches change
    features: those of a start that is far from these images so much that answers are worse than chance (a loss of 14
    and of 228, where chance has 2.6 and 2.3). From there a new head learns faster.
    """
    trials = Trials(train, setup.recipe, setup.rank.device)
    start, loss = with_head, trials.loss(with_head)
    if not (takes_head := loss < math.log(len(setup.data.classes))):
        start, loss = made, trials.loss(made)
    return takes_head, trials.rate(start, loss) if setup.recipe.lr == recipe.AUTO else float(setup.recipe.lr)


def _resume(loop: Loop, state: dict[str, Any], folder: Path) -> None:
    """Resume the loop from `state`.

    Raises:
        TrainingStopped: the state does not fit this run.
    """
    try:
        loop.resume(state)
    except torch.OutOfMemoryError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        message = (
            f"the newest file in {folder} does not fit this run ({type(error).__name__}): remove it, and try again."
        )
        raise TrainingStopped(message) from error
