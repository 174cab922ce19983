"""Which files of folders, buckets and archives are read as images, and a count of those left out.

In: names below the path that a user named. Out: whether each is read, and at the end a sentence on those that were not.
One rule for every command. It is for names that are found: a file that the user names is always read.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import TYPE_CHECKING

from resnest_cli.inputs.decode.images import SUFFIXES
from resnest_cli.text.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

# Folders that systems, network drives and archivers put beside photographs: thumbnails, bins, snapshots, in lower case.
# Names that begin with a dot (AppleDouble's `._x`, .thumbnails, .Trash-1000, .ipynb_checkpoints) are hidden anyway.
SYSTEM = {
    *("__macosx", "@eadir", "#recycle", "#snapshot", "@recycle", "@__thumb", "$recycle.bin", "recycler"),
    *("system volume information", "lost+found"),
}
SHOWN = 5  # suffixes in the sentence, the most frequent first
MAX_SUFFIXES = 1000  # that are counted separately, to bound the memory
LONGEST = 12  # characters of a suffix; longer ones are names with a dot in them


@dataclass
class LeftOut:
    """Counts of what was found and not read: files by suffix, hidden names, names that `--exclude` matches.

    A folder that is not entered counts once. `places` counts the folders, buckets and archives with any.
    """

    others: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    excluded: int = 0
    places: int = 0
    first: str = ""

    def __bool__(self) -> bool:
        """Whether anything was left out."""
        return bool(self.others or self.hidden or self.excluded)

    def count(self, name: str) -> None:
        """Count a file by its suffix."""
        suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 - names of buckets and archives too
        plain = suffix if len(suffix) <= LONGEST and suffix.isprintable() and " " not in suffix else ""
        self.others[plain if plain in self.others or len(self.others) < MAX_SUFFIXES else ""] += 1

    def add(self, place: str, more: LeftOut) -> None:
        """Add the counts of one folder, bucket or archive."""
        if more:
            self.first = self.first or place
            self.places += 1
            self.others.update(more.others)
            self.hidden += more.hidden
            self.excluded += more.excluded

    def words(self) -> str:
        """Return one line: where, how many, with which suffixes."""
        more = f" and {self.places - 1:,} more" if self.places > 1 else ""
        return f"{self.first}{more}: {self.counts()}" if self.first else self.counts()

    def counts(self) -> str:
        """Return how many, with which suffixes."""
        said = []
        if self.others:
            number = self.others.total()
            said.append(f"{counted(number, 'file')} not looked at: {', '.join(self._suffixes())}")
        if self.hidden:
            said.append(f"{counted(self.hidden, 'hidden, thumbnail or trash name')} left out")
        if self.excluded:
            said.append(f"{self.excluded:,} left out by --exclude")
        return "; ".join(said)

    def _suffixes(self) -> list[str]:
        named = sorted((-n, suffix) for suffix, n in self.others.items() if suffix)
        said = [f"{-n:,} {suffix}" for n, suffix in named[:SHOWN]]
        if rest := named[SHOWN:]:
            said.append(f"{-sum(n for n, _ in rest):,} with other suffixes")
        return said + ([f"{self.others['']:,} without a suffix"] if self.others[""] else [])


class Rule:
    """Decides which files below one path are read, and counts the rest in `left_out`.

    Args:
        exclude: patterns (`*`, `?`, `[...]`) of names to leave out. A pattern without "/" matches the name of a file or
            folder; a pattern with "/" matches the end of its path below `place`, or its whole path.
        place: the folder, prefix or archive with which all paths begin.
    """

    def __init__(self, exclude: Iterable[str], place: str) -> None:
        self._place = place
        self._exclude = [pattern.rstrip("/") for pattern in exclude]
        self.left_out = LeftOut()

    def sees(self, path: str) -> bool:
        """Return whether a name is neither hidden nor excluded, without counting it."""
        name = os.path.basename(path)  # noqa: PTH119 - as above
        return not is_hidden(name) and not any(self._fits(pattern, path) for pattern in self._exclude)

    def enters(self, path: str) -> bool:
        """Return whether to enter a folder; count it if not."""
        return not self.hides(path) and not self.excludes(path)

    def takes(self, path: str) -> bool:
        """Return whether to read a file; count it if not."""
        if not self.enters(path):
            return False
        is_photograph = path.lower().endswith(SUFFIXES)
        if not is_photograph:
            self.left_out.count(path)
        return is_photograph

    def takes_member(self, path: str) -> bool:
        """Return whether to read a member of an archive, by the names of its folders too; count it if not."""
        names = self._below(path).split("/")
        above = ("/".join([self._place, *names[:end]]) for end in range(1, len(names)))
        return all(map(self.enters, above)) and self.takes(path)

    def hides(self, path: str) -> bool:
        """Return whether the name is hidden or of a system; count it if so."""
        hidden = is_hidden(os.path.basename(path))  # noqa: PTH119 - strings, of buckets and archives too
        self.left_out.hidden += hidden
        return hidden

    def excludes(self, path: str) -> bool:
        """Return whether `--exclude` matches; count it if so."""
        excluded = bool(self._exclude) and any(self._fits(pattern, path) for pattern in self._exclude)
        self.left_out.excluded += excluded
        return excluded

    def _fits(self, pattern: str, path: str) -> bool:
        if "/" not in pattern:
            return fnmatch(os.path.basename(path), pattern)  # noqa: PTH119 - as above
        return fnmatch(f"/{self._below(path)}", f"*/{pattern}") or fnmatch(path, pattern)

    def _below(self, path: str) -> str:
        return path[len(self._place) :].replace(os.sep, "/").lstrip("/")


def is_hidden(name: str) -> bool:
    """Return whether a name begins with a dot, or is in `SYSTEM`."""
    return (name.startswith(".") and name not in {".", ".."}) or name.lower() in SYSTEM
