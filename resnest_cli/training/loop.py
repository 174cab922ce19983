"""The training loop: a network, two sides of data and a recipe become weights, one step after the other.

In: a network, `Data` to train and to validate on, a settled `Recipe`, a `Rank`, a folder for checkpoints. Out: a stream
of `Step` and `Epoch` events; after the last one the network holds the weights to keep, and `validate` judges them.
Knows nothing of image files, models' names or the terminal.

Every random choice of a step follows from (seed, step). So model, optimizer, average and the number of steps are the
whole state of a run: a run that was killed and resumed computes what it would have computed.
"""

from __future__ import annotations

import copy
import math
import time
from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from timm.layers import DropBlock2d
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from timm.utils import ModelEmaV3
from timm.utils.distributed import distribute_bn
from torch import nn

from resnest_cli.errors import TrainingStopped
from resnest_cli.training import checkpoints, layout
from resnest_cli.training.data import order
from resnest_cli.training.distributed import Rank, summed, wrap
from resnest_cli.training.events import LAYERS, Epoch, Step
from resnest_cli.training.judgement import WORST, judge, score_of
from resnest_cli.training.optimizer import make_mixup, make_optimizer, make_schedule
from resnest_cli.training.randomness import number, seed_everything

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from resnest_cli.training.data import Data
    from resnest_cli.training.judgement import Judgement
    from resnest_cli.training.recipe import Recipe
    from resnest_cli.training.signals import Signals

SAVE_SECONDS = 300  # the most work that a crash in the middle of an epoch can cost
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}

Feed: TypeAlias = "Iterator[tuple[list[int], torch.Tensor]]"  # rows and their inputs, pass by pass


class Loop:
    """The training of all layers.

    Args:
        network: on the CPU, in any mode; after `events` it holds the weights to keep.
        train: what to learn from.
        val: what to validate on.
        recipe: settled, with a number as learning rate.
        rank: this process.
        folder: where checkpoints go; only the first process writes.
        signals: asked after every step whether to end.
        classes: the number of classes.
        earlier: the history before this stage: the head's row, if one was solved.
        best: weights to keep if no epoch does better than `earlier`.
    """

    def __init__(  # noqa: PLR0913 - a loop is where everything meets
        self,
        network: nn.Module,
        train: Data,
        val: Data,
        recipe: Recipe,
        rank: Rank,
        *,
        folder: Path,
        signals: Signals,
        classes: int,
        earlier: list[dict[str, Any]],
        best: dict[str, torch.Tensor] | None = None,
    ) -> None:
        self.train, self.val, self.recipe, self.rank = train, val, recipe, rank
        self.folder, self.signals, self.earlier = folder, signals, earlier
        self.batch = int(recipe.batch)
        self.steps_per_epoch = len(train.targets) // self.batch
        self.steps = recipe.epochs * self.steps_per_epoch
        self.network, self.on_device = network, layout.place(network, rank.device)
        if recipe.sync_bn and rank.processes > 1:
            self.network = nn.SyncBatchNorm.convert_sync_batchnorm(self.network)  # type: ignore[no-untyped-call]
        self.optimizer = make_optimizer(self.network, recipe)
        self.schedule = make_schedule(self.optimizer, recipe, self.steps_per_epoch)
        self.classes, self.mix = classes, make_mixup(recipe, classes)
        self.criterion = SoftTargetCrossEntropy() if self.mix else LabelSmoothingCrossEntropy(recipe.smoothing)
        self.ema = ModelEmaV3(self.network, decay=recipe.ema, use_warmup=True) if recipe.ema else None
        self.scaler = torch.amp.GradScaler(rank.device.type, enabled=recipe.precision == "fp16")
        self.drop_blocks = [module for module in self.network.modules() if isinstance(module, DropBlock2d)]
        self.wrapped = wrap(self.network, rank)
        # What changes from step to step:
        self.step = 0
        self.loss_so_far = 0.0  # the sum over this epoch's steps
        self.history: list[dict[str, Any]] = []
        self.best = best if recipe.patience else None
        self.patient_from = 0  # the epoch from which `patience` counts

    def events(self) -> Iterator[Step | Epoch]:
        """Train to the end, from `step` on.

        Raises:
            TrainingStopped: a signal came (a checkpoint of this very step is written), or the loss is not finite.
            OutputError: a checkpoint cannot be written.
        """
        feed: Feed = iter(())
        feeding = -1  # the epoch that `feed` is of
        began = saved = time.monotonic()
        while True:
            self._stop_if_asked()
            # 1. At the end of an epoch: validate, keep the best weights, write a checkpoint.
            if self.step == (len(self.history) + 1) * self.steps_per_epoch:
                yield self._end_epoch(time.monotonic() - began)
                self._save()
                began = saved = time.monotonic()
            # 2. Stop at the end of the recipe, or after `patience` epochs without progress.
            if self.step == self.steps or self._patience_is_over():
                break
            # 3. Feed: the rows of this epoch that are still to come.
            epoch, done = divmod(self.step, self.steps_per_epoch)
            if feeding != epoch:
                groups = self._groups(epoch)[done * self.recipe.accumulate :]
                feed, feeding = zip(groups, self.train.batches(epoch, groups), strict=True), epoch
            # 4. One optimization step.
            loss = self._optimize(feed)
            self.loss_so_far += loss
            self.step += 1
            yield Step(self.step, self.steps, loss, self._lr())
            # 5. Stop where the loss diverges; write a checkpoint from time to time.
            if not math.isfinite(loss):
                message = f"the loss became {loss} at step {self.step}. Try a lower --lr, or --clip 1, from the start."
                raise TrainingStopped(message)
            if time.monotonic() - saved > SAVE_SECONDS:
                self._save()
                saved = time.monotonic()
        # 6. The weights to keep: the best ones with patience, else the last ones.
        if self.best is not None and self.recipe.patience:
            self._judged().load_state_dict(self.best)
        self.network.load_state_dict(self._judged().state_dict())

    def resume(self, state: dict[str, Any]) -> None:
        """Load the state of a checkpoint."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.ema:
            self.ema.module.load_state_dict(state["ema"])
        self.scaler.load_state_dict(state["scaler"])
        self.step, self.loss_so_far = state["step"], state["loss_so_far"]
        self.history, self.best = state["history"], state["best"]
        more = state["epochs"] < self.recipe.epochs  # a finished run goes on, perhaps one that had no more patience
        self.patient_from = len(self.history) if more else state["patient_from"]
        self.schedule.step_update(self.step)

    def validate(self) -> Judgement:
        """Judge every row of the validation side.

        Raises:
            TrainingStopped: a signal came.
        """
        network = self._judged().eval()

        def forward(inputs: torch.Tensor) -> torch.Tensor:
            with torch.inference_mode(), self._autocast():
                logits: torch.Tensor = network(self.on_device(inputs)).float().cpu()
            return logits

        return judge(self.val, forward, self.rank, self._stop_if_asked, self.classes)

    def _optimize(self, feed: Feed) -> float:
        """Run step `self.step`; return its loss, the mean over its images in all processes and passes."""
        for block in self.drop_blocks:
            block.drop_prob = self.recipe.drop_block * self.step / self.steps
        self.wrapped.train()
        total = torch.zeros(1, dtype=torch.float64)
        for left in reversed(range(self.recipe.accumulate)):
            group, inputs = next(feed)  # decoding seeds the generators too: this step's seed comes after it
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
        return float(summed(self.rank, total)) / self.rank.processes

    def _seed(self, left: int) -> None:
        """Seed the random choices of one pass: mixup, dropout and DropBlock, different in each process."""
        parts = (self.recipe.seed, "step", self.step, self.rank.number, left)
        seed_everything(*parts)
        if self.rank.device.type == "cuda":
            torch.cuda.manual_seed(number(*parts))

    def _loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        inputs, targets = self.on_device(inputs), targets.to(self.rank.device)
        if self.mix:
            inputs, targets = self.mix(inputs, targets)
        with self._autocast():
            loss: torch.Tensor = self.criterion(self.wrapped(inputs).float(), targets)
        return loss

    def _end_epoch(self, seconds: float) -> Epoch:
        if self.rank.processes > 1:  # each process has seen other images: the statistics of the norms are averaged
            for network in (self.network, *([self.ema.module] if self.ema else [])):
                distribute_bn(network, self.rank.processes, reduce=True)
        judgement = self.validate()
        before = max(map(score_of, [*self.earlier, *self.history]), default=WORST)
        if judgement.score > before and self.recipe.patience:
            self.best = copy.deepcopy(self._judged().state_dict())
        done = Epoch(
            LAYERS,
            len(self.history) + 1,
            self.step,
            self._lr(),
            self.loss_so_far / self.steps_per_epoch,
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
        best = max(range(len(self.history)), key=lambda i: (*score_of(self.history[i]), -i))
        return len(self.history) - max(best + 1, self.patient_from) >= self.recipe.patience

    def _groups(self, epoch: int) -> list[list[int]]:
        """Return this process's rows of each pass of the epoch; rows that fill no whole step wait for another epoch."""
        rows = order(self.train.targets, epoch, self.recipe)
        size = self.batch // self.recipe.accumulate
        passes = range(self.steps_per_epoch * self.recipe.accumulate)
        return [rows[at * size : (at + 1) * size][self.rank.number :: self.rank.processes] for at in passes]

    def _stop_if_asked(self) -> None:
        """End between two steps; or within a validation, which is then done again."""
        if self.signals.number:
            self._save()
            raise self.signals.stopped(f"at step {self.step} of {self.steps}")

    def _save(self) -> None:
        if not self.rank.first:
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
            "earlier": self.earlier,
            "lr": self.recipe.lr,
            "epochs": self.recipe.epochs,
            "patient_from": self.patient_from,
        }
        checkpoints.save(self.folder, self.step, state)

    def _judged(self) -> nn.Module:
        """Return the network that is validated and kept: the average if there is one."""
        network: nn.Module = self.ema.module if self.ema else self.network
        return network

    def _lr(self) -> float:
        return max(float(group["lr"]) for group in self.optimizer.param_groups)

    def _autocast(self) -> AbstractContextManager[object]:
        dtype = _DTYPES.get(self.recipe.precision)
        return torch.autocast(self.rank.device.type, dtype=dtype) if dtype else nullcontext()

    def _no_sync(self, *, last: bool) -> AbstractContextManager[object]:
        """Return a context in which gradients add up locally; the last pass of a step exchanges them."""
        if last or not isinstance(self.wrapped, nn.parallel.DistributedDataParallel):
            return nullcontext()
        return self.wrapped.no_sync()
