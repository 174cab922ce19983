"""The split of labeled images into a train and a val side, so that no image is on both.

In: examples with the hashes of their files. Out: the same examples, each on a side or left out for a reason. The split
depends on the content of the images and on a seed, not on the order or the names of files.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from resnest_cli.inputs.splits import LEFT_OUT, TRAIN, VAL

if TYPE_CHECKING:
    from resnest_cli.inputs.tables import Example


def split(examples: list[Example], *, share: float, seed: int) -> list[Example]:
    """Return the examples, each on the train side, on the val side or left out.

    Copies of an image in two classes are left out, as are copies on the train side of an image in val.

    Args:
        examples: those with the split "" are put on a side, if there are any.
        share: of the files of each class that go to val, 0..1; at least one image of a class that has two.
        seed: random seed of the choice.
    """
    examples = _without_conflicts(examples)
    if any(example.split == "" for example in examples):
        examples = _hold_out(examples, share, seed)
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


def _hold_out(examples: list[Example], share: float, seed: int) -> list[Example]:
    """Split each class by itself."""
    groups: dict[str, dict[str, int]] = defaultdict(Counter)
    for example in examples:
        if example.split != LEFT_OUT:
            groups[example.label][example.sha256] += 1
    held_out = {digest for group in groups.values() for digest in _drawn(group, share, seed)}

    def side(example: Example) -> str:
        return example.split or (VAL if example.sha256 in held_out else TRAIN)

    return [replace(example, split=side(example)) for example in examples]


def _drawn(group: dict[str, int], share: float, seed: int) -> list[str]:
    """Draw contents of one class until they hold `share` of its files; at least one content stays to train on."""
    order = sorted(group, key=lambda digest: hashlib.sha256(f"{seed} {digest}".encode()).digest())
    wanted = max(1, round(share * sum(group.values())))
    drawn: list[str] = []
    for digest in order[:-1]:
        if sum(group[each] for each in drawn) >= wanted:
            break
        drawn.append(digest)
    return drawn


def _without_leaks(examples: list[Example]) -> list[Example]:
    """Leave images out of training that are in val too: accuracy would measure memory."""
    held_out = {example.sha256 for example in examples if example.split == VAL}

    def judge(example: Example) -> Example:
        leaks = example.split == TRAIN and example.sha256 in held_out
        return replace(example, split=LEFT_OUT, reason="the same image is in validation") if leaks else example

    return [judge(example) for example in examples]
