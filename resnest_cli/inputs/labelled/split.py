"""The split of labeled images into a train and a val side, so that no image and no group is on both.

In: examples with the hashes of their files, and which belong together. Out: the same examples, each on a side or left
out for a reason. The split depends on the content of the images and on a seed, not on the order or the names of files.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from resnest_cli.inputs.labelled.grouping import units
from resnest_cli.inputs.splits import LEFT_OUT, TRAIN, VAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resnest_cli.inputs.tables import Example


def split(examples: list[Example], near: Sequence[tuple[str, str]] = (), *, share: float, seed: int) -> list[Example]:
    """Return the examples, each on the train side, on the val side or left out.

    Copies of an image in two classes are left out, as are copies on the train side of an image in val.

    Args:
        examples: those with the split "" are put on a side, if there are any.
        near: hashes of two files that are to lie on one side, as those of one group are.
        share: of the files of each class that go to val, 0..1; at least one image of a class that has two.
        seed: random seed of the choice.
    """
    examples = _without_conflicts(examples)
    if any(example.split == "" for example in examples):
        examples = _held_out(examples, near, share, seed)
    return _without_leaks(examples)


def _without_conflicts(examples: list[Example]) -> list[Example]:
    """Leave out images that are in more than one class: the right label cannot be known."""
    labels = defaultdict(set)
    for example in examples:
        if example.split != LEFT_OUT:
            labels[example.sha256].add(example.label)

    def judge(example: Example) -> Example:
        names = labels[example.sha256] if example.split != LEFT_OUT else set()
        reason = f"the same image is in the classes {' and '.join(sorted(names))}"
        return replace(example, split=LEFT_OUT, reason=reason) if len(names) > 1 else example

    return [judge(example) for example in examples]


def _held_out(examples: list[Example], near: Sequence[tuple[str, str]], share: float, seed: int) -> list[Example]:
    """Put the examples on sides, unit by unit; see `grouping.units`."""
    found = units([example for example in examples if example.split != LEFT_OUT], near)
    order = sorted(found, key=lambda unit: hashlib.sha256(f"{seed} {_name(unit)}".encode()).digest())
    drawn = _drawn([Counter(example.label for example in unit) for unit in order], share)
    held_out = {example.sha256 for unit, is_drawn in zip(order, drawn, strict=True) if is_drawn for example in unit}

    def side(example: Example) -> str:
        return example.split or (VAL if example.sha256 in held_out else TRAIN)

    return [replace(example, split=side(example)) for example in examples]


def _name(unit: list[Example]) -> str:
    return min(example.sha256 for example in unit)


def _drawn(found: list[Counter[str]], share: float) -> list[bool]:
    """Return which of these units go to val; each is how many images of which class.

    In their order those are drawn that bring the classes nearer to their share, relative to it. A class that then has
    none gets its smallest unit. Each class keeps an image to train on.
    """
    left, having = Counter[str](), defaultdict(list)
    for at, unit in enumerate(found):
        left.update(unit)
        for label in unit:
            having[label].append(at)
    wanted = {label: max(1, round(share * count)) for label, count in left.items()}
    missing, drawn = Counter(wanted), [False] * len(found)

    def draw(at: int) -> None:
        drawn[at] = True
        left.subtract(found[at])
        missing.subtract(found[at])

    def farther(unit: Counter[str]) -> float:
        return sum((abs(missing[name] - count) - abs(missing[name])) / wanted[name] for name, count in unit.items())

    def is_free(at: int) -> bool:
        return not drawn[at] and all(left[name] > count for name, count in found[at].items())

    for at, unit in enumerate(found):
        if is_free(at) and farther(unit) <= 0:
            draw(at)
    for label in sorted(wanted):
        if missing[label] == wanted[label] and (free := [at for at in having[label] if is_free(at)]):
            draw(min(free, key=lambda at: found[at].total()))
    return drawn


def _without_leaks(examples: list[Example]) -> list[Example]:
    """Leave images out of training that are in val too: accuracy would measure memory."""
    held_out = {example.sha256 for example in examples if example.split == VAL}

    def judge(example: Example) -> Example:
        leaks = example.split == TRAIN and example.sha256 in held_out
        return replace(example, split=LEFT_OUT, reason="the same image is in validation") if leaks else example

    return [judge(example) for example in examples]
