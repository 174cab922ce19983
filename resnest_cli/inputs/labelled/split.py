"""The split of labeled images into a train and a val side, so that no image and no group is on both; and into folds.

In: examples with the hashes of their files, and which belong together. Out: the same examples, each on a side or left
out for a reason; of folds, once for each fold. The split depends on the content of the images and on a seed, not on the
order or the names of files.
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


def folds(
    examples: list[Example], near: Sequence[tuple[str, str]] = (), *, count: int, seed: int
) -> list[list[Example]]:
    """Return the examples `count` times, each time with another part on the val side: every image lies there once.

    An image without which a class has none to train on is on the train side each time. Copies of an image in two
    classes are left out.

    Args:
        examples: none of them on a side yet.
        near: as in `split`.
        count: the number of folds.
        seed: random seed of the choice.
    """
    examples = _without_conflicts(examples)
    order = _in_random_order(examples, near, seed)
    dealt = _dealt(_counts(order), count)
    fold_of = {example.sha256: fold for unit, fold in zip(order, dealt, strict=True) for example in unit}

    def side(example: Example, fold: int) -> str:
        return example.split or (VAL if fold_of[example.sha256] == fold else TRAIN)

    return [[replace(example, split=side(example, fold)) for example in examples] for fold in range(count)]


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
    order = _in_random_order(examples, near, seed)
    drawn = _drawn(_counts(order), share)
    held_out = {example.sha256 for unit, is_drawn in zip(order, drawn, strict=True) if is_drawn for example in unit}

    def side(example: Example) -> str:
        return example.split or (VAL if example.sha256 in held_out else TRAIN)

    return [replace(example, split=side(example)) for example in examples]


def _in_random_order(examples: list[Example], near: Sequence[tuple[str, str]], seed: int) -> list[list[Example]]:
    """Return the units in an order that their content and the seed decide."""
    found = units([example for example in examples if example.split != LEFT_OUT], near)
    return sorted(found, key=lambda unit: hashlib.sha256(f"{seed} {_name(unit)}".encode()).digest())


def _name(unit: list[Example]) -> str:
    return min(example.sha256 for example in unit)


def _counts(found: list[list[Example]]) -> list[Counter[str]]:
    return [Counter(example.label for example in unit) for unit in found]


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


def _dealt(found: list[Counter[str]], count: int) -> list[int | None]:
    """Return the fold of each unit, None of a unit that is always trained on; each is how many images of which class.

    The largest unit first, each goes to the fold that has the smallest share of its classes, then the fewest images.
    So the images of a class in two folds differ by one at most where no unit has two. No fold gets all of a class.
    Repeated draws of 1/K, 1/(K-1) ... would not do: 100 classes of two images leave three of five folds empty.
    """
    every, having, sizes = Counter[str](), [Counter[str]() for _ in range(count)], [0] * count
    for unit in found:
        every.update(unit)
    dealt: list[int | None] = [None] * len(found)

    def is_free(fold: int, unit: Counter[str]) -> bool:
        return all(having[fold][name] + images < every[name] for name, images in unit.items())

    def filled(fold: int, unit: Counter[str]) -> tuple[float, int]:
        return sum(images * having[fold][name] / every[name] for name, images in unit.items()), sizes[fold]

    for at in sorted(range(len(found)), key=lambda at: -found[at].total()):
        unit = found[at]
        if free := [fold for fold in range(count) if is_free(fold, unit)]:
            dealt[at] = fold = min((filled(fold, unit), fold) for fold in free)[1]
            having[fold].update(unit)
            sizes[fold] += unit.total()
    return dealt


def _without_leaks(examples: list[Example]) -> list[Example]:
    """Leave images out of training that are in val too: accuracy would measure memory."""
    held_out = {example.sha256 for example in examples if example.split == VAL}

    def judge(example: Example) -> Example:
        leaks = example.split == TRAIN and example.sha256 in held_out
        return replace(example, split=LEFT_OUT, reason="the same image is in validation") if leaks else example

    return [judge(example) for example in examples]
