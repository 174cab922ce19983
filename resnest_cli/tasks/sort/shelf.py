"""A folder that files are sorted into: the names that it has, and those that it will have.

In: names of files. Out: names that are free there, on every file system. Changes nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from resnest_cli.system.transfer import Traits
from resnest_cli.tasks.sort import names

if TYPE_CHECKING:
    from collections.abc import Sequence


class Shelf:
    """The names in a folder; it need not be there yet.

    Raises:
        OSError: it cannot be listed.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        there = os.listdir(folder) if os.path.isdir(folder) else []
        self._there = {names.fold(name): name for name in there}
        self._taken = set(self._there)
        self._next: dict[str, int] = {}  # by a name: the first number that was not tried

    def number(self, source: str, group: Sequence[str], how: str) -> int | None:
        """Return the number with which a file and what belongs to it are new here, 1 for none; None if it is here.

        Args:
            source: the file.
            group: its path and those of what belongs to it: their names begin with its stem.
            how: it would be carried.
        """
        name, *others = (os.path.basename(each) for each in group)
        stem = os.path.splitext(name)[0]
        number = self._next.get(names.fold(name), 1)
        while {names.fold(names.numbered(each, stem, number)) for each in (name, *others)} & self._taken:
            same = self._there.get(names.fold(names.numbered(name, stem, number)))
            number += 1
            if same and _is_carried(source, os.path.join(self.folder, same), how):
                self._next[names.fold(name)] = number
                return None
        self._next[names.fold(name)] = number + 1
        return number

    def take(self, name: str) -> str:
        """Return the path of a name, which is taken from now on."""
        self._taken.add(names.fold(name))
        return os.path.join(self.folder, name)


def _is_carried(source: str, target: str, how: str) -> bool:
    """Return whether a file was carried here before."""
    if how == "link":
        return os.path.islink(target) and _is_same(os.stat(source), target)
    if how == "hardlink":
        return not os.path.islink(target) and _is_same(os.stat(source), target)
    return how == "copy" and Traits.of(os.stat(source)).fit(os.lstat(target))


def _is_same(status: os.stat_result, target: str) -> bool:
    return os.path.exists(target) and os.path.samestat(status, os.stat(target))
