"""How a network is trained: every item of a recipe, the published one, and ours for finetuning.

In: nothing. Out: frozen values. Standard library only, so that the command line takes its defaults from here.

The published recipe is that of the model card (270 epochs, SGD, weight decay 1e-4, AutoAugment, mixup, DropBlock, label
smoothing) with what the card leaves out taken from the authors' own training script: 0.1 is the learning rate for 256
images, it rises over five epochs and falls along a cosine, momentum is Nesterov's, biases and norms do not decay,
DropBlock grows from 0 to 0.1, and only the two deepest networks have dropout.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypedDict

from resnest_cli.errors import UsageError
from resnest_cli.text.json_input import shorten

if TYPE_CHECKING:
    from resnest_cli.text.json_input import Entries

AUTO = "auto"
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
COSINE, ONE_CYCLE = "cosine", "one-cycle"
SCHEDULES = (COSINE, ONE_CYCLE)
RISE = 0.3  # of the epochs, for "auto"
LR_PER_256 = 0.1
VAL = 0.2  # share of each class that validates, where the data come in one part
DROPOUT = {"resnest200e": 0.2, "resnest269e": 0.2}
_LEAST = {
    "epochs": 1,
    "batch": 2,
    "accumulate": 1,
    "lr": 1e-12,
    "momentum": 0,
    "weight_decay": 0,
    "layer_decay": 1e-3,
    "warmup_epochs": 0,
    "clip": 0,
    "smoothing": 0,
    "mixup": 0,
    "crop_scale": 1e-3,
    "hflip": 0,
    "dropout": 0,
    "drop_block": 0,
    "ema": 0,
    "patience": 0,
    "seed": 0,
}
_BELOW = {
    "momentum": 1,
    "layer_decay": 1 + 1e-9,
    "smoothing": 1,
    "crop_scale": 1 + 1e-9,
    "hflip": 1 + 1e-9,
    "dropout": 1,
    "drop_block": 1,
    "ema": 1,
    "seed": 2**32,
}


@dataclass(frozen=True)
class Recipe:
    """Every item of a recipe; `settled` settles "auto", and `rate` the learning rate, which needs the data.

    The first line of each item is its help on the command line.

    Attributes:
        epochs: Passes over the training images.
            Of all layers; a head alone takes none.
        batch: Images per step, over all processes.
        accumulate: Forward passes that share one step.
        optimizer: timm's name; sgd has Nesterov momentum.
        lr: Highest learning rate.
        momentum: Momentum of sgd.
        weight_decay: Decay of weights; biases and norms have none.
        layer_decay: Rate of a layer over that of the one above.
        schedule: Course of the rate: a warm-up and a cosine, or one cycle.
            One cycle (arXiv:1708.07120) moves the momentum too.
        warmup_epochs: Epochs of rising rate; auto is 0.3 of all.
        clip: Largest norm of the gradient; 0 is any.
        smoothing: Label smoothing.
        mixup: Alpha of mixup; 0 is none.
        augment: timm's auto_augment, or none.
            Such as "original" or "rand-m8-inc1".
        crop_scale: Least share that a random crop keeps.
            1 resizes without cropping.
        hflip: Probability of a mirror image.
        dropout: Dropout before the classifier.
        drop_block: Final rate of DropBlock; it grows from 0.
        ema: Decay of averaged weights; 0 is none.
        patience: Epochs without progress before it stops; 0 never does.
            Then it keeps the last weights, not the best.
        balance: Draw rare classes as often as common ones.
        sync_bn: Compute norms over the batches of all processes.
        precision: auto is bf16 where a GPU computes it, else fp32.
        seed: Random seed for the split, weights and training.

    Raises:
        UsageError: a value out of range.
    """

    epochs: int = 270
    batch: int | str = AUTO
    accumulate: int = 1
    optimizer: str = "sgd"
    lr: float | str = AUTO
    momentum: float = 0.9
    weight_decay: float = 1e-4
    layer_decay: float = 1.0
    schedule: str = COSINE
    warmup_epochs: float | str = 5
    clip: float = 0.0
    smoothing: float = 0.1
    mixup: float = 0.2
    augment: str = "original"
    crop_scale: float = 0.08
    hflip: float = 0.5
    dropout: float | str = AUTO
    drop_block: float = 0.1
    ema: float = 0.0
    patience: int = 0
    balance: bool = False
    sync_bn: bool = False
    precision: str = AUTO
    seed: int = 0

    def __post_init__(self) -> None:
        """Check all numbers."""
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value != AUTO and not least <= value < _BELOW.get(name, float("inf")):
                below = f" and below {_BELOW[name]:g}" if name in _BELOW else ""
                message = f"--{name.replace('_', '-')} {value}: use a number from {least:g}{below}."
                raise UsageError(message)
        if self.schedule not in SCHEDULES:
            raise UsageError(f"--schedule {self.schedule}: use one of {', '.join(SCHEDULES)}.")


class Items(TypedDict, total=False):
    """The items of a recipe as keywords."""

    epochs: int
    batch: int | str
    accumulate: int
    optimizer: str
    lr: float | str
    momentum: float
    weight_decay: float
    layer_decay: float
    schedule: str
    warmup_epochs: float | str
    clip: float
    smoothing: float
    mixup: float
    augment: str
    crop_scale: float
    hflip: float
    dropout: float | str
    drop_block: float
    ema: float
    patience: int
    balance: bool
    sync_bn: bool
    precision: str
    seed: int


RESNEST = Recipe()
FINETUNE = Recipe(
    epochs=30,
    optimizer="adamw",
    weight_decay=0.05,
    schedule=ONE_CYCLE,
    warmup_epochs=AUTO,
    clip=1.0,
    mixup=0.0,
    augment="none",
    crop_scale=0.5,
    hflip=0.0,  # where left and right mean something, as in letters and hands, mirrored images mislead: 52% became 70%
    drop_block=0.0,
    patience=10,
)


def settled(recipe: Recipe, architecture: str, *, images: int, processes: int, default_batch: int) -> Recipe:
    """Settle batch, warm-up and dropout for `images` to train on with so many processes.

    A data set smaller than the batch gets a batch of its own size. The batch must divide evenly, with at least two
    images per pass: norms cannot learn from one.

    Raises:
        UsageError: the batch does not divide.
    """
    share = processes * recipe.accumulate
    unit = 2 * share if recipe.mixup else share
    batch = default_batch * processes if recipe.batch == AUTO else int(recipe.batch)
    if batch > images or recipe.batch == AUTO:
        batch = min(batch, images) // unit * unit
    if batch % unit or batch < 2 * share:
        even = ", evenly for mixup" if recipe.mixup else ""
        message = (
            f"--batch {recipe.batch}: {batch} images a step, of {images}, cannot be shared by {processes} processes "
            f"and {recipe.accumulate} passes with two images each at least{even}. Use a multiple of {unit}."
        )
        raise UsageError(message)
    dropout = DROPOUT.get(architecture, 0.0) if recipe.dropout == AUTO else recipe.dropout
    warmup = RISE * recipe.epochs if recipe.warmup_epochs == AUTO else recipe.warmup_epochs
    return replace(recipe, batch=batch, warmup_epochs=warmup, dropout=dropout)


def taken(given: Entries) -> Recipe:
    """Return the recipe of these entries.

    Raises:
        ValueError: one is unknown, of another type, or out of its range.
    """
    kinds = {item.name: str(item.type) for item in fields(Recipe)}
    if strange := given.values.keys() - kinds.keys():
        message = f"{given.name} holds {shorten(min(map(str, strange)))}, which is unknown"
        raise ValueError(message)
    try:
        return Recipe(**{key: _taken(given, key, kinds[key]) for key in given.values})
    except UsageError as error:
        raise ValueError(error.message) from error


def _taken(given: Entries, key: str, kind: str) -> Any:  # noqa: ANN401 - as its field
    if kind == "bool":
        return given.flag(key)
    if kind == "str" or (kind.endswith("str") and given.values[key] == AUTO):
        return given.text(key)
    return given.integer(key, 0, _MOST) if kind.startswith("int") else given.number(key, 0, _MOST)


def items(recipe: Recipe) -> dict[str, Any]:
    """Return the items by name."""
    return {item.name: getattr(recipe, item.name) for item in fields(recipe)}


_MOST = 1 << 53
