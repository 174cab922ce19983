"""The stages of a run: a new head, solved on cached features, then all layers; or all layers from new weights.

In: a `Setup`. Out: events, and an `Outcome`. A resumed run goes on from the newest checkpoint of all layers; the head,
which takes seconds, is solved again.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from resnest_cli.errors import TrainingStopped
from resnest_cli.inputs import splits
from resnest_cli.training import head, judgement, recipe
from resnest_cli.training.data import AHEAD, EvalTransform, Images, lacks_shared_memory, train_transform
from resnest_cli.training.distributed import shared
from resnest_cli.training.events import HEAD, Epoch, Settled, Solved
from resnest_cli.training.features import cached_features
from resnest_cli.training.job import TRAIN
from resnest_cli.training.loop import Loop
from resnest_cli.training.rate import find_rate

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from torch import nn

    from resnest_cli.training.data import Data
    from resnest_cli.training.distributed import Rank
    from resnest_cli.training.events import Event
    from resnest_cli.training.head import Head
    from resnest_cli.training.judgement import Judgement
    from resnest_cli.training.recipe import Recipe
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
        recipe: with a learning rate where all layers were trained.
        parameters: how many were trained last.
    """

    state: dict[str, torch.Tensor]
    judgement: Judgement
    history: list[dict[str, Any]]
    recipe: Recipe
    parameters: int


def from_scratch(setup: Setup, signals: Signals) -> Stage:
    """Train all layers from new weights."""
    return (yield from _layers(setup, signals, setup.untrained(), earlier=[]))


def finetune(setup: Setup, signals: Signals) -> Stage:
    """Solve a new head; then train all layers, if the job asks for it."""
    made = setup.pretrained(setup.for_training(setup.start))
    if setup.state is not None:  # a checkpoint of all layers, with the head in it
        return (yield from _layers(setup, signals, made, setup.state["earlier"]))
    solved, judged, row = yield from _head(setup, signals)
    made.load_state_dict({"fc.weight": solved.weight, "fc.bias": solved.bias}, strict=False)
    if setup.job.full:
        return (yield from _layers(setup, signals, made, [row]))
    return Outcome(made.state_dict(), judged, [row], setup.recipe, solved.weight.numel() + solved.bias.numel())


def _head(setup: Setup, signals: Signals) -> Generator[Event, None, tuple[Head, Judgement, dict[str, Any]]]:
    """Solve a linear classifier on the pooled features of images as `predict` sees them; return it and its row."""
    rows = torch.from_numpy((yield from cached_features(setup, signals)))
    targets = [torch.tensor([label for _, label in setup.data.side(split)]) for split in (splits.TRAIN, splits.VAL)]
    count, classes, settled = len(targets[0]), len(setup.data.classes), setup.recipe
    began = time.monotonic()
    solved = head.solve(rows[:count], targets[0], classes, balance=settled.balance, seed=settled.seed)
    solved = shared(setup.rank, solved)  # other processes may have other CPUs, which round otherwise
    judged = judgement.of_logits(solved.logits(rows[count:]), targets[1])
    event = Solved(solved.strength, solved.loss, judged.loss, judged.top1, round(time.monotonic() - began, 3))
    yield event
    row = Epoch(HEAD, 0, 0, 0.0, event.train_loss, event.val_loss, event.val_top1, event.seconds)
    return solved, judged, asdict(row)


def _layers(setup: Setup, signals: Signals, made: nn.Module, earlier: list[dict[str, Any]]) -> Stage:
    """Train all layers of a network on images, from the newest checkpoint if there is one."""
    train, val = _images(setup)
    rate = setup.state["lr"] if setup.state else _rate(setup, made, train)
    loop = Loop(
        made,
        train,
        val,
        replace(setup.recipe, lr=rate),
        setup.rank,
        folder=setup.checkpoints,
        signals=signals,
        classes=len(setup.data.classes),
        earlier=earlier,
    )
    if setup.state:
        _resume(loop, setup.state, setup.checkpoints)
    yield Settled(loop.recipe, setup.rank, loop.steps, loop.step)
    yield from loop.events()
    state = {name: value.cpu() for name, value in loop.network.state_dict().items()}
    count = sum(value.numel() for value in loop.network.parameters())
    return Outcome(state, loop.validate(), [*earlier, *loop.history], loop.recipe, count)


def _images(setup: Setup) -> tuple[Images, Images]:
    """Return the images to train and to validate on."""
    config, workers, seed = setup.result.data, setup.decoders, setup.job.recipe.seed
    passes = int(setup.recipe.batch) // setup.recipe.accumulate, setup.rank.processes * judgement.BATCH
    needed = 2 * workers * AHEAD * max(passes) * 4 * math.prod(config.input_size)  # two sides, float32
    piped = lacks_shared_memory(needed)
    transform = train_transform(config, setup.recipe)
    return (
        Images(setup.data.side(splits.TRAIN), transform, seed, workers, piped=piped),
        Images(setup.data.side(splits.VAL), EvalTransform(config), seed, workers, piped=piped),
    )


def _rate(setup: Setup, made: nn.Module, train: Data) -> float:
    """Return the learning rate: the one given, the published one, or in finetuning the one found."""
    settled: Recipe = setup.recipe
    if settled.lr != recipe.AUTO:
        return float(settled.lr)
    if setup.job.command == TRAIN:
        return recipe.LR_PER_256 * int(settled.batch) / 256
    rank: Rank = setup.rank
    return shared(rank, find_rate(made, train, settled, rank.device) if rank.first else 0.0)


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
