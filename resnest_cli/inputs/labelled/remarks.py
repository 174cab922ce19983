"""What there is to say of images to train on: files that are left out, copies, classes that nothing judges.

In: a `TrainingSet`, or the folds of one. Out: lines for the user.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from resnest_cli.inputs.splits import LEFT_OUT, VAL
from resnest_cli.text.listing import FEW, few_are, files_are

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resnest_cli.inputs.labelled.training_set import TrainingSet


def of_files(data: TrainingSet) -> Iterator[str]:
    """Yield notes on files that are left out, and on copies."""
    left_out = [example for example in data.examples if example.split == LEFT_OUT]
    if left_out:
        yield f"{files_are(len(left_out))} left out, each with its reason in split.csv:"
        yield from (f"  {example.path}: {example.reason}" for example in left_out[:FEW])
        if len(left_out) > FEW:
            yield f"  ... and {len(left_out) - FEW} more."
    kept = [example.sha256 for example in data.examples if example.split != LEFT_OUT]
    copies = len(kept) - len(set(kept))
    if copies:
        yield f"{files_are(copies)} the same image as another of the same class; copies stay on one side."


def of_unseen(data: TrainingSet) -> Iterator[str]:
    """Yield a note on classes without validation images."""
    val = data.counts(VAL)
    unseen = [name for name in data.classes if not val[name]]
    if unseen:
        yield f"{few_are(unseen)} without an image to validate on: accuracy says nothing of that."


def of_folds(folds: Sequence[TrainingSet]) -> Iterator[str]:
    """Yield notes on classes that no fold judges, and on those that some folds do not judge."""
    judging = Counter(name for each in folds for name in each.counts(VAL))
    unseen = [name for name in folds[0].classes if not judging[name]]
    rare = [name for name in folds[0].classes if 0 < judging[name] < len(folds)]
    if unseen:
        yield f"{few_are(unseen)} only trained on and never judged: no two images of that may be parted."
    if rare:
        yield f"{few_are(rare)} not judged in each of the {len(folds)} folds: too few images."
