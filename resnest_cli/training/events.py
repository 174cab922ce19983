"""What a training run reports as it goes, one frozen value per event.

In: nothing. Out: the types of events, in the order in which they come: `Scanned`; then for each stage `Cached` (of the
head only), `Settled`, `Step` and `Epoch`; at last `Done`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from resnest_cli.inputs.labelled.training_set import TrainingSet
    from resnest_cli.training.distributed import Rank
    from resnest_cli.training.recipe import Recipe

HEAD, LAYERS = "1-head", "2-layers"  # the stages; checkpoints sort by these names


@dataclass(frozen=True)
class Scanned:
    """The data set, checked and split, before anything is trained."""

    data: TrainingSet


@dataclass(frozen=True)
class Cached:
    """Features of so many images are computed, out of all."""

    done: int
    total: int


@dataclass(frozen=True)
class Settled:
    """A stage about to begin: its recipe with nothing left open, its steps, and the step that it resumes from."""

    stage: str
    recipe: Recipe
    rank: Rank
    steps: int
    step: int


@dataclass(frozen=True)
class Step:
    """One optimization step done: number `step` of `steps`, its loss and its highest learning rate."""

    stage: str
    step: int
    steps: int
    loss: float
    lr: float


@dataclass(frozen=True)
class Epoch:
    """One epoch done and validated. `train_loss` is the mean over its steps, as the recipe smooths and mixes it."""

    stage: str
    epoch: int
    step: int
    lr: float
    train_loss: float
    val_loss: float
    val_top1: float
    seconds: float


@dataclass(frozen=True)
class Done:
    """The folder is complete; these are its metrics."""

    metrics: dict[str, Any]


Event: TypeAlias = Scanned | Cached | Settled | Step | Epoch | Done
