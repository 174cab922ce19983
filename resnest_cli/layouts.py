"""Where labelled images lie: in a folder of class folders, in a tar archive of one, or listed in a table.

In: a place, and a rule of what to leave out. Out: an `Item` for each image, with the words that may name its class.
Does not know the classes, nor open an image.
"""

from __future__ import annotations

import lzma
import os
import tarfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeAlias

from resnest_cli import tables, walk
from resnest_cli.errors import OutputError, UnreadableInput, UsageError
from resnest_cli.paths import Kind, look, reason
from resnest_cli.types import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resnest_cli.photographs import Rule

MAX_MEMBER_BYTES = 1 << 29  # of an image in an archive: it is unpacked before it is read


@dataclass(frozen=True, slots=True)
class Item:
    """One image as it is listed.

    Attributes:
        path: for a person.
        words: what may name its class.
        source: where its bytes are.
        split: its side, if a table says so.
        unpack: copies it out of an archive into a folder, and tells where it is now.
    """

    path: str
    words: tuple[str, ...]
    source: Source
    split: str = ""
    unpack: Callable[[Path], Source] | None = None

    @property
    def is_copy(self) -> bool:
        """Tell whether its file is to be removed when it was read."""
        return self.unpack is not None


Layout: TypeAlias = "Callable[[str, Rule], Iterator[Item | Failure]]"


def choose(place: str) -> Layout:
    """Return the function that lists the images at `place`.

    Raises:
        UsageError: it is not there, or nothing that can be read here.
    """
    seen = look(place)
    if seen.is_folder:
        return _in_folder
    if not seen.is_file:
        why = "no such folder or file." if seen.kind is Kind.MISSING else seen.why or "neither a folder nor a file."
        message = f"{place}: {why} Give a folder of class folders, a tar archive or a CSV file."
        raise UsageError(message)
    if place.lower().endswith(tables.SUFFIXES):
        return _in_table
    with _readable(place):
        if tarfile.is_tarfile(place):
            return _in_tar
    message = (
        f"{place}: neither a tar archive nor a table ({', '.join(tables.SUFFIXES)}). Give one of these (a spreadsheet "
        "can be saved as CSV, a ZIP archive unpacked), or a folder of class folders."
    )
    raise UsageError(message)


def is_packed(layout: Layout) -> bool:
    """Tell whether images are unpacked one by one."""
    return layout is _in_tar


def _in_folder(place: str, rule: Rule) -> Iterator[Item | Failure]:
    for found in walk.walk(place, rule):
        if isinstance(found, Failure):
            yield found
        else:
            yield Item(found.path, Path(os.path.relpath(found.path, place)).parts[:-1], found)


def _in_tar(place: str, rule: Rule) -> Iterator[Item | Failure]:
    with _readable(place), tarfile.open(place) as archive:
        while member := archive.next():
            archive.members = []  # type: ignore[attr-defined] # or it would keep what it knows of each member
            name = PurePosixPath(member.name)
            if not (member.isfile() and rule.takes_member(f"{place}/{name}")):
                continue
            path = f"{place}/{member.name}"
            if member.size > MAX_MEMBER_BYTES:
                yield Failure.of(path, UnreadableInput(f"larger than {MAX_MEMBER_BYTES >> 20} MB."))
                continue
            unpack = partial(_unpacked, place, archive, member)
            yield Item(path, name.parts[:-1], Source(member.name), unpack=unpack)


def _unpacked(place: str, archive: tarfile.TarFile, member: tarfile.TarInfo, scratch: Path) -> Source:
    """Copy a member into `scratch`.

    Raises:
        UnreadableInput: the archive is damaged.
        OutputError: there is no room.
    """
    with _readable(place):
        file = archive.extractfile(member)
        content = file.read() if file else b""  # a regular file has some
    target = scratch / str(member.offset)  # its name may be anything
    try:
        target.write_bytes(content)
    except OSError as error:
        message = (
            f"{scratch} cannot be written ({error.strerror}): images of {place} are unpacked there, one at a time. "
            "Make room, or name another folder in TMPDIR."
        )
        raise OutputError(message) from error
    return Source(str(target))


def _in_table(place: str, _rule: Rule) -> Iterator[Item | Failure]:
    table = Path(place)
    for row in tables.rows(table):
        source = tables.source(table, row.path)
        yield Item(source.path, (row.label,) if row.label else (), source, row.split)


@contextmanager
def _readable(place: str) -> Iterator[None]:
    """Say in our words that the archive cannot be read."""
    try:
        yield
    except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError) as error:
        why = reason(error) if isinstance(error, OSError) and error.strerror else f"{error}."
        message = f"{place} cannot be read: {why}"
        raise UnreadableInput(message) from error
