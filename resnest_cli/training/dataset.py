"""From labelled files to a data set that is safe to train on: scanned, checked, and split once and for all.

In: class folders, a folder with `train` and `val` in it, or a CSV or Parquet file of (path, label). Out: a `DataSet`:
the classes in the order of their names, and for each file found its class, its side, or the reason it is left out.
Every file is read and decoded here, before any training; knows nothing of networks.

Names decide, never positions: the class map is built once over both sides, so `1` beside `10` cannot shift a label. The
split hangs on the content of the images and on the seed, not on the order or names of files. Copies of one image always
fall on the same side.
"""

from __future__ import annotations

import csv
import hashlib
import os
import unicodedata
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from resnest_cli import images, machine, sources
from resnest_cli.errors import BadDataSet, ImageError
from resnest_cli.training import table
from resnest_cli.types import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

TRAIN, VAL, LEFT_OUT = "train", "val", "left out"
VAL_FOLDERS = ("val", "valid", "validation", "test")  # the first that is there is the validation side
CHECKED_AT_ONCE = 1024  # files handed to the threads together: bounds memory
NAMED = 5  # files or classes that a sentence names before it says how many more


@dataclass(frozen=True, slots=True)
class Example:
    """One file: its class by name, and its side: "train", "val", "left out" (for `reason`), or "" before the split."""

    path: str
    label: str
    split: str = ""
    reason: str = ""


@dataclass(frozen=True)
class DataSet:
    """What is trained on. `classes` are in index order; `words` are lines on what a person should know of it."""

    classes: tuple[str, ...]
    examples: tuple[Example, ...]
    words: tuple[str, ...] = ()

    def side(self, split: str) -> list[tuple[str, int]]:
        """Give the (path, class index) of every example on one side, in order."""
        index = {name: i for i, name in enumerate(self.classes)}
        return [(example.path, index[example.label]) for example in self.examples if example.split == split]

    def counts(self, split: str) -> Counter[str]:
        """Count the files of each class that have this `split`."""
        return Counter(example.label for example in self.examples if example.split == split)


def load(root: Path, *, share: float, seed: int) -> DataSet:
    """Scan, check and split what is at `root`; `share` of each class is held out where the data come in one part.

    Raises:
        BadDataSet: nothing can be trained on it; the message says what to mend.
    """
    found, words = _scan(root)
    _check_names({example.label for example in found if example.split != LEFT_OUT}, root)
    checked, digests = _check_files(found)
    sorted_out = _without_conflicts(checked, digests)
    if any(example.split == "" for example in sorted_out):
        sorted_out = _hold_out(sorted_out, digests, share, seed)
    sorted_out = _without_leaks(sorted_out, digests)
    return _judged(sorted_out, digests, words, root)


def read(path: Path) -> DataSet:
    """Read back a data set that `write` wrote.

    Raises:
        BadDataSet: the file is missing or damaged.
    """
    examples = tuple(
        Example(row["path"], row["label"], row["split"], row.get("reason", ""))
        for row in table.rows(path, ("path", "label", "split"))
    )
    return DataSet(tuple(sorted({e.label for e in examples if e.split == TRAIN})), examples)


def write(path: Path, data: DataSet) -> None:
    """Write one row a file: path, label, split, reason. A path that is not UTF-8 keeps its bytes."""
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("path", "label", "split", "reason"))
        rows.writerows((e.path, e.label, e.split, e.reason) for e in data.examples)


def _scan(root: Path) -> tuple[list[Example], list[str]]:
    if root.is_file():
        return _from_table(root), []
    if not root.is_dir():
        message = f"{root}: there is no such folder or file. Give a folder with one subfolder a class."
        raise BadDataSet(message)
    val = next((name for name in VAL_FOLDERS if (root / name).is_dir()), None)
    if val is None or not (root / "train").is_dir():
        return _from_classes(root, "")
    train, train_words = _from_classes(root / "train", TRAIN)
    held_out, val_words = _from_classes(root / val, VAL)
    others = [name for name in VAL_FOLDERS if name != val and (root / name).is_dir()]
    words = [f"validation is on {root / val}; {', '.join(others)} stays unread."] if others else []
    return train + held_out, train_words + val_words + words


def _from_table(path: Path) -> list[Example]:
    """Take paths as they are, or relative to the table; a `split` column may say train, val or left out."""
    found = []
    for number, row in enumerate(table.rows(path, ("path", "label")), 2):
        split = row.get("split") or ""
        if not row["path"] or not row["label"] or split not in {"", TRAIN, VAL, LEFT_OUT}:
            message = f"{path}, row {number}: a path, a label and, if any, a split of train or val are needed."
            raise BadDataSet(message)
        file = os.path.abspath(path.parent / row["path"])  # noqa: PTH100 - resolve would follow links
        found.append(Example(file, _normal(row["label"]), split, row.get("reason") or ""))
    sides = {example.split for example in found} - {LEFT_OUT}
    if "" in sides and len(sides) > 1:
        message = f"{path}: some rows have a split and some have none; fill the column, or leave it out."
        raise BadDataSet(message)
    return found


def _from_classes(root: Path, split: str) -> tuple[list[Example], list[str]]:
    entries = sorted(root.iterdir(), key=lambda entry: entry.name)
    folders = [entry for entry in entries if entry.is_dir()]
    hidden = [entry.name for entry in folders if entry.name.startswith(".")]
    words = [f"{root}: {_some(hidden)} hidden, and no class."] if hidden else []
    found = [example for folder in folders if folder.name not in hidden for example in _class(folder, split)]
    loose = [entry for entry in entries if entry.is_file() and entry.name.lower().endswith(images.SUFFIXES)]
    found += [Example(str(path.absolute()), "", LEFT_OUT, "it lies in no class folder") for path in loose]
    if not any(example.label for example in found):
        message = f"{root} has no class folders: put the images of each class into a subfolder of its name."
        raise BadDataSet(message)
    others = _other_files([folder for folder in folders if folder.name not in hidden])
    return found, words + ([f"{root}: {_some(others)} not named like an image and not read."] if others else [])


def _class(folder: Path, split: str) -> Iterator[Example]:
    """Find the images of one class; a folder without any is kept as an example that is left out, to be judged later."""
    label = _normal(folder.name)
    for item in sources.find([folder.absolute()]):
        if isinstance(item, Failure):
            yield Example(item.path, label, LEFT_OUT, item.message)
        else:
            yield Example(item.path, label, split)


def _other_files(folders: list[Path]) -> list[str]:
    names = (os.path.join(at, name) for top in folders for at, _, files in os.walk(top) for name in files)  # noqa: PTH118 - paths stay strings
    return sorted(name for name in names if not name.lower().endswith(images.SUFFIXES))


def _normal(name: str) -> str:
    """Bring the two ways to write an accented letter to one (macOS stores file names in the other)."""
    return unicodedata.normalize("NFC", name)


def _check_names(names: set[str], root: Path) -> None:
    strange = sorted(name for name in names if not name.isprintable())
    if strange:
        message = f"{root}: class names {_some(list(map(ascii, strange)))} not printable text; rename them."
        raise BadDataSet(message)
    if len(names) < 2:  # noqa: PLR2004 - a choice needs two
        message = f"{root} has {len(names)} class with images; at least two are needed, each in a folder of its name."
        raise BadDataSet(message)


def _check_files(found: list[Example]) -> tuple[list[Example], dict[str, str]]:
    """Read and decode every file; give the examples, the unreadable ones left out, and each path's content hash."""
    checked: list[Example] = []
    digests: dict[str, str] = {}
    with ThreadPoolExecutor(machine.usable_cores()) as pool:
        for at in range(0, len(found), CHECKED_AT_ONCE):
            chunk = found[at : at + CHECKED_AT_ONCE]
            for example, (digest, reason) in zip(chunk, pool.map(_digest, chunk), strict=True):
                digests[example.path] = digest
                checked.append(replace(example, split=LEFT_OUT, reason=reason) if reason else example)
    return checked, digests


def _digest(example: Example) -> tuple[str, str]:
    """Give the hash of a file's content, or the reason it cannot be trained on."""
    if example.split == LEFT_OUT:
        return "", example.reason
    try:
        content = sources.read(Source(example.path))
        images.decode(content)
    except ImageError as error:
        return "", f"{type(error).__name__}: {error}"
    return hashlib.sha256(content).hexdigest(), ""


def _without_conflicts(examples: list[Example], digests: dict[str, str]) -> list[Example]:
    """Leave out images that are in more than one class: which label is right cannot be known."""
    labels = defaultdict(set)
    for example in examples:
        if example.split != LEFT_OUT:
            labels[digests[example.path]].add(example.label)

    def judge(example: Example) -> Example:
        names = labels[digests[example.path]] if example.split != LEFT_OUT else set()
        reason = f"the same image is in the classes {' and '.join(sorted(names))}"
        return replace(example, split=LEFT_OUT, reason=reason) if len(names) > 1 else example

    return [judge(example) for example in examples]


def _hold_out(examples: list[Example], digests: dict[str, str], share: float, seed: int) -> list[Example]:
    """Split each class by itself: `share` of it, at least one image if it has two, becomes the validation side."""
    groups: dict[str, dict[str, int]] = defaultdict(Counter)
    for example in examples:
        if example.split != LEFT_OUT:
            groups[example.label][digests[example.path]] += 1
    held_out = {digest for label in groups for digest in _drawn(groups[label], share, seed)}

    def side(example: Example) -> str:
        return example.split or (VAL if digests[example.path] in held_out else TRAIN)

    return [replace(example, split=side(example)) for example in examples]


def _drawn(group: dict[str, int], share: float, seed: int) -> list[str]:
    """Draw contents of one class until they hold `share` of its files; one content is always left to train on."""
    order = sorted(group, key=lambda digest: hashlib.sha256(f"{seed} {digest}".encode()).digest())
    wanted = max(1, round(share * sum(group.values())))
    drawn: list[str] = []
    for digest in order[:-1]:
        if sum(group[each] for each in drawn) >= wanted:
            break
        drawn.append(digest)
    return drawn


def _without_leaks(examples: list[Example], digests: dict[str, str]) -> list[Example]:
    """Leave out of training what is in validation too: the accuracy would be that of a memory."""
    held_out = {digests[example.path] for example in examples if example.split == VAL}

    def judge(example: Example) -> Example:
        leaks = example.split == TRAIN and digests[example.path] in held_out
        return replace(example, split=LEFT_OUT, reason="the same image is in validation") if leaks else example

    return [judge(example) for example in examples]


def _judged(examples: list[Example], digests: dict[str, str], words: list[str], root: Path) -> DataSet:
    data = DataSet(tuple(sorted({example.label for example in examples if example.label})), tuple(examples))
    train, val = data.counts(TRAIN), data.counts(VAL)
    empty = [name for name in data.classes if not train[name]]
    if empty:
        why = next((e for e in examples if e.label == empty[0] and e.reason), None)
        reason = f" ({why.path}: {why.reason})" if why else ""
        message = f"{root}: {_some(empty)} without an image to train on{reason}; add some, or take the class away."
        raise BadDataSet(message)
    if not val:
        message = f"{root}: every class has one image only, so none is left to validate on; add some."
        raise BadDataSet(message)
    return replace(data, words=(*words, *_words(data, digests)))


def _words(data: DataSet, digests: dict[str, str]) -> Iterator[str]:
    left_out = [example for example in data.examples if example.split == LEFT_OUT]
    if left_out:
        yield f"{_files(len(left_out))} left out, each with its reason in split.csv:"
        yield from (f"  {example.path}: {example.reason}" for example in left_out[:NAMED])
        if len(left_out) > NAMED:
            yield f"  ... and {len(left_out) - NAMED} more."
    val = data.counts(VAL)
    unseen = [name for name in data.classes if not val[name]]
    if unseen:
        yield f"{_some(unseen)} without an image to validate on: accuracy says nothing of that."
    kept = [digests[example.path] for example in data.examples if example.split != LEFT_OUT]
    copies = len(kept) - len(set(kept))
    if copies:
        yield f"{_files(copies)} the same image as another of the same class; copies stay on one side."


def _files(count: int) -> str:
    return "1 file is" if count == 1 else f"{count:,} files are"


def _some(names: Iterable[str]) -> str:
    """Name the first few, with the verb that follows: "a is", "a, b are", "a, b and 7 more are"."""
    every = list(names)
    more = f" and {len(every) - NAMED:,} more" if len(every) > NAMED else ""
    return f"{', '.join(every[:NAMED])}{more} {'is' if len(every) == 1 else 'are'}"
