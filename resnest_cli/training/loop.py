"""The training loop: a network, two sides of data and a recipe become weights, one step after the other.

In: a network, `Data` to train and to validate on, a settled `Recipe`, a `Place`, a folder for checkpoints. Out: a
stream of `Step` and `Epoch` events; at its end the network holds the weights to keep, and `validate` judges them. Knows
nothing of image files, models' names or the terminal.

All chance of a step hangs on (seed, step), so that model, optimizer, average and the number of steps done are a run's
whole state: one that was killed and goes on computes what it would have computed.
"""

from __future__ import annotations

import copy
import math
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from timm.data.mixup import Mixup
from timm.layers import DropBlock2d
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3
from timm.utils.distributed import distribute_bn
from torch import nn
from torch.nn import functional

from resnest_cli.errors import TrainingStopped
from resnest_cli.training import checkpoints
from resnest_cli.training.data import number, order, seed_everything
from resnest_cli.training.distributed import Place, summed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from resnest_cli.training.data import Data
    from resnest_cli.training.recipe import Recipe
    from resnest_cli.training.signals import Signals

SAVE_SECONDS = 300  # the most work that a crash in the middle of an epoch can cost
WARMUP_LR = 1e-5
VAL_BATCH = 64
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Step:
    """One optimisation step done: number `step` of `steps`, its loss and its highest learning rate."""

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


Event: TypeAlias = Step | Epoch
Feed: TypeAlias = "Iterator[tuple[list[int], torch.Tensor]]"  # rows and their inputs, pass by pass


@dataclass(frozen=True)
class Judgement:
    """The validation side as a network sees it, row by row: the class it takes, and its loss without smoothing."""

    predicted: torch.Tensor
    losses: torch.Tensor
    targets: torch.Tensor

    @property
    def top1(self) -> float:
        """The share of rows whose class is right."""
        return float((self.predicted == self.targets).double().mean())

    @property
    def loss(self) -> float:
        """The mean cross-entropy."""
        return float(self.losses.mean())


class Loop:
    """One stage of a run. Its attributes are what a checkpoint keeps, and what it takes to make them again.

    Args:
        network: on the CPU, in any mode; after `events` it holds the weights to keep.
        train: what to learn from.
        val: what to validate on.
        recipe: settled, with a number as learning rate.
        place: where this process stands.
        folder: where checkpoints go; only the first process writes.
        stage: the name of this stage; the alphabet orders the stages of a run.
        signals: asked after every step whether to end.
        classes: the number of classes.
        earlier: the history of the stages before this one.
    """

    def __init__(  # noqa: PLR0913 - a loop is where everything meets
        self,
        network: nn.Module,
        train: Data,
        val: Data,
        recipe: Recipe,
        place: Place,
        *,
        folder: Path,
        stage: str,
        signals: Signals,
        classes: int,
        earlier: list[dict[str, Any]],
    ) -> None:
        self.train, self.val, self.recipe, self.place = train, val, recipe, place
        self.folder, self.stage, self.signals, self.earlier = folder, stage, signals, earlier
        self.batch = int(recipe.batch)
        self.steps_an_epoch = len(train.targets) // self.batch
        self.steps = recipe.epochs * self.steps_an_epoch
        self.network = network.to(place.device, memory_format=_layout(place.device))  # type: ignore[call-overload] # torch#66151
        if recipe.sync_bn and place.processes > 1:
            self.network = nn.SyncBatchNorm.convert_sync_batchnorm(self.network)  # type: ignore[no-untyped-call]
        self.optimizer = make_optimizer(self.network, recipe)
        self.schedule = make_schedule(self.optimizer, recipe, self.steps_an_epoch)
        self.mix = _mixup(recipe, classes)
        self.criterion = SoftTargetCrossEntropy() if self.mix else LabelSmoothingCrossEntropy(recipe.smoothing)
        self.ema = ModelEmaV3(self.network, decay=recipe.ema, use_warmup=True) if recipe.ema else None
        self.scaler = torch.amp.GradScaler(place.device.type, enabled=recipe.precision == "fp16")
        self.drop_blocks = [module for module in self.network.modules() if isinstance(module, DropBlock2d)]
        self.wrapped = _wrapped(self.network, place)
        # What changes as it goes:
        self.step = 0
        self.loss_so_far = 0.0  # of this epoch's steps
        self.history: list[dict[str, Any]] = []
        # An earlier stage left what this one begins with: it is kept if no epoch does better.
        self.best = copy.deepcopy(self.network.state_dict()) if earlier and recipe.patience else None

    def events(self) -> Iterator[Event]:
        """Train to the end, or from where the newest checkpoint of this stage stands.

        Raises:
            TrainingStopped: a signal came (a checkpoint of this very step is written), or the loss is no number.
            OutputError: a checkpoint cannot be written.
        """
        feed: Feed = iter(())
        feeding = -1  # the epoch that `feed` is of
        began = saved = time.monotonic()
        while True:
            self._stop_if_asked()
            # 1. At the end of an epoch: validate, remember, keep.
            if self.step == (len(self.history) + 1) * self.steps_an_epoch:
                yield self._end_epoch(time.monotonic() - began)
                self._save()
                began = saved = time.monotonic()
            # 2. Stop where the recipe ends, or where nothing has become better for long.
            if self.step == self.steps or self._patience_is_over():
                break
            # 3. Feed: the rows of this epoch that are still to come.
            epoch, done = divmod(self.step, self.steps_an_epoch)
            if feeding != epoch:
                groups = self._groups(epoch)[done * self.recipe.accumulate :]
                feed, feeding = zip(groups, self.train.batches(epoch, groups), strict=True), epoch
            # 4. One optimisation step.
            loss = self._optimise(feed)
            self.loss_so_far += loss
            self.step += 1
            yield Step(self.stage, self.step, self.steps, loss, self._lr())
            # 5. What must not be lost.
            if not math.isfinite(loss):
                message = f"the loss became {loss} at step {self.step}. Try a lower --lr, or --clip 1, from the start."
                raise TrainingStopped(message)
            if time.monotonic() - saved > SAVE_SECONDS:
                self._save()
                saved = time.monotonic()
        # 6. The weights to keep: the best where it could stop early, else the last.
        if self.best is not None and self.recipe.patience:
            self._judged().load_state_dict(self.best)
        self.network.load_state_dict(self._judged().state_dict())

    def resume(self, state: dict[str, Any]) -> None:
        """Take up the state that a checkpoint of this stage holds."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.ema:
            self.ema.module.load_state_dict(state["ema"])
        self.scaler.load_state_dict(state["scaler"])
        self.step, self.loss_so_far = state["step"], state["loss_so_far"]
        self.history, self.best = state["history"], state["best"]
        self.schedule.step_update(self.step)

    def validate(self) -> Judgement:
        """Judge every row of the validation side exactly once, whatever the number of processes."""
        network = self._judged().eval()
        count = len(self.val.targets)
        rows = list(range(count))[self.place.rank :: self.place.processes]
        groups = [rows[at : at + VAL_BATCH] for at in range(0, len(rows), VAL_BATCH)]
        # Each process fills in its own rows; the sum over all is the whole.
        predicted, losses = torch.zeros(count, dtype=torch.int64), torch.zeros(count, dtype=torch.float64)
        for group, inputs in zip(groups, self.val.batches(0, groups), strict=True):
            with torch.inference_mode(), self._autocast():
                logits = network(self._on_device(inputs)).float().cpu()
            predicted[group] = logits.argmax(dim=1)
            self._stop_if_asked()
            losses[group] = functional.cross_entropy(logits, self.val.targets[group], reduction="none").double()
        return Judgement(summed(self.place, predicted), summed(self.place, losses), self.val.targets)

    def _optimise(self, feed: Feed) -> float:
        """Do step number `self.step`; give its loss, the mean over its images in all processes and passes."""
        for block in self.drop_blocks:
            block.drop_prob = self.recipe.drop_block * self.step / self.steps
        self.wrapped.train()
        total = torch.zeros(1, dtype=torch.float64)
        for left in reversed(range(self.recipe.accumulate)):
            group, inputs = next(feed)  # decoding has its own chance, so a step's begins after it
            self._seed(left)
            with self._no_sync(last=left == 0):
                loss = self._loss(inputs, self.train.targets[group]) / self.recipe.accumulate
                self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        if self.recipe.clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        self.schedule.step_update(self.step + 1)
        if self.ema:
            self.ema.update(self.network, step=self.step + 1)
        return float(summed(self.place, total)) / self.place.processes

    def _seed(self, left: int) -> None:
        """Start the chance of one pass: mixup, dropout and DropBlock, each process with its own."""
        parts = (self.recipe.seed, "step", self.step, self.place.rank, left)
        seed_everything(*parts)
        if self.place.device.type == "cuda":
            torch.cuda.manual_seed(number(*parts))

    def _loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        inputs, targets = self._on_device(inputs), targets.to(self.place.device)
        if self.mix:
            inputs, targets = self.mix(inputs, targets)
        with self._autocast():
            loss: torch.Tensor = self.criterion(self.wrapped(inputs).float(), targets)
        return loss

    def _end_epoch(self, seconds: float) -> Epoch:
        if self.place.processes > 1:  # every process has seen other images: their norms' statistics are averaged
            for network in (self.network, *([self.ema.module] if self.ema else [])):
                distribute_bn(network, self.place.processes, reduce=True)
        judgement = self.validate()
        before = map(_rank_of, [*self.earlier, *self.history])
        better = _rank(judgement.top1, judgement.loss) > max(before, default=_rank(-math.inf, math.inf))
        if better and self.recipe.patience:
            self.best = copy.deepcopy(self._judged().state_dict())
        done = Epoch(
            self.stage,
            len(self.history) + 1,
            self.step,
            self._lr(),
            self.loss_so_far / self.steps_an_epoch,
            judgement.loss,
            judgement.top1,
            round(seconds, 3),
        )
        self.history.append(asdict(done))
        self.loss_so_far = 0.0
        return done

    def _patience_is_over(self) -> bool:
        if not self.recipe.patience or not self.history:
            return False
        best = max(range(len(self.history)), key=lambda i: (*_rank_of(self.history[i]), -i))
        return len(self.history) - 1 - best >= self.recipe.patience

    def _groups(self, epoch: int) -> list[list[int]]:
        """List this process's share of each pass of the epoch; rows that fill no whole step wait for another."""
        rows = order(self.train.targets, epoch, self.recipe)
        size = self.batch // self.recipe.accumulate
        passes = range(self.steps_an_epoch * self.recipe.accumulate)
        return [rows[at * size : (at + 1) * size][self.place.rank :: self.place.processes] for at in passes]

    def _stop_if_asked(self) -> None:
        """End where the state is whole: between steps, or in a validation, which is then done again."""
        if self.signals.number:
            self._save()
            raise self.signals.stopped(f"at step {self.step} of {self.steps}")

    def _save(self) -> None:
        if not self.place.first:
            return
        state = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.module.state_dict() if self.ema else None,
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "loss_so_far": self.loss_so_far,
            "history": self.history,
            "best": self.best,
            "stage": self.stage,
            "earlier": self.earlier,
            "lr": self.recipe.lr,
        }
        checkpoints.save(self.folder, self.stage, self.step, state)

    def _judged(self) -> nn.Module:
        """Return the network that counts: the average if there is one."""
        network: nn.Module = self.ema.module if self.ema else self.network
        return network

    def _lr(self) -> float:
        return max(float(group["lr"]) for group in self.optimizer.param_groups)

    def _on_device(self, inputs: torch.Tensor) -> torch.Tensor:
        moved = inputs.to(self.place.device, non_blocking=True)
        return moved.contiguous(memory_format=_layout(self.place.device)) if moved.ndim == 4 else moved  # noqa: PLR2004 - images

    def _autocast(self) -> AbstractContextManager[object]:
        dtype = _DTYPES.get(self.recipe.precision)
        return torch.autocast(self.place.device.type, dtype=dtype) if dtype else nullcontext()

    def _no_sync(self, *, last: bool) -> AbstractContextManager[object]:
        """Let gradients gather here until the last pass of a step, which exchanges them."""
        if last or not isinstance(self.wrapped, nn.parallel.DistributedDataParallel):
            return nullcontext()
        return self.wrapped.no_sync()


def make_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Make timm's optimizer: no weight decay on biases and norms; each layer's rate below that of the layer above."""
    made: torch.optim.Optimizer = create_optimizer_v2(
        network,
        opt=recipe.optimizer,
        lr=float(recipe.lr),
        weight_decay=recipe.weight_decay,
        momentum=recipe.momentum,
        layer_decay=recipe.layer_decay if recipe.layer_decay < 1 else None,
    )
    return made


def make_schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, steps_an_epoch: int) -> Any:  # noqa: ANN401 - timm is untyped
    """Make timm's schedule, stepped by step: a rise over the warm-up, then a cosine to 0."""
    schedule, _ = create_scheduler_v2(
        optimizer,
        sched="cosine",
        num_epochs=recipe.epochs,
        warmup_epochs=min(recipe.warmup_epochs, recipe.epochs / 2),  # type: ignore[arg-type] # fractions are fine
        warmup_lr=min(WARMUP_LR, float(recipe.lr)),
        step_on_epochs=False,
        updates_per_epoch=steps_an_epoch,
    )
    schedule.step_update(0)
    return schedule


def _mixup(recipe: Recipe, classes: int) -> Mixup | None:
    if not recipe.mixup:
        return None
    return Mixup(mixup_alpha=recipe.mixup, label_smoothing=recipe.smoothing, num_classes=classes)


def _wrapped(network: nn.Module, place: Place) -> nn.Module:
    if place.processes == 1:
        return network
    own = [place.device.index] if place.device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(network, device_ids=own)


def _layout(device: torch.device) -> torch.memory_format:
    return torch.contiguous_format if device.type == "cpu" else torch.channels_last


def _rank(top1: float, loss: float) -> tuple[float, float]:
    return top1, -loss


def _rank_of(row: dict[str, Any]) -> tuple[float, float]:
    return _rank(row["val_top1"], row["val_loss"])
