"""The stages of a run: a new head on cached features, then all layers; or all layers from new weights.

In: a `Setup`. Out: events, and the last stage's `Loop` with the weights to keep. A stage goes on from its newest
checkpoint. In finetuning, all layers are trained with a GPU or if asked for, each with a rate below that of the layer
above it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from resnest_cli.errors import TrainingStopped
from resnest_cli.inputs import splits
from resnest_cli.training import judgement, recipe
from resnest_cli.training.data import (
    AHEAD,
    EvalTransform,
    Features,
    Images,
    lacks_shared_memory,
    seed_everything,
    train_transform,
)
from resnest_cli.training.distributed import shared
from resnest_cli.training.events import HEAD, LAYERS, Settled
from resnest_cli.training.features import cached_features
from resnest_cli.training.job import TRAIN
from resnest_cli.training.loop import Loop
from resnest_cli.training.rate import find_rate

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from resnest_cli.training.data import Data
    from resnest_cli.training.distributed import Rank
    from resnest_cli.training.events import Event
    from resnest_cli.training.recipe import Recipe
    from resnest_cli.training.setup import Setup
    from resnest_cli.training.signals import Signals

    Stage = Generator[Event, None, Loop]


def from_scratch(setup: Setup, signals: Signals) -> Stage:
    """Train all layers from new weights."""
    return (yield from _layers(setup, signals, setup.untrained(), earlier=[]))


def finetune(setup: Setup, signals: Signals) -> Stage:
    """Train a new head; then all layers, if the job asks for it."""
    state = setup.state
    if state is None or state["stage"] == HEAD:
        loop = yield from _head(setup, signals)
        if not setup.job.full:
            return loop
        head, earlier = {f"fc.{name}": value for name, value in loop.network.state_dict().items()}, loop.history
    else:  # the checkpoint of all layers has the head
        head, earlier = {}, state["earlier"]
    made = setup.pretrained(setup.for_training(setup.start))
    made.load_state_dict(head, strict=False)
    return (yield from _layers(setup, signals, made, earlier))


def _head(setup: Setup, signals: Signals) -> Stage:
    """Train a linear classifier on the pooled features of images as `predict` sees them."""
    rows = yield from cached_features(setup, signals)
    count = len(setup.data.side(splits.TRAIN))
    train, val = (
        Features(torch.from_numpy(part), torch.tensor([label for _, label in setup.data.side(split)]))
        for part, split in ((rows[:count], splits.TRAIN), (rows[count:], splits.VAL))
    )
    seed_everything(setup.job.recipe.seed, "head")
    head = nn.Linear(rows.shape[1], len(setup.data.classes))
    settled = replace(setup, recipe=recipe.head_of(setup.recipe), rank=setup.rank.alone())
    return (yield from _train(settled, signals, HEAD, head, train, val, earlier=[]))


def _layers(setup: Setup, signals: Signals, made: nn.Module, earlier: list[dict[str, Any]]) -> Stage:
    """Train all layers of a network on images."""
    config, workers, seed = setup.result.data, setup.decoders, setup.job.recipe.seed
    passes = int(setup.recipe.batch) // setup.recipe.accumulate, setup.rank.processes * judgement.BATCH
    needed = 2 * workers * AHEAD * max(passes) * 4 * math.prod(config.input_size)  # two sides, float32
    piped = lacks_shared_memory(needed)
    transform = train_transform(config, setup.recipe)
    train = Images(setup.data.side(splits.TRAIN), transform, seed, workers, piped=piped)
    val = Images(setup.data.side(splits.VAL), EvalTransform(config), seed, workers, piped=piped)
    return (yield from _train(setup, signals, LAYERS, made, train, val, earlier))


def _train(  # noqa: PLR0913, PLR0917 - what the two stages differ in
    setup: Setup,
    signals: Signals,
    stage: str,
    made: nn.Module,
    train: Data,
    val: Data,
    earlier: list[dict[str, Any]],
) -> Stage:
    """Train one stage to its end, from its newest checkpoint if there is one."""
    state = setup.state if setup.state and setup.state["stage"] == stage else None
    rate = state["lr"] if state else _rate(setup, made, train)
    settled = replace(setup.recipe, lr=rate)
    loop = Loop(
        made,
        train,
        val,
        settled,
        setup.rank,
        folder=setup.checkpoints,
        stage=stage,
        signals=signals,
        classes=len(setup.data.classes),
        earlier=earlier,
    )
    if state:
        _resume(loop, state, setup.checkpoints)
    yield Settled(stage, settled, setup.rank, loop.steps, loop.step)
    yield from loop.events()
    return loop


def _rate(setup: Setup, made: nn.Module, train: Data) -> float:
    """Return the learning rate of a stage: the one given, the published one, or in finetuning the one found."""
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
