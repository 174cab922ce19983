"""The sides of a data set (train, val, test) and their other names.

In: the name of a folder, or a cell of a table. Out: the side. Knows nothing of files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

TRAIN, VAL, TEST = "train", "val", "test"
LEFT_OUT = "left out"  # in a table that `finetune` wrote: on no side
ALL = "all"
CHOICES = (TRAIN, VAL, TEST, ALL)
NAMES = {
    TRAIN: ("train", "training", "train_set", "training_set", "seg_train"),
    VAL: ("val", "valid", "validation", "dev", "eval", "val_set", "validation_set"),
    TEST: ("test", "testing", "test_set", "seg_test"),
}
_SIDES = {name: side for side, names in NAMES.items() for name in names}


def side(name: str) -> str:
    """Return "train", "val" or "test" for a name of that side, in upper or lower case; else ""."""
    return _SIDES.get(name.strip().casefold(), "")


def held_out(sides: Collection[str]) -> str:
    """Return the side that a model is judged on: val, else test; "" if neither is there."""
    return next((each for each in (VAL, TEST) if each in sides), "")


def to_score(sides: Collection[str]) -> str:
    """Return the side that `validate` scores: val, else test, else train; "all" where there are no sides."""
    return held_out(sides) or (TRAIN if TRAIN in sides else ALL)
