"""The class that words name: by WordNet id, else by class name, else by class index; never by position.

In: the class names of a model; then words, such as the names of folders. Out: class indices. Knows nothing of images.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from resnest_cli.models.labels import Labels

_INDEX_DIGITS = 9  # more than any model has classes


class ClassNames:
    """Finds the classes that words name."""

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self._wnids = {wnid: {i} for i, wnid in enumerate(labels.wnids) if wnid}
        self._names: dict[str, set[int]] = defaultdict(set)
        self._loose: dict[str, set[int]] = defaultdict(set)
        for i, name in enumerate(labels.names):
            self._names[unicodedata.normalize("NFC", name)].add(i)
            self._loose[_loosely(name)].add(i)
        # If the classes are called "1", "2", "3", the folder "0" may be the first class or a mistake.
        self._has_numbers = any(name.strip().isdecimal() for name in labels.names)

    def find(self, words: Sequence[str]) -> set[int]:
        """Return the classes that the words name: one, none, or several where they are ambiguous."""
        readers: tuple[Callable[[str], set[int]], ...] = (
            self._by_wnid,
            self._by_name,
            self._by_loose_name,
            self._by_index,
        )
        for reader in readers:
            if found := {i for word in words for i in reader(word)}:
                return found
        return set()

    def near(self, word: str) -> str:
        """Return the class name that is most similar to `word`, or ""."""
        close = get_close_matches(_loosely(word), self._loose, n=1, cutoff=0.75)
        return self.labels.names[min(self._loose[close[0]])] if close else ""

    def describe(self, index: int) -> str:
        """Return the index, WordNet id and name of a class."""
        wnid = self.labels.wnids[index]
        return f"{index} {wnid} {self.labels.names[index]}" if wnid else f"{index} {self.labels.names[index]}"

    def _by_wnid(self, word: str) -> set[int]:
        return self._wnids.get(word, set())

    def _by_name(self, word: str) -> set[int]:
        return self._names.get(unicodedata.normalize("NFC", word), set())

    def _by_loose_name(self, word: str) -> set[int]:
        return self._loose.get(_loosely(word), set())

    def _by_index(self, word: str) -> set[int]:
        if self._has_numbers or not word.isdecimal() or len(word) > _INDEX_DIGITS:
            return set()
        return {int(word)} & set(range(len(self.labels.names)))


def _loosely(name: str) -> str:
    """Return a name in lower case, with spaces for underscores and hyphens."""
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFC", name)).strip().casefold()
