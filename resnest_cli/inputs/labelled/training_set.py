"""From labelled files to a data set that is safe to train on: scanned, checked, and split once and for all.

In: class folders, a folder with sides (train and val) in it, or a table of (path, label). Out: a `TrainingSet`: the
classes in the order of their names, and for each file its class, its side, or the reason it is left out. Every file is
read and decoded here, before any training; knows nothing of networks.

Names decide, never positions: the class map is built once over both sides, so `1` beside `10` cannot shift a label. The
split hangs on the content of the images and on the seed, not on the order or names of files. Copies of one image always
fall on the same side.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from resnest_cli.errors import BadDataSet, DecodeTimeout, ImageError, of_one_input
from resnest_cli.inputs import loading
from resnest_cli.inputs.labelled.class_folders import NAMED, Example, files, or_table, rows, scan, some
from resnest_cli.inputs.loading import Check
from resnest_cli.inputs.splits import LEFT_OUT, TRAIN, VAL
from resnest_cli.options import Options
from resnest_cli.system import cache, machine
from resnest_cli.text import cells
from resnest_cli.types import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

TIMEOUT_S = Options.timeout  # for a file
FILES_A_PROCESS, AHEAD = 32, 8  # files that are worth a process; those that each is given at a time


@dataclass(frozen=True)
class TrainingSet:
    """What is trained on. `classes` are in index order; `words` are lines on what a person should know of it."""

    classes: tuple[str, ...]
    examples: tuple[Example, ...]
    words: tuple[str, ...] = ()

    def side(self, split: str) -> list[tuple[str, int]]:
        """Return the (path, class index) of every example on one side, in order."""
        index = {name: i for i, name in enumerate(self.classes)}
        return [(example.path, index[example.label]) for example in self.examples if example.split == split]

    def counts(self, split: str) -> Counter[str]:
        """Count the files of each class that have this `split`."""
        return Counter(example.label for example in self.examples if example.split == split)


def load(root: Path, *, share: float, seed: int, exclude: Sequence[str] = ()) -> TrainingSet:
    """Scan, check and split what is at `root`; `share` of each class is held out where the data come in one part.

    `exclude` are patterns of what to leave out of folders, see `photographs.Rule`.

    Raises:
        BadDataSet: nothing can be trained on it; the message says what to mend.
    """
    try:
        found, words = scan(root, exclude)
        _check_names({example.label for example in found if example.split != LEFT_OUT}, root)
    except BadDataSet as error:
        raise BadDataSet(f"{error}{or_table(root)}") from error
    examples = _without_conflicts(_check_files(found))
    if any(example.split == "" for example in examples):
        examples = _hold_out(examples, share, seed)
    return _judged(_without_leaks(examples), words, root)


def read(path: Path) -> TrainingSet:
    """Read back a data set that `write` wrote.

    Raises:
        BadDataSet: the file is missing or damaged.
    """
    examples = tuple(Example(row.path, row.label, row.split, row.reason, row.sha256) for row in rows(path))
    return TrainingSet(tuple(sorted({e.label for e in examples if e.split == TRAIN})), examples)


def write(path: Path, data: TrainingSet) -> None:
    """Write one row a file: path, label, split, reason, sha256. A path that is not UTF-8 keeps its bytes."""
    rows = ((e.path, e.label, e.split, e.reason, e.sha256) for e in data.examples)
    text = cells.table([("path", "label", "split", "reason", "sha256"), *rows])
    cache.write_atomically(path, text.encode("utf-8", "surrogateescape"))


def moved(data: TrainingSet, old: Path, new: Path) -> TrainingSet:
    """Return a data set whose files moved from the folder `old` to `new`; what lies elsewhere stays.

    Raises:
        BadDataSet: a file is not there, or is not what it was.
    """
    examples = [replace(example, path=_below(example.path, old, new)) for example in data.examples]
    others = [
        (now, now.reason or "another image than before")
        for was, now in zip(examples, _check_files(examples), strict=True)
        if was.split != LEFT_OUT and (now.split == LEFT_OUT or was.sha256 not in {"", now.sha256})
    ]
    if others:
        first, reason = others[0]
        message = (
            f"{new}: {len(others):,} of {len(examples):,} files are not those that the run began with "
            f"({first.path}: {reason}). --resume goes on with the same images only; start anew with another -o."
        )
        raise BadDataSet(message)
    return replace(data, examples=tuple(examples), words=(f"the images moved from {old} to {new}; they are the same.",))


def _below(path: str, old: Path, new: Path) -> str:
    inside = path.startswith(f"{old}{os.sep}")
    return os.path.join(new, os.path.relpath(path, old)) if inside else path  # noqa: PTH118 - paths stay strings


def _check_names(names: set[str], root: Path) -> None:
    strange = sorted(name for name in names if not name.isprintable())
    if strange:
        message = f"{root}: class names {some(list(map(ascii, strange)))} not printable text; rename them."
        raise BadDataSet(message)
    if len(names) < 2:  # noqa: PLR2004 - a choice needs two
        message = f"{root} has {len(names)} class with images; at least two are needed, each in a folder of its name."
        raise BadDataSet(message)


def _check_files(found: list[Example]) -> list[Example]:
    """Read and decode every file; give the examples with their hashes, the unreadable ones left out."""
    read = [Source(example.path) for example in found if example.split != LEFT_OUT]
    answers = _check_in_processes(read) if os.name == "posix" else (_answer(partial(Check(), each)) for each in read)
    return [example if example.split == LEFT_OUT else _checked(example, next(answers)) for example in found]


def _check_in_processes(read: list[Source]) -> Iterator[str | ImageError]:
    """Check files where one that hangs or crashes its decoder, or takes all memory, costs itself only."""
    if not read:
        return
    workers = min(machine.usable_cores(), -(-len(read) // FILES_A_PROCESS))
    waiting: deque[Callable[[], str]] = deque()
    with loading.start(Check(), workers, TIMEOUT_S) as pool:
        for source in read:
            waiting.append(partial(pool.take, pool.give(source)))
            if len(waiting) == workers * AHEAD:
                yield _answer(waiting.popleft())
        while waiting:
            yield _answer(waiting.popleft())


def _answer(check: Callable[[], str]) -> str | ImageError:
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - see `of_one_input`
        return of_one_input(error)


def _checked(example: Example, answer: str | ImageError) -> Example:
    if isinstance(answer, ImageError):
        why = f"not decoded within {TIMEOUT_S:g} s." if isinstance(answer, DecodeTimeout) else answer
        return replace(example, split=LEFT_OUT, reason=f"{type(answer).__name__}: {why}")
    return replace(example, sha256=answer)


def _without_conflicts(examples: list[Example]) -> list[Example]:
    """Leave out images that are in more than one class: which label is right cannot be known."""
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
    """Split each class by itself: `share` of it, at least one image if it has two, becomes the validation side."""
    groups: dict[str, dict[str, int]] = defaultdict(Counter)
    for example in examples:
        if example.split != LEFT_OUT:
            groups[example.label][example.sha256] += 1
    held_out = {digest for label in groups for digest in _drawn(groups[label], share, seed)}

    def side(example: Example) -> str:
        return example.split or (VAL if example.sha256 in held_out else TRAIN)

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


def _without_leaks(examples: list[Example]) -> list[Example]:
    """Leave out of training what is in validation too: the accuracy would be that of a memory."""
    held_out = {example.sha256 for example in examples if example.split == VAL}

    def judge(example: Example) -> Example:
        leaks = example.split == TRAIN and example.sha256 in held_out
        return replace(example, split=LEFT_OUT, reason="the same image is in validation") if leaks else example

    return [judge(example) for example in examples]


def _judged(examples: list[Example], words: list[str], root: Path) -> TrainingSet:
    data = TrainingSet(tuple(sorted({example.label for example in examples if example.label})), tuple(examples))
    train, val = data.counts(TRAIN), data.counts(VAL)
    empty = [name for name in data.classes if not train[name]]
    if empty:
        why = next((e for e in examples if e.label == empty[0] and e.reason), None)
        reason = f" ({why.path}: {why.reason})" if why else ""
        message = f"{root}: {some(empty)} without an image to train on{reason}; add some, or take the class away."
        raise BadDataSet(message)
    if not val:
        message = f"{root}: every class has one image only, so none is left to validate on; add some."
        raise BadDataSet(message)
    return replace(data, words=(*words, *_words(data)))


def _words(data: TrainingSet) -> Iterator[str]:
    left_out = [example for example in data.examples if example.split == LEFT_OUT]
    if left_out:
        yield f"{files(len(left_out))} left out, each with its reason in split.csv:"
        yield from (f"  {example.path}: {example.reason}" for example in left_out[:NAMED])
        if len(left_out) > NAMED:
            yield f"  ... and {len(left_out) - NAMED} more."
    val = data.counts(VAL)
    unseen = [name for name in data.classes if not val[name]]
    if unseen:
        yield f"{some(unseen)} without an image to validate on: accuracy says nothing of that."
    kept = [example.sha256 for example in data.examples if example.split != LEFT_OUT]
    copies = len(kept) - len(set(kept))
    if copies:
        yield f"{files(copies)} the same image as another of the same class; copies stay on one side."
