"""Walk folders and match patterns, in the order of names, lazily.

In: a folder or a pattern as typed, and the rule of which files are read. Out: sources, and a `Failure` for each folder
that cannot be read. Links to folders are followed, but never into a folder that contains them. Holds the names of one
folder per level, which are sorted, and nothing else.
"""

from __future__ import annotations

import glob
import os
from fnmatch import fnmatch
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from resnest_cli.errors import UnreadableInput
from resnest_cli.inputs.selection import is_hidden
from resnest_cli.system.paths import Kind, look, reason
from resnest_cli.types import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resnest_cli.inputs.selection import Rule

# What is still to be matched below a folder: any of these tuples of names. The empty tuple is matched already: a file
# reached with it is found, a folder is taken with all its content.
Wanted: TypeAlias = frozenset[tuple[str, ...]]
ALL: Wanted = frozenset([()])
ANY_DEPTH = "**"


def walk(folder: str, rule: Rule, *, recursive: bool = True) -> Iterator[Source | Failure]:
    """Yield the images of a folder, those of subfolders in the order of their names."""
    return _Walk(rule, recursive=recursive).run(folder, folder, ALL)


def match(pattern: str, rule: Rule, *, recursive: bool = True) -> Iterator[Source | Failure]:
    """Yield what a pattern matches: files of any suffix, and the images of folders.

    A part without wildcards, or with a dot in front, may match hidden names; `**` matches folders that are not hidden.
    """
    folder, names = parted(pattern)
    if look(folder or ".").kind is Kind.MISSING:
        return iter(())
    files = bool(names) and names[-1] != ANY_DEPTH and not pattern.endswith(("/", os.sep))
    while names and names[-1] == ANY_DEPTH:
        names.pop()
    return _Walk(rule, recursive=recursive, files=files).run(folder, pattern, frozenset([tuple(names)]))


class _Level(NamedTuple):
    """A folder that is being walked: its remaining paths, which of them are folders, itself and its parents."""

    paths: Iterator[str]
    folders: frozenset[str]
    inside: frozenset[tuple[int, int]]  # device and inode of each
    wanted: Wanted
    broken: Failure | None = None  # its listing ended early


class _Walk:
    """One walk; without `files`, a pattern matches folders only."""

    def __init__(self, rule: Rule, *, recursive: bool, files: bool = True) -> None:
        self._rule = rule
        self._recursive = recursive
        self._files = files

    def run(self, top: str, named: str, wanted: Wanted) -> Iterator[Source | Failure]:
        """Walk from `top`; `named` is the path of its failure."""
        levels = [self._list(top, named, wanted, frozenset())]
        while levels:
            level = levels[-1]
            path = next(level.paths, None)
            if path is None:
                levels.pop()
                if level.broken:
                    yield level.broken
            elif path in level.folders:
                levels.append(self._list(path, path, self._below(level, path), level.inside))
            else:
                yield Source(path if path != "-" else "./-")  # which would be standard input

    def _below(self, level: _Level, path: str) -> Wanted:
        if level.wanted >= ALL:
            return ALL
        name = os.path.basename(path)  # noqa: PTH119 - strings
        return _after(level.wanted, name, is_folder=True, hidden=is_hidden(name))

    def _list(self, folder: str, named: str, wanted: Wanted, inside: frozenset[tuple[int, int]]) -> _Level:
        """List what is wanted of a folder; nothing if it contains itself through a link."""
        names: list[str] = []
        folders: set[str] = set()
        broken = None
        try:
            status = os.stat(folder or ".")  # noqa: PTH116 - paths stay strings: pathlib would normalize what was typed
            here = (status.st_dev, status.st_ino)
            is_new, inside = here not in inside, inside | {here}
            with os.scandir(folder or ".") as scan:
                for entry in scan if is_new else ():
                    if self._wants(entry, folder, wanted):
                        names.append(entry.name)
                        if _is_folder(entry):
                            folders.add(os.path.join(folder, entry.name))  # noqa: PTH118 - strings
        except (OSError, ValueError) as error:
            broken = Failure.of(named, UnreadableInput(reason(error)))
        names.sort(reverse=True)
        return _Level(_joined(folder, names), frozenset(folders), inside, wanted, broken)

    def _wants(self, entry: os.DirEntry[str], folder: str, wanted: Wanted) -> bool:
        path = entry.path if folder else entry.name
        is_folder = _is_folder(entry)
        if wanted >= ALL:
            return self._recursive and self._rule.enters(path) if is_folder else self._rule.takes(path)
        if not self._matches(entry.name, wanted, is_folder=is_folder, hidden=False):
            return False
        if not self._matches(entry.name, wanted, is_folder=is_folder, hidden=is_hidden(entry.name)):
            return not self._rule.hides(path)
        return not self._rule.excludes(path)

    def _matches(self, name: str, wanted: Wanted, *, is_folder: bool, hidden: bool) -> bool:
        after = _after(wanted, name, is_folder=is_folder, hidden=hidden)
        return bool(after) if is_folder else self._files and after >= ALL


def _after(wanted: Wanted, name: str, *, is_folder: bool, hidden: bool) -> Wanted:
    """Return what is still to be matched below `name`; nothing if it does not match."""
    found: set[tuple[str, ...]] = set()
    for head, *rest in wanted:
        if head == ANY_DEPTH:
            found |= _after(frozenset([tuple(rest)]), name, is_folder=is_folder, hidden=hidden)
            if is_folder and not hidden:
                found.add((head, *rest))
        elif fnmatch(name, head) and (not hidden or _names_hidden(head)):
            found.add(tuple(rest))
    return ALL if () in found else frozenset(found)


def _names_hidden(part: str) -> bool:
    return part.startswith(".") or not glob.has_magic(part)


def parted(pattern: str) -> tuple[str, list[str]]:
    """Split a pattern into the folder before its first wildcard, as typed, and the names after it."""
    folder, names = pattern, []
    while glob.has_magic(folder):
        folder, name = os.path.split(folder)
        if name and name != ".":
            names.append(name)
    return folder, names[::-1]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _joined(folder: str, names: list[str]) -> Iterator[str]:
    """Yield the paths of names, which are in reverse order, and drop each name."""
    while names:
        yield os.path.join(folder, names.pop())  # noqa: PTH118 - strings
