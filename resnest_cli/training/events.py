"""What a training run reports as it goes, one frozen value per event.

In: nothing. Out: the types of events, in the order in which they come: `Scanning` and `Scanned`; in finetuning `Cached`
and `Solved`; where all layers are trained, `Settled`, `Step` and `Epoch`; at last `Done`. Of folds: `Scanning` and
`Parted`; for each fold those of its run and `Judged`; at last `Done`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from resnest_cli.inputs.labelled.check import Scanning
    from resnest_cli.inputs.labelled.training_set import TrainingSet
    from resnest_cli.training.distributed import Rank
    from resnest_cli.training.recipe import Recipe

HEAD, LAYERS = "head", "layers"  # the stages, in the history


@dataclass(frozen=True)
class Scanned:
    """The data set, checked and split, before anything is trained."""

    data: TrainingSet


@dataclass(frozen=True)
class Parted:
    """The data set, checked and parted into folds, before anything is trained."""

    folds: tuple[TrainingSet, ...]


@dataclass(frozen=True)
class Cached:
    """Features of so many images are computed, out of all."""

    done: int
    total: int


@dataclass(frozen=True)
class Solved:
    """The head is solved and validated; `strength` is the C of its penalty, `seconds` are those of solving."""

    strength: float
    train_loss: float
    val_loss: float
    val_top1: float
    seconds: float


@dataclass(frozen=True)
class Settled:
    """All layers are about to be trained: the recipe with nothing left open, its steps, and the step to resume from."""

    recipe: Recipe
    rank: Rank
    steps: int
    step: int


@dataclass(frozen=True)
class Step:
    """One optimization step done: number `step` of `steps`, its loss and its highest learning rate."""

    step: int
    steps: int
    loss: float
    lr: float


@dataclass(frozen=True)
class Epoch:
    """One epoch done and validated. `train_loss` is the mean over its steps, as the recipe smooths and mixes it.

    The head is epoch 0: it took none.
    """

    stage: str
    epoch: int
    step: int
    lr: float
    train_loss: float
    val_loss: float
    val_top1: float
    seconds: float


@dataclass(frozen=True)
class Judged:
    """Fold `number` of `count` is done: its model judged so many images, with this share right."""

    number: int
    count: int
    images: int
    top1: float


@dataclass(frozen=True)
class Done:
    """The folder is complete; these are its metrics."""

    metrics: dict[str, Any]


Event: TypeAlias = "Scanning | Scanned | Parted | Cached | Solved | Settled | Step | Epoch | Judged | Done"
