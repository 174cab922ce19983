"""What a run shows and what it does not: against the most frequent class, against the head alone, and over epochs.

In: true and predicted classes, losses and the history. Out: a `Verdict`. A claim needs more than chance: where the
numbers do not tell, nothing is claimed. Knows no words.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from resnest_cli.tasks.validate.metrics import wilson
from resnest_cli.training.events import HEAD
from resnest_cli.training.judgement import score_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

UNDER, OVER = "under", "over"
_Z95 = 1.959964  # of a normal distribution, two-sided
_LEAST_EPOCHS = 5  # fewer show no trend
_AFTER = 4  # epochs after the lowest validation loss that may show a rise: two and two are compared
_CHANGE = 0.1  # of a loss: what is less is taken for noise
_STUCK = 0.05  # of the first training loss: where it falls by less in all epochs, nothing moved


@dataclass(frozen=True)
class Verdict:
    """What can be said of a run.

    Attributes:
        learned: whether the answers depend on the images: they beat the most frequent class, or tell classes apart.
        beats_majority: whether top-1 is above the share of the most frequent training class, beyond a 95% interval.
        beats_head: whether the weights that were kept do better than the head alone; None where one was not trained.
        kept_epoch: the epoch whose weights were kept; 0 is the head.
        fit: "under" or "over", None where neither shows.
        since: the epoch with the lowest validation loss, where the fit of all layers is "over".
    """

    learned: bool
    beats_majority: bool
    beats_head: bool | None
    kept_epoch: int
    fit: str | None
    since: int | None


def of(  # noqa: PLR0913 - what it is judged by
    train_targets: NDArray[np.int64],
    true: NDArray[np.int64],
    taken: NDArray[np.int64],
    losses: NDArray[np.float64],
    history: Sequence[dict[str, Any]],
    *,
    keeps_best: bool,
) -> Verdict:
    """Return the verdict.

    Args:
        train_targets: class indices of the training images [N].
        true: class indices of the validation images [M].
        taken: the predicted class indices [M].
        losses: cross-entropy of each validation image in nats [M].
        history: a row per epoch, see `events.Epoch`.
        keeps_best: whether the best epoch's weights were kept, not the last one's.
    """
    right, majority = true == taken, int(np.bincount(train_targets).argmax())
    beats_majority = wilson(int(right.sum()), len(true))[0] > float((true == majority).mean())
    learned = beats_majority or tells_apart(true, taken)
    kept = kept_row(history, keeps_best=keeps_best)
    head, layers = ([row for row in history if (row["stage"] == HEAD) == is_head] for is_head in (True, False))
    beats_head = score_of(kept) > score_of(head[0]) if head and layers else None
    fit, since = None, None
    if not right.all():
        if layers:
            fit, since = fit_of_layers(layers)
            fit = UNDER if fit is None and not learned and _is_stuck(layers) else fit
        elif learned:
            fit = fit_of_head(head[0]["train_loss"], losses, train_targets)
    return Verdict(learned, beats_majority, beats_head, kept["epoch"], fit, since)


def kept_row(history: Sequence[dict[str, Any]], *, keeps_best: bool) -> dict[str, Any]:
    """Return the epoch whose weights are kept: the first of the best ones, or the last."""
    return max(history, key=score_of) if keeps_best else history[-1]


def tells_apart(true: NDArray[np.int64], taken: NDArray[np.int64]) -> bool:
    """Return whether the mean recall of the classes is beyond what answers in a random order reach (95 %).

    With 95 % of the images in one class, a model that knows the others may be right less often than one that always
    says that class; its recalls show that it has learned. The mean and the variance over all orders of the same
    answers are exact: W. Hoeffding, "A Combinatorial Central Limit Theorem", 1951.
    """
    total, count = len(true), int(max(true.max(), taken.max())) + 1
    images, answers = np.bincount(true, minlength=count), np.bincount(taken, minlength=count)
    hits = np.bincount(true[true == taken], minlength=count)
    there = images > 0
    images, answers, hits, classes = images[there], answers[there], hits[there], int(there.sum())
    if total == 1 or classes == 1:
        return False
    recall, chance = (hits / images).sum() / classes, answers.sum() / (total * classes)
    # An image of class c that is answered c adds 1 / (classes * images of c): the variance of a sum of such scores.
    squares = (answers / images).sum() / classes**2
    rows = (answers**2 / images).sum() / (total * classes**2)
    columns = answers.sum() / (total * classes**2)
    variance = (squares - rows - columns + chance**2) / (total - 1)
    return bool(recall - chance > _Z95 * math.sqrt(max(variance, 0.0)) + 1e-9)


def fit_of_layers(rows: Sequence[dict[str, Any]]) -> tuple[str | None, int | None]:
    """Return which side of a good fit the epochs end on, and where it is "over", the epoch from which on.

    The training loss is of augmented images and smoothed labels, the validation loss is not: trends are compared, not
    levels. "over": after its lowest value the validation loss goes on rising, by more than a tenth, while the training
    loss falls. "under": in the last quarter both still fall by more than a tenth; the falling rate of the schedule
    makes a run that is done move less than that.
    """
    if len(rows) < _LEAST_EPOCHS:
        return None, None
    train, val = (np.array([row[key] for row in rows]) for key in ("train_loss", "val_loss"))
    lowest = int(val.argmin())
    after = val[lowest + 1 :]
    if len(after) >= _AFTER:
        early, late = (float(np.median(half)) for half in np.array_split(after, 2))
        rises = late > early and late > (1 + _CHANGE) * val[lowest]
        return (OVER, int(rows[lowest]["epoch"])) if rises and train[-1] < train[lowest] else (None, None)
    quarter = max(2, len(rows) // 4)
    falls = all(loss[-1] < (1 - _CHANGE) * loss[-1 - quarter] for loss in (train, val))
    return (UNDER if falls else None), None


def fit_of_head(train_loss: float, losses: NDArray[np.float64], train_targets: NDArray[np.int64]) -> str | None:
    """Return which side of a good fit a solved head is on.

    Its training loss is of images as `predict` sees them, so the levels compare. The unit is what a guess by the
    shares of the classes costs. "under": training images cost half of that. "over": validation images cost a quarter
    of it more than training images, and more than twice the standard error.
    """
    shares = np.bincount(train_targets) / len(train_targets)
    guess = -float((shares[shares > 0] * np.log(shares[shares > 0])).sum())
    if train_loss > guess / 2:
        return UNDER
    error = float(losses.std(ddof=1)) / math.sqrt(len(losses)) if len(losses) > 1 else math.inf
    return OVER if losses.mean() - train_loss > max(guess / 4, 2 * error) else None


def _is_stuck(rows: Sequence[dict[str, Any]]) -> bool:
    return bool(rows[-1]["train_loss"] > (1 - _STUCK) * rows[0]["train_loss"])
