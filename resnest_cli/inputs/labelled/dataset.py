"""Labelled images: a folder of class folders, a tar archive of one, or a table of paths and labels.

In: a path and the class names of a model. Out: a stream of sources, each with its true class. Names decide, never
positions: a label is a WordNet id, a class name or a class index. All of them are looked at before the first image is
read, and one that says nothing, or two things, is refused. Where the images lie on sides (train, val, test), one side
is given. Does not open an image.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from resnest_cli.errors import BadDataSet, UsageError
from resnest_cli.inputs import splits, tables
from resnest_cli.inputs.labelled import layouts
from resnest_cli.inputs.photographs import LeftOut, Rule
from resnest_cli.models.class_names import ClassNames
from resnest_cli.system.paths import look
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from resnest_cli.inputs.labelled.layouts import Item
    from resnest_cli.models.labels import Labels

EXAMPLES = 3  # of refused labels, in a message
MAX_REFUSED = 1000  # labels of a side that are kept to count them
MAX_KNOWN = 100_000  # combinations of words whose meaning is kept: an archive may make up millions
_ANY_SIDE = "?"  # of what cannot be listed: it counts, whatever is asked for


@dataclass(frozen=True, slots=True)
class Labelled:
    """One image with its true class index."""

    item: Item
    truth: int


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What the words of an image say: its side ("" for none), and its class, which should be one."""

    side: str
    classes: frozenset[int]


class Dataset:
    """The labelled images at a place; the constructor looks at every name there.

    Args:
        place: a folder with a folder for each class, a tar archive (plain or compressed) of one, or a table (see
            `tables`) with the columns `path` (from the table's folder) and `label`. Folders called train, val or test
            above (or below) the class folders, a column `split`, or a table `split.csv` in the folder part it in sides.
        labels: the class names of the model.
        split: which side is wanted, or "all"; by default val, else test, else train.
        exclude: patterns of what to leave out of a folder or archive, see `photographs.Rule`.

    Attributes:
        place: where it is read from.
        split: the side that is given; "all" where there are none.
        sides: how many images each side has; those of no side are under "".
        total: images to be given, readable or not.
        present: the class indices that they have, in order.
        left_out: what is there and is not looked at.
        is_packed: whether images are unpacked one by one.

    Raises:
        UsageError: nothing labelled is there, or a label names no class, or more than one; no such side.
        UnreadableInput: the archive or the table is damaged.
    """

    def __init__(
        self,
        place: str | os.PathLike[str],
        labels: Labels,
        split: str | None = None,
        *,
        exclude: Sequence[str] = (),
    ) -> None:
        self.place = os.fspath(place)
        self._exclude = exclude
        if look(self.place).is_folder and (table := tables.of_folder(Path(self.place))):
            self.place = str(table)
        self._names = ClassNames(labels)
        self._layout = layouts.choose(self.place)
        self.is_packed = layouts.is_packed(self._layout)
        self._known: dict[tuple[tuple[str, ...], str], _Meaning] = {}
        refused = self._survey()
        self.split = self._side(split)
        if wrong := _united(labels for side, labels in refused.items() if self.is_wanted(side)):
            raise UsageError(self._complaint(wrong))
        self.total = sum(images for side, images in self.sides.items() if self.is_wanted(side))
        wanted = (classes for side, classes in self._present.items() if self.is_wanted(side))
        self.present = tuple(sorted(set().union(*wanted)))
        if not self.present:
            others = f" ({self.left_out.counts()})" if self.left_out else ""
            message = (
                f"{self.place}: no labelled images{others}.{self._why} Give a folder with a folder for each class, a "
                "tar archive of one, or a CSV file with the columns path and label."
            )
            raise UsageError(message)

    def images(self, scratch: Path) -> Iterator[Labelled | Failure]:
        """List every image of the side with its class, in the order of the folder, archive or table.

        Images in an archive are unpacked into `scratch`, one at a time as they are asked for.
        """
        for item in self._items(Rule(self._exclude, self.place)):
            if isinstance(item, Failure):
                yield item
                continue
            meaning = self._meaning(item)
            if self.is_wanted(meaning.side):
                given = replace(item, source=item.unpack(scratch)) if item.unpack else item
                yield Labelled(given, min(meaning.classes))

    def is_wanted(self, side: str) -> bool:
        """Tell whether images of a side are given."""
        return side in {self.split, _ANY_SIDE} or (self.split == splits.ALL and side != splits.LEFT_OUT)

    def _items(self, rule: Rule) -> Iterator[Item | Failure]:
        try:
            yield from self._layout(self.place, rule)
        except BadDataSet as error:  # a table that does not fit is to be mended like a label that does not
            raise UsageError(str(error)) from error

    def _survey(self) -> dict[str, dict[str, str]]:
        """Look at all labels before anything is computed; give the refused ones of each side, with an image of each."""
        refused: dict[str, dict[str, str]] = defaultdict(dict)
        self.sides: Counter[str] = Counter()
        self._present: dict[str, set[int]] = defaultdict(set)
        self._why = ""
        rule = Rule(self._exclude, self.place)
        self.left_out: LeftOut = rule.left_out
        for item in self._items(rule):
            if isinstance(item, Failure):
                self._why = self._why or f" {item.path}: {item.message}"
                self.sides[_ANY_SIDE] += 1
                continue
            meaning = self._meaning(item)
            self.sides[meaning.side] += 1
            self._present[meaning.side] |= meaning.classes
            if len(meaning.classes) != 1 and len(refused[meaning.side]) < MAX_REFUSED:
                refused[meaning.side].setdefault("/".join(item.words), item.path)
        return refused

    def _side(self, wanted: str | None) -> str:
        there = sorted({*self.sides} & {splits.TRAIN, splits.VAL, splits.TEST})
        if wanted not in {None, splits.ALL, *there}:
            has = f"it has {' and '.join(there)}" if there else "it has no folders or column that say one"
            message = f"--split {wanted}: {self.place} has no such side; {has}."
            raise UsageError(message)
        return wanted or splits.to_score(there)

    def _meaning(self, item: Item) -> _Meaning:
        """Tell an item's side and the classes that its words name; each pair of words and split is looked at once."""
        key = (item.words, item.split)
        if key not in self._known:
            if len(self._known) == MAX_KNOWN:
                self._known.clear()
            self._known[key] = self._by_words(item.words) if not item.split else _Meaning(item.split, self._find(item))
        return self._known[key]

    def _find(self, item: Item) -> frozenset[int]:
        return frozenset(self._names.find(item.words))

    def _by_words(self, words: tuple[str, ...]) -> _Meaning:
        """Take a word for a side where the others name a class without it: `train` may be a class of its own."""
        named = [at for at, word in enumerate(words) if splits.side(word)]
        for at in named:
            classes = self._names.find((*words[:at], *words[at + 1 :]))
            if classes and (at < len(words) - 1 or not self._names.find(words[at:])):
                return _Meaning(splits.side(words[at]), frozenset(classes))
        classes = self._names.find(words)
        side = splits.side(words[named[0]]) if named and not classes else ""
        return _Meaning(side, frozenset(classes))

    def _complaint(self, refused: dict[str, str]) -> str:
        lines = [f"  {self._reason(label, path)}" for label, path in list(refused.items())[:EXAMPLES]]
        more = f"\n  ... and {len(refused) - EXAMPLES} more" if len(refused) > EXAMPLES else ""
        wnids = "a WordNet id (n02012849), " if any(self._names.labels.wnids) else ""
        most = "at least " if len(refused) >= MAX_REFUSED else ""
        count = f"{most}{len(refused)} label{'s' * (len(refused) > 1)}"
        return (
            f"{self.place}: {count} cannot be understood:\n" + "\n".join(lines) + more + "\n"
            f"Call each class folder (or label in the CSV file) by {wnids}a class name or a class index; "
            "move what is no class out of the folder. --labels FILE gives the model other class names."
        )

    def _reason(self, label: str, path: str) -> str:
        if not label or splits.side(label.rpartition("/")[2]):
            return f"{path} is in no class folder"
        found = self._names.find(label.split("/"))
        if found:
            return f"{label!r} may be {' or '.join(self._names.describe(i) for i in sorted(found))}"
        near = next((name for word in reversed(label.split("/")) if (name := self._names.near(word))), "")
        return f"{label!r} is no class of the model" + (f" (is it {near!r}?)" if near else "")


def _united(parts: Iterable[dict[str, str]]) -> dict[str, str]:
    return {label: path for part in parts for label, path in part.items()}
