"""The sides of a data set, and what people call them: the one table for all that reads labelled images.

In: the name of a folder, or a cell of a table. Out: which side it is. Knows nothing of files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

TRAIN, VAL, TEST = "train", "val", "test"
LEFT_OUT = "left out"  # of a table that `finetune` wrote: on no side, for a reason
ALL = "all"
CHOICES = (TRAIN, VAL, TEST, ALL)
NAMES = {
    TRAIN: ("train", "training", "train_set", "training_set", "seg_train"),
    VAL: ("val", "valid", "validation", "dev", "eval", "val_set", "validation_set"),
    TEST: ("test", "testing", "test_set", "seg_test"),
}
_SIDES = {name: side for side, names in NAMES.items() for name in names}


def side(name: str) -> str:
    """Return "train", "val" or "test" for one of its names, in any case; else ""."""
    return _SIDES.get(name.strip().casefold(), "")


def to_score(sides: Collection[str]) -> str:
    """Return the side that says most about a model: val, else test, else train; all where there are no sides."""
    return next((each for each in (VAL, TEST, TRAIN) if each in sides), ALL)
