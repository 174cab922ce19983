"""Where labeled images lie: in a folder of class folders, in a tar archive of one, or listed in a table.

In: a place, and a rule of what to leave out. Out: an `Item` per image, with the words that may name its class. Knows no
classes; opens no image.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeAlias

from resnest_cli.errors import BadDataSet, OutputError, UnreadableInput
from resnest_cli.inputs import archives, tables, walk
from resnest_cli.system.paths import Kind, look
from resnest_cli.types import Failure, Source

if TYPE_CHECKING:
    import tarfile
    from collections.abc import Callable, Iterator

    from resnest_cli.inputs.selection import Rule
    from resnest_cli.system.paths import Look

LONGEST_NAME = 500  # characters of a member's name in a failure


@dataclass(frozen=True, slots=True)
class Item:
    """One image as it is listed.

    Attributes:
        path: for the user.
        words: may name its class: its folders, or its label.
        source: where its bytes are.
        split: its side, if a table has one.
        unpack: copies it from an archive into a folder, and returns the copy.
    """

    path: str
    words: tuple[str, ...]
    source: Source
    split: str = ""
    unpack: Callable[[Path], Source] | None = None

    @property
    def is_copy(self) -> bool:
        """Whether its file is a copy, to be removed after it was read."""
        return self.unpack is not None


Layout: TypeAlias = "Callable[[str, Rule], Iterator[Item | Failure]]"


def require(place: str | os.PathLike[str], wanted: str) -> Look:
    """Return what is at a place that must be a folder or a file.

    Args:
        place: where labeled images should be.
        wanted: what to give instead, for the message.

    Raises:
        BadDataSet: it is neither.
    """
    seen = look(place)
    if seen.is_folder or seen.is_file:
        return seen
    why = "no such folder or file." if seen.kind is Kind.MISSING else seen.why or "neither a folder nor a file."
    message = f"{place}: {why} Give {wanted}."
    raise BadDataSet(message)


def choose(place: str) -> Layout:
    """Return the function that lists the images at `place`.

    Raises:
        BadDataSet: nothing is there, or a file of another kind.
    """
    if require(place, "a folder of class folders, a tar archive or a CSV file").is_folder:
        return _in_folder
    if place.lower().endswith(tables.SUFFIXES):
        return _in_table
    if archives.is_tar(place):
        return _in_tar
    message = (
        f"{place}: neither a tar archive nor a table ({', '.join(tables.SUFFIXES)}). Give one of these (a spreadsheet "
        "can be saved as CSV, a ZIP archive unpacked), or a folder of class folders."
    )
    raise BadDataSet(message)


def is_packed(layout: Layout) -> bool:
    """Return whether a layout unpacks images one by one."""
    return layout is _in_tar


def _in_folder(place: str, rule: Rule) -> Iterator[Item | Failure]:
    for found in walk.walk(place, rule):
        if isinstance(found, Failure):
            yield found
        else:
            yield Item(found.path, Path(os.path.relpath(found.path, place)).parts[:-1], found)


def _in_tar(place: str, rule: Rule) -> Iterator[Item | Failure]:
    with archives.opened(place) as archive:
        for member in archive.members():
            name = PurePosixPath(member.name)
            if member.isdir() or not rule.takes_member(f"{place}/{name}"):
                continue
            path = f"{place}/{member.name}"
            if why := archives.unusable(member):
                yield Failure.of(path[:LONGEST_NAME], UnreadableInput(why))
            else:
                unpack = partial(_unpacked, place, archive, member)
                yield Item(path, name.parts[:-1], Source(member.name), unpack=unpack)


def _unpacked(place: str, archive: archives.Archive, member: tarfile.TarInfo, scratch: Path) -> Source:
    """Copy a member into `scratch`.

    Raises:
        UnreadableInput: the archive is damaged.
        OutputError: the disk is full, or cannot be written.
    """
    target = scratch / str(member.offset)  # its name may be anything
    try:
        with target.open("wb") as out:
            for chunk in archive.read(member):
                out.write(chunk)
    except OSError as error:
        message = (
            f"{scratch} cannot be written ({error.strerror}): images of {place} are unpacked there, one at a time. "
            "Make room, or name another folder in TMPDIR."
        )
        raise OutputError(message) from error
    return Source(str(target))


def _in_table(place: str, _rule: Rule) -> Iterator[Item | Failure]:
    table = Path(place)
    for row in tables.read(table):
        source = tables.source(table, row.path)
        yield Item(source.path, (row.label,) if row.label else (), source, row.split)
