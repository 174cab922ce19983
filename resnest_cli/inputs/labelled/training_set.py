"""The images to train on: found, checked, and split into train and val.

In: class folders, a folder with sides (train and val) in it, or a table. Out: a `TrainingSet`: the classes in the order
of their names, and for each file its class, and its side or the reason it is left out. Knows nothing of networks.

Names decide, never positions: the class map is built once over both sides, so `1` beside `10` cannot shift a label.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from resnest_cli.errors import BadDataSet, UnreadableInput
from resnest_cli.inputs import splits, tables
from resnest_cli.inputs.labelled import class_folders, grouping, layouts, remarks, split
from resnest_cli.inputs.labelled.check import check
from resnest_cli.inputs.labelled.grouping import check_groups, kept_together, near_duplicates, parted
from resnest_cli.inputs.splits import LEFT_OUT, TRAIN, VAL
from resnest_cli.inputs.tables import Example
from resnest_cli.system.paths import look
from resnest_cli.text import redact
from resnest_cli.text.listing import few_are, files_are

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from resnest_cli.inputs.labelled.check import Scanning


@dataclass(frozen=True)
class TrainingSet:
    """Checked images on two sides.

    Attributes:
        classes: names in the order of their indices.
        examples: every file that was found, left out or not.
        notes: lines for the user.
    """

    classes: tuple[str, ...]
    examples: tuple[Example, ...]
    notes: tuple[str, ...] = ()

    def side(self, split: str) -> list[tuple[str, int]]:
        """Return the (path, class index) of every example on one side, in order."""
        index = {name: i for i, name in enumerate(self.classes)}
        return [(example.path, index[example.label]) for example in self.examples if example.split == split]

    def counts(self, split: str) -> Counter[str]:
        """Return the number of files per class that have this `split`."""
        return Counter(example.label for example in self.examples if example.split == split)


@dataclass(frozen=True)
class Found:
    """Files at a place, none of them opened yet.

    Attributes:
        root: a folder or a table.
        examples: every file there.
        notes: lines for the user.
        has_groups: whether the examples have groups.
    """

    root: Path
    examples: list[Example]
    notes: list[str]
    has_groups: bool


def find(root: Path, *, exclude: Sequence[str] = (), groups: str | None = None) -> Found:
    """Return the files of the images at `root`.

    Args:
        root: a folder or a table.
        exclude: patterns of what to leave out of folders, see `selection.Rule`.
        groups: the column of a table, or "folder" for the subfolders of class folders: images of one group, in any
            class, come to lie on one side. A subfolder is what people make for the photos of one animal or patient,
            directly in its class; one of the same name in two classes is the same animal.

    Raises:
        BadDataSet: there are no classes, or no such groups; the message says what to mend.
    """
    try:
        found, notes = _find(root, exclude, groups)
        _check_names({example.label for example in found if example.split != LEFT_OUT}, root)
    except BadDataSet as error:
        raise BadDataSet(f"{error.message}{class_folders.hint_at_table(root)}") from error
    return Found(root, found, notes, has_groups=groups is not None)


def load(found: Found, *, share: float, seed: int) -> Generator[Scanning, None, TrainingSet]:
    """Return the images that were found, after every file was decoded once; yield how many are.

    Args:
        found: the files.
        share: of each class that is held out for validation if the data have one part, 0..1.
        seed: random seed of this split.

    Raises:
        BadDataSet: nothing can be trained on it; the message says what to mend.
    """
    checked, fingerprints = yield from check(found.examples)
    near = near_duplicates(fingerprints)
    is_given = all(example.split for example in checked)
    if found.has_groups and not is_given:
        check_groups(checked, found.root)
    done = split.split(checked, near, share=share, seed=seed)
    more = parted(done, near) if is_given else kept_together(done, near)
    return _complete(done, [*found.notes, *more], found.root)


def check_undivided(found: Found) -> None:
    """Refuse files that have sides, where they are to be parted into folds.

    Raises:
        BadDataSet: the message says what to give instead.
    """
    if any(example.split == VAL for example in found.examples):
        train = found.root / TRAIN
        such = f"such as {train}" if look(train).is_folder else "as a folder of classes or a table without a split"
        message = (
            f"{found.root} has a val side; --folds parts images anew: give one side, {such}, or leave --folds away."
        )
        raise BadDataSet(message)


def folds(found: Found, *, count: int, seed: int) -> Generator[Scanning, None, list[TrainingSet]]:
    """Return the images that were found `count` times, each time with another part on the val side; see `split.folds`.

    Every file is decoded once; yield how many are. All have the same notes.

    Args:
        found: the files, on no sides.
        count: the number of folds.
        seed: random seed of the folds.

    Raises:
        BadDataSet: nothing can be trained on it, or a fold would be empty.
    """
    check_undivided(found)
    checked, fingerprints = yield from check(found.examples)
    near = near_duplicates(fingerprints)
    if found.has_groups:
        check_groups(checked, found.root)
    parts = split.folds(checked, near, count=count, seed=seed)
    empty = sum(not any(example.split == VAL for example in part) for part in parts)
    if empty:
        message = (
            f"{found.root} has too few images for {count} folds: {empty} would be empty; give fewer --folds. "
            "Images that must stay together (copies, near-duplicates, those of one group) count as one."
        )
        raise BadDataSet(message)
    made = [_with_classes(part, found.root) for part in parts]
    notes = (*found.notes, *kept_together(parts[0], near), *remarks.of_files(made[0]), *remarks.of_folds(made))
    return [replace(each, notes=notes) for each in made]


def read(path: Path) -> TrainingSet:
    """Return a training set that `write` wrote.

    Raises:
        BadDataSet: the file is missing or damaged.
    """
    examples = tuple(_rows(path))
    return TrainingSet(tuple(sorted({each.label for each in examples if each.split == TRAIN})), examples)


def write(path: Path, data: TrainingSet) -> None:
    """Write the examples as a table, which `read`, `load` and `validate` read."""
    tables.write(path, data.examples)


def moved(data: TrainingSet, old: Path, new: Path) -> Generator[Scanning, None, TrainingSet]:
    """Return the training set with the files of the folder `old` in `new`; other files stay where they are.

    Yield how many files are compared.

    Raises:
        BadDataSet: a file is missing there, or has another content.
    """
    examples = [replace(example, path=_below(example.path, old, new)) for example in data.examples]
    checked, _ = yield from check(examples)
    others = [
        (now, now.reason or "another image than before")
        for was, now in zip(examples, checked, strict=True)
        if was.split != LEFT_OUT and (now.split == LEFT_OUT or was.sha256 not in {"", now.sha256})
    ]
    if others:
        first, reason = others[0]
        message = (
            f"{new}: {len(others):,} of {len(examples):,} files are not those that the run began with "
            f"({first.path}: {reason}). --resume needs the same images; start a new run with another -o."
        )
        raise BadDataSet(message)
    return replace(data, examples=tuple(examples), notes=(f"the images moved from {old} to {new}; they are the same.",))


def _below(path: str, old: Path, new: Path) -> str:
    inside = path.startswith(f"{old}{os.sep}")
    return os.path.join(new, os.path.relpath(path, old)) if inside else path  # noqa: PTH118 - paths stay strings


def _find(root: Path, exclude: Sequence[str], groups: str | None) -> tuple[list[Example], list[str]]:
    if layouts.require(root, "a folder with one subfolder per class").is_file:
        return _from_table(root, groups)
    if own := tables.of_folder(root):
        found, notes = _from_table(own, groups)
        return found, [f"{own} says which images there are.", *notes]
    found, notes = class_folders.scan(root, exclude)
    return grouping.taken(found, groups, root), notes


def _from_table(table: Path, groups: str | None) -> tuple[list[Example], list[str]]:
    """Return every row, its path absolute; the test side counts as val if there is no val side."""
    rows = _rows(table, groups)
    if remote := next((row for row in rows if tables.is_remote(row.path.strip())), None):
        message = (
            f"{table}, row {remote.number}: {redact.url(remote.path.strip())} is on no disk of this machine, and "
            "training reads files only. Download the images first, and list their paths."
        )
        raise BadDataSet(message)
    val = splits.held_out({row.split for row in rows})
    meaning = {"": "", LEFT_OUT: LEFT_OUT, TRAIN: TRAIN if val else "", val: VAL if val else ""}
    unread = [row for row in rows if row.split not in meaning]
    found = [_absolute(table, row, meaning[row.split]) for row in rows if row.split in meaning]
    return found, [f"{files_are(len(unread))} on the test side and not read."] if unread else []


def _absolute(table: Path, row: Example, split: str) -> Example:
    path = os.path.abspath(tables.source(table, row.path).path)  # noqa: PTH100 - resolve would follow links
    return Example(path, class_folders.class_name(row.label), split, row.reason, group=row.group)


def _rows(table: Path, groups: str | None = None) -> list[Example]:
    try:
        return list(tables.read(table, groups))
    except UnreadableInput as error:
        raise BadDataSet(error.message) from error


def _check_names(names: set[str], root: Path) -> None:
    strange = sorted(name for name in names if not name.isprintable())
    if strange:
        message = f"{root}: class names {few_are([*map(ascii, strange)])} not printable text; rename them."
        raise BadDataSet(message)
    if len(names) < 2:  # noqa: PLR2004 - a choice needs two
        message = f"{root} has {len(names)} class with images; at least two are needed, each in a folder of its name."
        raise BadDataSet(message)


def _complete(examples: list[Example], notes: list[str], root: Path) -> TrainingSet:
    """Return the training set, if it can be trained and validated on.

    Raises:
        BadDataSet: a class has no image to train on, or no image is left to validate on.
    """
    data = _with_classes(examples, root)
    if not data.counts(VAL):
        message = (
            f"{root}: every class has one image only, so none is left to validate on; add some. Images that must stay "
            "together (copies, near-duplicates, those of one group) count as one."
        )
        raise BadDataSet(message)
    return replace(data, notes=(*notes, *remarks.of_files(data), *remarks.of_unseen(data)))


def _with_classes(examples: list[Example], root: Path) -> TrainingSet:
    """Return the training set, if every class has an image to train on.

    Raises:
        BadDataSet: a class has none.
    """
    data = TrainingSet(tuple(sorted({example.label for example in examples if example.label})), tuple(examples))
    train = data.counts(TRAIN)
    empty = [name for name in data.classes if not train[name]]
    if empty:
        first = next((each for each in examples if each.label == empty[0] and each.reason), None)
        reason = f" ({first.path}: {first.reason})" if first else ""
        message = f"{root}: {few_are(empty)} without an image to train on{reason}; add some, or remove the class."
        raise BadDataSet(message)
    return data
