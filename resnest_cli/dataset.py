"""Labelled images: a folder of class folders, a tar archive of one, or a CSV file of paths and labels.

In: a path and the class names of a model. Out: a stream of sources, each with its true class. Names decide, never
positions: a label is a WordNet id, a class name or a class index. All of them are looked at before the first image is
read, and one that says nothing, or two things, is refused. Does not open an image.
"""

from __future__ import annotations

import csv
import lzma
import os
import re
import shutil
import tarfile
import unicodedata
import zlib
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from resnest_cli import sources
from resnest_cli.errors import UnreadableInput, UsageError
from resnest_cli.images import SUFFIXES
from resnest_cli.types import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from resnest_cli.labels import Labels

MAX_MEMBER_BYTES = 1 << 29  # of an image in an archive: it is unpacked before it is read
EXAMPLES = 3  # of refused labels, in a message
_INDEX_DIGITS = 9  # no model has more classes


@dataclass(frozen=True, slots=True)
class Item:
    """One image as it is listed: its path for a person, the words that may name its class, where its bytes are."""

    path: str
    words: tuple[str, ...]
    source: Source
    is_copy: bool = False  # unpacked from an archive: to be removed when it was read


@dataclass(frozen=True, slots=True)
class Labelled:
    """One image with its true class index."""

    item: Item
    truth: int


class ClassNames:
    """Finds the class that words name: by WordNet id, else by name, else by index."""

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self._wnids = {wnid: {i} for i, wnid in enumerate(labels.wnids) if wnid}
        self._names: dict[str, set[int]] = defaultdict(set)
        self._loose: dict[str, set[int]] = defaultdict(set)
        for i, name in enumerate(labels.names):
            self._names[unicodedata.normalize("NFC", name)].add(i)
            self._loose[_loosely(name)].add(i)
        # Of a model whose classes are called "1", "2", "3", the folder "0" may be the first class or a mistake.
        self._has_numbers = any(name.strip().isdecimal() for name in labels.names)

    def find(self, words: Sequence[str]) -> set[int]:
        """Give the classes that the words name: one, none, or several where they are ambiguous."""
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
        """Give the class name that looks most like `word`, or nothing."""
        close = get_close_matches(_loosely(word), self._loose, n=1, cutoff=0.75)
        return self.labels.names[min(self._loose[close[0]])] if close else ""

    def describe(self, index: int) -> str:
        """Name a class without ambiguity."""
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


class Dataset:
    """The labelled images at a place; the constructor looks at every name there.

    Args:
        place: a folder with a folder for each class, a tar archive (plain or compressed) of one, or a CSV file whose
            first line names the columns `path` (from the CSV file's folder) and `label`.
        labels: the class names of the model.

    Attributes:
        total: images listed, readable or not.
        present: the class indices that they have, in order.

    Raises:
        UsageError: nothing labelled is there, or a label names no class, or more than one.
        UnreadableInput: the archive or the CSV file is damaged.
    """

    def __init__(self, place: str | os.PathLike[str], labels: Labels) -> None:
        self.place = os.fspath(place)
        self._names = ClassNames(labels)
        self._layout = _layout(self.place)
        self.total, self.present = self._survey()

    def images(self, scratch: Path) -> Iterator[Labelled | Failure]:
        """List every image with its class, in the order of the folder, archive or file.

        Images in an archive are unpacked into `scratch`, one at a time as they are asked for.
        """
        for item in self._layout(self.place, scratch):
            yield item if isinstance(item, Failure) else Labelled(item, min(self._names.find(item.words)))

    def _survey(self) -> tuple[int, tuple[int, ...]]:
        """Look at all labels and refuse what is not clear, before anything is computed."""
        refused: dict[str, str] = {}  # label -> an image that has it
        classes: dict[tuple[str, ...], set[int]] = {}
        total = 0
        for item in self._layout(self.place, None):
            total += 1
            if isinstance(item, Failure):
                continue
            if item.words not in classes:
                classes[item.words] = self._names.find(item.words)
            if len(classes[item.words]) != 1:
                refused.setdefault("/".join(item.words), item.path)
        if refused:
            raise UsageError(self._complaint(refused))
        present = sorted({index for found in classes.values() for index in found})
        if not present:
            message = (
                f"{self.place}: no labelled images. Give a folder with a folder for each class, a tar archive of one, "
                "or a CSV file with the columns path and label."
            )
            raise UsageError(message)
        return total, tuple(present)

    def _complaint(self, refused: dict[str, str]) -> str:
        lines = [f"  {self._reason(label, path)}" for label, path in list(refused.items())[:EXAMPLES]]
        more = f"\n  ... and {len(refused) - EXAMPLES} more" if len(refused) > EXAMPLES else ""
        wnids = "a WordNet id (n02012849), " if any(self._names.labels.wnids) else ""
        count = f"{len(refused)} label{'s' * (len(refused) > 1)}"
        return (
            f"{self.place}: {count} cannot be understood:\n" + "\n".join(lines) + more + "\n"
            f"Call each class folder (or label in the CSV file) by {wnids}a class name or a class index; "
            "move what is no class out of the folder. --labels FILE gives the model other class names."
        )

    def _reason(self, label: str, path: str) -> str:
        if not label:
            return f"{path} is in no class folder"
        found = self._names.find(label.split("/"))
        if found:
            return f"{label!r} may be {' or '.join(self._names.describe(i) for i in sorted(found))}"
        near = next((name for word in reversed(label.split("/")) if (name := self._names.near(word))), "")
        return f"{label!r} is no class of the model" + (f" (is it {near!r}?)" if near else "")


def _loosely(name: str) -> str:
    """Forget case, and whether words are parted by spaces, underscores or hyphens."""
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFC", name)).strip().casefold()


def _layout(place: str) -> Callable[[str, Path | None], Iterator[Item | Failure]]:
    """Choose how the place is read.

    Raises:
        UsageError: it is not there, or nothing that can be read here.
    """
    if Path(place).is_dir():
        return _in_folder
    if not Path(place).is_file():
        message = f"{place}: no such folder or file. Give a folder of class folders, a tar archive or a CSV file."
        raise UsageError(message)
    if place.lower().endswith(".csv"):
        return _in_csv
    with _readable(place):
        if tarfile.is_tarfile(place):
            return _in_tar
    message = f"{place}: neither a tar archive nor a CSV file (.csv). Give one of these, or a folder of class folders."
    raise UsageError(message)


def _in_folder(place: str, _scratch: Path | None) -> Iterator[Item | Failure]:
    for found in sources.find([place]):
        if isinstance(found, Failure):
            yield found
            continue
        words = Path(os.path.relpath(found.path, place)).parts[:-1]
        if not _is_hidden(words):
            yield Item(found.path, words, found)


def _in_tar(place: str, scratch: Path | None) -> Iterator[Item | Failure]:
    with _readable(place), tarfile.open(place) as archive:
        while member := archive.next():
            archive.members = []  # type: ignore[attr-defined] # or it would keep what it knows of each member
            name = PurePosixPath(member.name)
            if not (member.isfile() and name.name.lower().endswith(SUFFIXES)) or _is_hidden(name.parts):
                continue
            path = f"{place}/{member.name}"
            if member.size > MAX_MEMBER_BYTES:
                yield Failure.of(path, UnreadableInput(f"larger than {MAX_MEMBER_BYTES >> 20} MB."))
                continue
            yield Item(path, name.parts[:-1], _unpacked(archive, member, scratch), is_copy=True)


def _unpacked(archive: tarfile.TarFile, member: tarfile.TarInfo, scratch: Path | None) -> Source:
    """Copy a member into `scratch`; without one, only its name is wanted."""
    if scratch is None:
        return Source(member.name)
    target = scratch / str(member.offset)  # its name may be anything
    content = archive.extractfile(member)
    assert content is not None  # noqa: S101 - a regular file has content
    with content, target.open("wb") as file:
        shutil.copyfileobj(content, file)
    return Source(str(target))


def _in_csv(place: str, _scratch: Path | None) -> Iterator[Item | Failure]:
    folder = str(Path(place).parent)
    with _readable(place), open(place, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:  # noqa: PTH123 - as typed
        rows = csv.DictReader(file)
        if not {"path", "label"} <= set(rows.fieldnames or ()):
            message = f"{place}: the first line must name the columns path and label, as in `path,label`."
            raise UsageError(message)
        for row in rows:
            path = os.path.join(folder, row["path"] or "")  # noqa: PTH118 - pathlib would normalise what stands there
            yield Item(path, (row["label"],) if row["label"] else (), Source(path))


def _is_hidden(parts: Sequence[str]) -> bool:
    """Tell what lies in a folder whose name starts with a dot, or is such a file: desktops and editors leave them."""
    return any(part.startswith(".") and part not in {".", ".."} for part in parts) or "__MACOSX" in parts


@contextmanager
def _readable(place: str) -> Iterator[None]:
    """Say in our words that the list of images cannot be read."""
    try:
        yield
    except (tarfile.TarError, zlib.error, lzma.LZMAError, csv.Error, EOFError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        message = f"{place} cannot be read: {reason}."
        raise UnreadableInput(message) from error
