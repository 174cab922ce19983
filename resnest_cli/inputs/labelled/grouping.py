"""Which images must lie on one side of a split: copies, near-duplicates, and images of one group.

In: checked examples, and their fingerprints. Out: units of them, which a split does not part; and what there is to say
of those that somebody else has parted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from resnest_cli.errors import BadDataSet
from resnest_cli.inputs import likeness
from resnest_cli.inputs.splits import LEFT_OUT, TRAIN, VAL
from resnest_cli.text.listing import few, files_are

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from resnest_cli.inputs.tables import Example

FOLDER = "folder"  # as the name of a column: the subfolder of the class folder


def taken(examples: list[Example], groups: str | None, root: Path) -> list[Example]:
    """Return the examples of class folders with the groups that are asked for.

    Raises:
        BadDataSet: a table is asked for, or there are no groups.
    """
    if groups is None:
        return [replace(example, group="") for example in examples]
    if groups != FOLDER:
        message = f"{root} has no table with a column {groups!r}: give a table, or --groups folder for subfolders."
        raise BadDataSet(message)
    if not any(example.group for example in examples):
        message = f"{root}: no class folder has subfolders for --groups folder, such as cat/tom/0001.jpg."
        raise BadDataSet(message)
    return examples


def near_duplicates(fingerprints: Mapping[str, bytes]) -> list[tuple[str, str]]:
    """Return the hashes of each two files whose pictures look the same; see `likeness.pairs`."""
    hashes = sorted(fingerprints)  # so that the order of files decides nothing
    found = likeness.pairs([fingerprints[each] for each in hashes])
    return sorted({(hashes[min(pair)], hashes[max(pair)]) for pair in found})


def units(examples: Sequence[Example], near: Iterable[tuple[str, str]]) -> list[list[Example]]:
    """Return the examples in units that a split may not part, in the order of their smallest hashes.

    Args:
        examples: checked, each to be put on a side.
        near: the hashes of files that belong together; others are passed over.
    """
    parents = {example.sha256: example.sha256 for example in examples}
    first_of: dict[str, str] = {}
    ties = [(first_of.setdefault(each.group, each.sha256), each.sha256) for each in examples if each.group]
    for a, b in [*ties, *near]:
        if a in parents and b in parents:
            first, second = sorted((_root(parents, a), _root(parents, b)))
            parents[second] = first
    made = defaultdict(list)
    for example in examples:
        made[_root(parents, example.sha256)].append(example)
    return [made[root] for root in sorted(made)]


def check_groups(examples: Iterable[Example], root: Path) -> None:
    """Refuse groups of which one holds a whole class, if it has images to hold out.

    Raises:
        BadDataSet: the message names the class and the group.
    """
    of_class = defaultdict(list)
    for example in examples:
        if example.split != LEFT_OUT:
            of_class[example.label].append(example.group)
    for label, groups in sorted(of_class.items()):
        if len(groups) > 1 and groups[0] and len(set(groups)) == 1:
            message = (
                f"{root}: all {len(groups):,} images of {label} are of one group, {groups[0]}, so either none is left "
                "to train on or none to validate on. Add images of another group, or leave --groups away."
            )
            raise BadDataSet(message)


def kept_together(examples: Iterable[Example], near: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield a note on the near-duplicates that the split has left together."""
    files = Counter(example.sha256 for example in examples if example.split != LEFT_OUT)
    alike = {each for a, b in near if a in files and b in files for each in (a, b)}
    if alike:
        yield f"{files_are(sum(files[each] for each in alike))} near-duplicates of others; they stay on one side."


def parted(examples: Iterable[Example], near: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield notes on groups and near-duplicates that lie on both sides of a split which was given."""
    groups: dict[str, set[str]] = {TRAIN: set(), VAL: set()}
    paths: dict[str, dict[str, str]] = {TRAIN: {}, VAL: {}}
    for example in examples:
        if example.split in paths:
            groups[example.split].add(example.group)
            paths[example.split].setdefault(example.sha256, example.path)
    if both := sorted((groups[TRAIN] & groups[VAL]) - {""}):
        count = len((groups[TRAIN] | groups[VAL]) - {""})
        yield f"groups on both sides: {len(both):,} of {count:,} ({few(both)}). Accuracy may measure memory."
    across = {b: a for pair in near for a, b in (pair, pair[::-1]) if a in paths[TRAIN] and b in paths[VAL]}
    if across:
        (b, a), *_ = across.items()
        first = f"{paths[VAL][b]} like {paths[TRAIN][a]}"
        what = "images in validation that look like one to train on"
        yield f"{what}: {len(across):,} ({first}). Accuracy may measure memory."


def _root(parents: dict[str, str], each: str) -> str:
    while parents[each] != each:
        parents[each] = each = parents[parents[each]]
    return each
