"""What a sort will do: rows become steps, each with a name that nothing has, and files that are skipped, with why.

In: rows, the folder to sort into, and the choices of the user. Out: a `Plan`. Looks at names and traits of files, reads
no content and changes nothing.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resnest_cli.errors import UsageError
from resnest_cli.inputs import urls
from resnest_cli.outputs.state import Skipped
from resnest_cli.system.paths import reason
from resnest_cli.system.transfer import Traits
from resnest_cli.tasks.sort import names
from resnest_cli.tasks.sort.names import FAILED, UNSURE, Class
from resnest_cli.tasks.sort.shelf import Shelf
from resnest_cli.tasks.sort.sidecars import Folders
from resnest_cli.types import STDIN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from resnest_cli.outputs.rows import Row

HOW = ("copy", "link", "hardlink", "move")
OTHER_DISK = "on another disk than the folder, where no hard link can lead: use --copy or --link."
# Moved, a link leads elsewhere; and the picture that it names may be moved by its own row.
LINK = "a link: --move leaves it where it is. Use --copy or --link."


@dataclass(frozen=True)
class Choices:
    """What the user wants.

    Attributes:
        how: one of `HOW`.
        min: the probability, 0..1, below which an answer is unsure.
        failed: rows without an answer are sorted, too.
        with_sidecars: what belongs to a picture goes along.

    Raises:
        UsageError: an invalid value.
    """

    how: str = "copy"
    min: float = 0.0
    failed: bool = False
    with_sidecars: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        if self.how not in HOW:
            raise UsageError(f"how={self.how!r}: use one of {', '.join(HOW)}.")
        if not 0 <= self.min <= 1:
            raise UsageError(f"--min {self.min}: use a probability from 0 to 1.")


@dataclass(frozen=True, slots=True)
class Step:
    """One file to carry: absolute paths, the traits of its content, and what a symbolic link to it says."""

    source: str
    target: str
    traits: Traits
    link: str = ""


@dataclass(frozen=True)
class Plan:
    """What a sort will do.

    Attributes:
        to: the folder to sort into.
        how: one of `HOW`.
        folders: to make, those that contain others first.
        steps: in order.
        skipped: in order.
    """

    to: Path
    how: str
    folders: tuple[str, ...]
    steps: tuple[Step, ...]
    skipped: tuple[Skipped, ...]

    @property
    def counts(self) -> Counter[str]:
        """How many files each folder gets, by its name."""
        return Counter(os.path.basename(os.path.dirname(step.target)) for step in self.steps)


class _Refused(Exception):
    """A file that is not sorted, and why."""


def plan(rows: Iterable[Row], to: Path, choices: Choices) -> Plan:
    """Return what to do with the files of the rows.

    Args:
        rows: with paths as `predict` got them, relative to this folder.
        to: the folder to sort into; it is there, or its parent is.
        choices: of the user.

    Raises:
        OSError: `to` cannot be read.
    """
    wanted = [(row["path"], _destination(row, choices)) for row in rows]
    wanted.sort(key=lambda each: each[1] in {FAILED, None})  # a RAW file that cannot be read goes with its JPEG
    named = names.folders((each for _, each in wanted if each), _there(to))
    planner = _Planner(to, choices)
    for path, destination in wanted:
        planner.add(path, named[destination] if destination else None)
    used = {str(to), *map(os.path.dirname, (step.target for step in planner.steps))} if planner.steps else set()
    missing = sorted(each for each in used if not os.path.lexists(each))
    return Plan(to, choices.how, tuple(missing), tuple(planner.steps), tuple(planner.skipped))


def _destination(row: Row, choices: Choices) -> Class | None:
    """Return the class of a row, or `UNSURE`; `FAILED` for a row without an answer, None if that is not sorted."""
    if row["status"] != "ok":
        return FAILED if choices.failed else None
    if not row["predictions"] or row.get("abstained"):
        return UNSURE
    first = row["predictions"][0]
    if first["probability"] < choices.min:
        return UNSURE
    return Class(first["label"], first["wnid"] or str(first["index"]))


def _there(to: Path) -> Mapping[str, str | None]:
    """Return what the folder holds, see `names.folders`; nothing if it is not there. A link is no folder to sort into.

    Raises:
        OSError: it cannot be listed.
    """
    if not to.exists():
        return {}
    with os.scandir(to) as entries:
        found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    return {names.fold(name): name if is_folder else None for name, is_folder in found}


def _check_named(path: str) -> None:
    """Check that a row names a file.

    Raises:
        _Refused: it does not.
    """
    if path == STDIN:
        raise _Refused("standard input, which has no file.")
    if urls.is_url(path):
        raise _Refused("a URL: download it first, and predict the file.")


class _Planner:
    """Collects steps, and the files that are skipped."""

    def __init__(self, to: Path, choices: Choices) -> None:
        self.steps: list[Step] = []
        self.skipped: list[Skipped] = []
        self._to, self._how = to, choices.how
        self._here = os.getcwd()
        self._beside = Folders() if choices.with_sidecars else None
        self._shelves: dict[str, Shelf] = {}
        self._real: dict[str, str] = {}  # folders of rows
        self._placed: dict[str, str] = {}  # by its place: what is said of a file that comes again
        self._device = next(each for each in (to, to.parent) if each.exists()).stat().st_dev

    def add(self, path: str, folder: str | None) -> None:
        """Add the file of a row, with its sidecars; None as its folder leaves it where it is."""
        try:
            source = self._absolute(path)
            if source in self._placed:
                self._skip(path, self._placed[source])
            elif folder is None:
                self._skip(path, "no answer: --failed sorts them into _failed.")
            else:
                self._place(source, path, str(self._to / folder))
        except _Refused as refused:
            self.skipped.append(Skipped(path, str(refused)))
        except (OSError, ValueError) as error:
            self.skipped.append(Skipped(path, reason(error)))

    def _skip(self, path: str, why: str) -> None:
        self.skipped.append(Skipped(path, why, is_failure=False))

    def _absolute(self, path: str) -> str:
        """Return where the file of a row is: its name in its real folder. It may be a link."""
        folder, name = os.path.split(os.path.join(self._here, path))
        if folder not in self._real:
            self._real[folder] = os.path.realpath(folder)
        return os.path.join(self._real[folder], name)

    def _place(self, source: str, path: str, target: str) -> None:
        """Add the steps of a picture and of what belongs to it, to the folder `target`.

        Raises:
            _Refused: the picture is not sorted.
            OSError: it cannot be looked at.
        """
        _check_named(path)
        group = {source: self._traits(source)} | self._companions(source)
        if target not in self._shelves:
            self._shelves[target] = Shelf(target)
        shelf = self._shelves[target]
        where, name = os.path.split(source)
        number = None if where == target else shelf.number(source, [*group], self._how)
        if number is None:
            self._skip(path, "already in its folder.")
            return
        stem = os.path.splitext(name)[0]
        for each, traits in group.items():
            new = names.numbered(os.path.basename(each), stem, number)
            self._placed[each] = "goes along with a picture before it."
            self.steps.append(Step(each, shelf.take(new), traits, self._link(each, target)))
        self._placed[source] = "named by a row before it, too."

    def _companions(self, source: str) -> dict[str, Traits]:
        """Return what goes along with a picture; what cannot is skipped."""
        found: dict[str, Traits] = {}
        for name in self._beside.companions(source) if self._beside else ():
            path = os.path.join(os.path.dirname(source), name)
            if path in self._placed:
                continue
            try:
                found[path] = self._traits(path)
            except (_Refused, OSError) as error:
                why = reason(error) if isinstance(error, OSError) else str(error)
                self.skipped.append(Skipped(os.path.relpath(path, self._here), why))
        return found

    def _traits(self, source: str) -> Traits:
        """Return the traits of a file, of what it leads to if it is a link.

        Raises:
            _Refused: it is no regular file, or cannot be carried this way.
            OSError: it cannot be looked at.
        """
        try:
            is_link, status = os.path.islink(source), os.stat(source)
        except NotADirectoryError as error:
            raise _Refused("inside an archive: unpack it first, and predict the files.") from error
        if not stat.S_ISREG(status.st_mode):
            raise _Refused("not a regular file.")
        if is_link and self._how == "move":
            raise _Refused(LINK)
        if self._how == "hardlink" and status.st_dev != self._device:
            raise _Refused(OTHER_DISK)
        return Traits.of(status)

    def _link(self, source: str, folder: str) -> str:
        return os.path.relpath(source, folder) if self._how == "link" else ""
