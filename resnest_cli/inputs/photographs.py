"""Which names in folders, buckets and archives are those of photographs, and a count of what was left out.

In: names below the place that a user named. Out: whether one is looked at, and at the end a sentence on all that were
not. One rule for every command. It is about names that are found: what is named explicitly is always tried.
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

# What systems, network drives and archivers put beside photographs: thumbnails, bins, snapshots. Names with a dot in
# front (AppleDouble's `._x`, .thumbnails, .Trash-1000, .ipynb_checkpoints, .@__thumb) are hidden anyhow. Lower case.
SYSTEM = {
    *("__macosx", "@eadir", "#recycle", "#snapshot", "@recycle", "@__thumb", "$recycle.bin", "recycler"),
    *("system volume information", "lost+found"),
}
SHOWN = 5  # suffixes in a sentence, the most frequent first
KNOWN = 1000  # suffixes that are counted each by itself: names can be anything, and memory is to stay small
LONGEST = 12  # characters of a suffix; what is longer is a name with a dot in it


@dataclass
class LeftOut:
    """What was found and not looked at: files by suffix, hidden names, and names that `--exclude` matches.

    A folder that is not entered counts once. `places` are how many folders and the like had any; `first` is one.
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
        self.others[plain if plain in self.others or len(self.others) < KNOWN else ""] += 1

    def add(self, place: str, more: LeftOut) -> None:
        """Add what was left out at a place."""
        if more:
            self.first = self.first or place
            self.places += 1
            self.others.update(more.others)
            self.hidden += more.hidden
            self.excluded += more.excluded

    def words(self) -> str:
        """Say it in one line: where, how many, of which suffixes."""
        more = f" and {self.places - 1:,} more" if self.places > 1 else ""
        return f"{self.first}{more}: {self.counts()}" if self.first else self.counts()

    def counts(self) -> str:
        """Say how many of what."""
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
    """Tells what at one place is a photograph, and counts the rest in `left_out`.

    Args:
        exclude: patterns (`*`, `?`, `[...]`) of what to leave out. One without "/" is held against the name of each
            file and folder; one with "/" against the end of its path below the place, and against its whole path.
        place: the folder, prefix or archive, as all paths in it begin.
    """

    def __init__(self, exclude: Iterable[str], place: str) -> None:
        self._place = place
        self._exclude = [pattern.rstrip("/") for pattern in exclude]
        self.left_out = LeftOut()

    def sees(self, path: str) -> bool:
        """Return whether a name is neither hidden nor left out, without counting it."""
        name = os.path.basename(path)  # noqa: PTH119 - as above
        return not is_hidden(name) and not any(self._fits(pattern, path) for pattern in self._exclude)

    def enters(self, path: str) -> bool:
        """Return whether to look into a folder."""
        return not self.hides(path) and not self.excludes(path)

    def takes(self, path: str) -> bool:
        """Return whether to look at a file."""
        if not self.enters(path):
            return False
        is_photograph = path.lower().endswith(SUFFIXES)
        if not is_photograph:
            self.left_out.count(path)
        return is_photograph

    def takes_member(self, path: str) -> bool:
        """Return whether to look at a file of an archive, whose folders nobody walks through."""
        names = self._below(path).split("/")
        above = ("/".join([self._place, *names[:end]]) for end in range(1, len(names)))
        return all(map(self.enters, above)) and self.takes(path)

    def hides(self, path: str) -> bool:
        """Return whether the last name is hidden, or of a system; count it."""
        hidden = is_hidden(os.path.basename(path))  # noqa: PTH119 - strings, of buckets and archives too
        self.left_out.hidden += hidden
        return hidden

    def excludes(self, path: str) -> bool:
        """Return whether the user left it out; count it."""
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
    """Return whether a name starts with a dot, or is one that systems give to what is no photograph of anybody's."""
    return (name.startswith(".") and name not in {".", ".."}) or name.lower() in SYSTEM
