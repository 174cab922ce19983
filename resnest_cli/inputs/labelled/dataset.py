"""Labeled images for a model whose classes are known: a folder of class folders, a tar archive of one, or a table.

In: a place and the class names of a model. Out: a stream of sources, each with its true class. Names decide, never
positions: a label is a WordNet id, a class name or a class index. All labels are read before the first image; a label
that names no class, or several, is refused. Of images on sides (train, val, test), one side is read. Opens no image.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from resnest_cli.errors import BadDataSet, UsageError
from resnest_cli.inputs import splits, tables
from resnest_cli.inputs.labelled import layouts
from resnest_cli.inputs.labelled.meanings import MAX_REFUSED, Meanings
from resnest_cli.inputs.selection import LeftOut, Rule
from resnest_cli.system.paths import look
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resnest_cli.inputs.labelled.layouts import Item
    from resnest_cli.models.labels import Labels

_ANY_SIDE = "?"  # of folders that cannot be listed: they count on every side


@dataclass(frozen=True, slots=True)
class Labelled:
    """One image with its true class index."""

    item: Item
    truth: int


class Dataset:
    """The labeled images at a place; the constructor reads every name there.

    Args:
        place: a folder with a folder for each class, a tar archive (plain or compressed) of one, or a table (see
            `tables`) with the columns `path` (from the table's folder) and `label`. Folders called train, val or test
            above (or below) the class folders, a column `split`, or a table `split.csv` in the folder name sides.
        labels: the class names of the model.
        split: the side to read, or "all"; by default val, else test, else train.
        exclude: patterns of what to leave out of a folder or archive, see `selection.Rule`.

    Attributes:
        place: where the images are listed.
        split: the side that is read; "all" where there are no sides.
        sides: images per side; images of no side are under "".
        total: images on the side, readable or not.
        present: the class indices that they have, in order.
        left_out: files and folders there that are not read.
        is_packed: whether images are unpacked one by one.

    Raises:
        UsageError: nothing labelled is there; a label names no class, or several; there is no such side.
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
        if look(self.place).is_folder and (table := tables.of_folder(Path(self.place))):
            self.place = str(table)
        self._exclude = exclude
        with _as_usage_error():
            self._layout = layouts.choose(self.place)
        self.is_packed = layouts.is_packed(self._layout)
        self._meanings = Meanings(labels)
        survey = self._survey()
        self.left_out, self.sides = survey.left_out, survey.images
        self.split = self._side(split)
        wanted = [side for side in self.sides if self.is_wanted(side)]
        if refused := {label: path for side in wanted for label, path in survey.refused[side].items()}:
            raise UsageError(self._meanings.complaint(self.place, refused))
        self.total = sum(self.sides[side] for side in wanted)
        self.present = tuple(sorted(set().union(*(survey.classes[side] for side in wanted))))
        if not self.present:
            others = f" ({self.left_out.counts()})" if self.left_out else ""
            message = (
                f"{self.place}: no labeled images{others}.{survey.why} Give a folder with a folder for each class, a "
                "tar archive of one, or a CSV file with the columns path and label."
            )
            raise UsageError(message)

    def images(self, scratch: Path) -> Iterator[Labelled | Failure]:
        """Yield every image of the side with its class, in the order of the folder, archive or table.

        Images in an archive are unpacked into `scratch`, each when it is asked for.
        """
        for item in self._items(Rule(self._exclude, self.place)):
            if isinstance(item, Failure):
                yield item
                continue
            meaning = self._meanings.of(item)
            if self.is_wanted(meaning.side):
                unpacked = replace(item, source=item.unpack(scratch)) if item.unpack else item
                yield Labelled(unpacked, min(meaning.classes))

    def is_wanted(self, side: str) -> bool:
        """Return whether the images of a side are read."""
        return side in {self.split, _ANY_SIDE} or (self.split == splits.ALL and side != splits.LEFT_OUT)

    def _items(self, rule: Rule) -> Iterator[Item | Failure]:
        with _as_usage_error():
            yield from self._layout(self.place, rule)

    def _survey(self) -> _Survey:
        rule = Rule(self._exclude, self.place)
        found = _Survey(rule.left_out)
        for item in self._items(rule):
            if isinstance(item, Failure):
                found.add_failure(item)
                continue
            meaning = self._meanings.of(item)
            found.images[meaning.side] += 1
            found.classes[meaning.side] |= meaning.classes
            if len(meaning.classes) != 1 and len(found.refused[meaning.side]) < MAX_REFUSED:
                found.refused[meaning.side].setdefault("/".join(item.words), item.path)
        return found

    def _side(self, wanted: str | None) -> str:
        there = sorted({*self.sides} & {splits.TRAIN, splits.VAL, splits.TEST})
        if wanted not in {None, splits.ALL, *there}:
            has = f"it has {' and '.join(there)}" if there else "it has no folders or column that say one"
            message = f"--split {wanted}: {self.place} has no such side; {has}."
            raise UsageError(message)
        return wanted or splits.to_score(there)


@dataclass
class _Survey:
    """What all names at a place say, by side.

    Attributes:
        left_out: files and folders that are not read.
        images: images per side.
        classes: class indices per side.
        refused: labels that name no class or several, each with the path of an image.
        why: the first folder that cannot be listed, for a message.
    """

    left_out: LeftOut
    images: Counter[str] = field(default_factory=Counter)
    classes: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    refused: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    why: str = ""

    def add_failure(self, failure: Failure) -> None:
        """Count what cannot be listed."""
        self.why = self.why or f" {failure.path}: {failure.message}"
        self.images[_ANY_SIDE] += 1


@contextmanager
def _as_usage_error() -> Iterator[None]:
    """Raise a data set that does not fit as a `UsageError`, like a label that does not."""
    try:
        yield
    except BadDataSet as error:
        raise UsageError(error.message) from error
