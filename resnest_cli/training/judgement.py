"""A validation pass: every row of the validation side is judged once, whatever the number of processes.

In: `Data` and a forward pass. Out: a `Judgement`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from resnest_cli.training.distributed import summed

if TYPE_CHECKING:
    from collections.abc import Callable

    from resnest_cli.training.data import Data
    from resnest_cli.training.distributed import Rank

BATCH = 64
WORST = (-math.inf, -math.inf)


@dataclass(frozen=True)
class Judgement:
    """The validation side as a network sees it.

    Attributes:
        predicted: the class that it takes each row for, int64 [N].
        losses: cross-entropy of each row without smoothing, float64 [N].
        targets: the true classes, int64 [N].
        confidence: the probability of the class that it takes each row for, 0..1, float64 [N].
        logits: what all of it is made from, float32 [N, C].
    """

    predicted: torch.Tensor
    losses: torch.Tensor
    targets: torch.Tensor
    confidence: torch.Tensor
    logits: torch.Tensor

    @property
    def top1(self) -> float:
        """The share of rows whose class is right."""
        return float((self.predicted == self.targets).double().mean())

    @property
    def loss(self) -> float:
        """The mean cross-entropy."""
        return float(self.losses.mean())

    @property
    def score(self) -> tuple[float, float]:
        """What makes one judgement better than another: top-1, then the loss."""
        return self.top1, -self.loss


def score_of(row: dict[str, Any]) -> tuple[float, float]:
    """Return the score of an epoch in the history."""
    return row["val_top1"], -row["val_loss"]


def of_logits(logits: torch.Tensor, targets: torch.Tensor) -> Judgement:
    """Return the judgement of logits, float32 [N, C]."""
    losses = functional.cross_entropy(logits, targets, reduction="none").double()
    return Judgement(logits.argmax(dim=1), losses, targets, logits.double().softmax(dim=1).amax(dim=1), logits)


def judge(
    val: Data,
    forward: Callable[[torch.Tensor], torch.Tensor],
    rank: Rank,
    after_batch: Callable[[], None],
    classes: int,
) -> Judgement:
    """Judge every row once.

    Args:
        val: the validation side.
        forward: inputs -> logits float32 [N, C] on the CPU, without gradients.
        rank: this process; each judges its share of the rows.
        after_batch: called after each batch.
        classes: C.
    """
    count = len(val.targets)
    rows = list(range(count))[rank.number :: rank.processes]
    groups = [rows[at : at + BATCH] for at in range(0, len(rows), BATCH)]
    logits = torch.zeros(count, classes)  # each process fills in its own rows; the sum over all processes is the whole
    for group, inputs in zip(groups, val.batches(0, groups), strict=True):
        logits[group] = forward(inputs)
        after_batch()
    return of_logits(summed(rank, logits), val.targets)
