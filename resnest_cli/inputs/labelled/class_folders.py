"""Where labelled files lie: class folders, sides with such folders in them, or a table.

In: a place. Out: an `Example` for each file, and lines for a person. Names and places only: opens no image.
"""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from resnest_cli.errors import BadDataSet, UnreadableInput
from resnest_cli.inputs import splits, tables, walk
from resnest_cli.inputs.decode import images
from resnest_cli.inputs.photographs import Rule
from resnest_cli.inputs.splits import LEFT_OUT, TEST, TRAIN, VAL
from resnest_cli.system.paths import Kind, look, reason
from resnest_cli.text import redact
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

NAMED = 5  # files or classes that a sentence names before it says how many more


@dataclass(frozen=True, slots=True)
class Example:
    """One file: its class by name, and its side: "train", "val", "left out" (for `reason`), or "" before the split.

    `sha256` is that of its content, "" of a file that could not be read.
    """

    path: str
    label: str
    split: str = ""
    reason: str = ""
    sha256: str = ""


def scan(root: Path, exclude: Sequence[str] = ()) -> tuple[list[Example], list[str]]:
    """List every file at `root` with its class and, where the data say one, its side.

    `exclude` are patterns of what to leave out of folders, see `photographs.Rule`.

    Raises:
        BadDataSet: nothing is there, or it is not clear what the classes are.
    """
    seen = look(root)
    if seen.is_file:
        return _from_table(root)
    if not seen.is_folder:
        why = "there is no such folder or file." if seen.kind is Kind.MISSING else seen.why or "it is not a folder."
        message = f"{root}: {why} Give a folder with one subfolder a class."
        raise BadDataSet(message)
    if own := tables.of_folder(root):
        found, words = _from_table(own)
        return found, [f"{own} says which images there are.", *words]
    rule = Rule(exclude, str(root.absolute()))
    inner = _unwrapped(root, rule)
    sides = _sides(inner, rule)
    found, words = _from_sides(inner, sides, rule) if sides else (_from_classes(inner, "", rule), [])
    return found, [*([f"{root}: {rule.left_out.counts()}."] if rule.left_out else []), *words]


def rows(table: Path) -> list[tables.Row]:
    """Read the rows of a table.

    Raises:
        BadDataSet: it cannot be read, or is none of labelled images.
    """
    try:
        return list(tables.rows(table))
    except UnreadableInput as error:
        raise BadDataSet(str(error)) from error


def _from_table(table: Path) -> tuple[list[Example], list[str]]:
    """Take every row, its path as it is or from the table's folder; the side `test` only where there is no `val`."""
    listed = rows(table)
    if remote := next((row for row in listed if tables.is_remote(row.path.strip())), None):
        message = (
            f"{table}, row {remote.number}: {redact.url(remote.path.strip())} is on no disk of this machine, and "
            "training reads files only. Download the images first, and list their paths."
        )
        raise BadDataSet(message)
    val = _to_validate({row.split for row in listed})
    meaning = {"": "", LEFT_OUT: LEFT_OUT, TRAIN: TRAIN if val else "", val: VAL if val else ""}
    found = [
        Example(os.path.abspath(tables.source(table, row.path).path), _normal(row.label), split, row.reason)  # noqa: PTH100 - resolve would follow links
        for row in listed
        if (split := meaning.get(row.split)) is not None
    ]
    unread = len(listed) - len(found)
    return found, [f"{files(unread)} on the test side and not read."] if unread else []


def _to_validate(sides: Iterable[str]) -> str:
    """Choose the side to validate on; "" where a share of the other is held out for that."""
    return next((side for side in (VAL, TEST) if side in sides), "")


def _sides(root: Path, rule: Rule) -> dict[str, list[Path]]:
    """Find the folders that are called like sides: at least two, or the only one there is. Else they are classes."""
    folders, sides = _folders(root, rule), defaultdict(list)
    for folder in folders:
        sides[splits.side(folder.name)].append(folder)
    others = sides.pop("", [])
    return sides if len(sides) > 1 or not others else {}


def _from_sides(root: Path, sides: dict[str, list[Path]], rule: Rule) -> tuple[list[Example], list[str]]:
    if TRAIN not in sides:
        message = f"{root}: a {' and a '.join(sides)} side, and none to train on: put the class folders into train/."
        raise BadDataSet(message)
    val = _to_validate(sides)
    found: list[Example] = []
    words: list[str] = []
    parts = [(folder, TRAIN if val else "") for folder in sides[TRAIN]] + [
        (folder, VAL) for folder in sides.get(val, [])
    ]
    for folder, split in parts:
        found += _from_classes(_unwrapped(folder, rule, splits.side), split, rule)
    taken = [folder for folder, _ in parts]
    if unread := [folder.name for folder in _folders(root, rule) if folder not in taken]:
        where = " and ".join(map(str, sides.get(val, []))) or f"a share of {taken[0]}"
        words.append(f"validation is on {where}; not read: {few(unread)}.")
    return found, words


def _unwrapped(folder: Path, rule: Rule, is_one: Callable[[str], object] = bool) -> Path:
    """Go through folders with nothing but one folder of folders in them, as archives and downloads have them."""
    while not _images(folder, rule) and len(only := _folders(folder, rule)) == 1 and is_one(only[0].name):
        if _images(only[0], rule) or not _folders(only[0], rule):
            break
        folder = only[0]
    return folder


def _entries(folder: Path) -> list[Path]:
    """List what is in a folder, by name.

    Raises:
        BadDataSet: it cannot be listed.
    """
    try:
        return sorted(folder.absolute().iterdir())
    except OSError as error:
        message = f"{folder} cannot be read: {reason(error)}"
        raise BadDataSet(message) from error


def _folders(folder: Path, rule: Rule) -> list[Path]:
    """List the folders in a folder that are not left out."""
    return [entry for entry in _entries(folder) if rule.sees(str(entry)) and look(entry).is_folder]


def _images(folder: Path, rule: Rule) -> list[Path]:
    """List the files in a folder that are named like images, and not left out."""
    entries = (entry for entry in _entries(folder) if entry.name.lower().endswith(images.SUFFIXES))
    return [entry for entry in entries if rule.sees(str(entry)) and look(entry).is_file]


def _from_classes(root: Path, split: str, rule: Rule) -> list[Example]:
    folders = _folders(root, rule)
    _check_levels(root, folders, rule)
    for entry in _entries(root):  # to count what is left out
        (rule.enters if look(entry).is_folder else rule.takes)(str(entry))
    found = [example for folder in folders for example in _class(folder, split, rule)]
    found += [Example(str(path), "", LEFT_OUT, "it lies in no class folder") for path in _images(root, rule)]
    if not any(example.label for example in found):
        others = f" ({rule.left_out.counts()})" if rule.left_out else ""
        message = f"{root} has no class folders{others}: put the images of each class into a subfolder of its name."
        raise BadDataSet(message)
    return found


def or_table(root: Path) -> str:
    """Point at tables that lie in a folder: it may be one of these that says the classes."""
    if not look(root).is_folder:
        return ""
    tabular = {".csv", ".tsv", ".parquet"}
    there = [
        str(entry) for entry in _entries(root) if entry.suffix.lower() in tabular and entry.name != tables.SPLIT_FILE
    ]
    return f" Or give a table that says them, with the columns path and label: {few(there)}?" if there else ""


def _check_levels(root: Path, folders: Sequence[Path], rule: Rule) -> None:
    """Refuse folders that may be classes or hold them: all with the same folders in them, or with sides in them."""
    inside = [{folder.name for folder in _folders(each, rule)} for each in folders]
    names = sorted(set().union(*inside))
    sides = {splits.side(name) for name in names} - {""}
    alike = (
        len(names) > 1
        and all(each == inside[0] for each in inside)
        and not any(_images(each, rule) for each in folders)
    )
    if len(folders) > 1 and (alike or len(sides) > 1):
        outer = [folder.name for folder in folders]
        message = (
            f"{root}: what are the classes, {few(outer)}, or the folders in each of them, {few(names)}? Put the "
            "images of a class into one folder of its name, such as train/cat and val/cat; or list them in a table "
            "with the columns path, label and split."
        )
        raise BadDataSet(message)


def _class(folder: Path, split: str, rule: Rule) -> Iterator[Example]:
    """Find the images of one class; a folder without any is kept as an example that is left out, to be judged later."""
    label, items = _normal(folder.name), walk.walk(str(folder), rule)
    first = next(items, Failure(str(folder), "NoImages", "no images in this folder"))
    for item in chain([first], items):
        if isinstance(item, Failure):
            yield Example(item.path, label, LEFT_OUT, item.message)
        else:
            yield Example(item.path, label, split)


def _normal(name: str) -> str:
    """Bring the two ways to write an accented letter to one (macOS stores names in the other); no blanks around."""
    return unicodedata.normalize("NFC", name).strip(" ")


def files(count: int) -> str:
    """Count files, with the verb that follows."""
    return "1 file is" if count == 1 else f"{count:,} files are"


def some(names: Iterable[str]) -> str:
    """Name the first few, with the verb that follows: "a is", "a, b are", "a, b and 7 more are"."""
    every = list(names)
    return f"{few(every)} {'is' if len(every) == 1 else 'are'}"


def few(names: Sequence[str]) -> str:
    """Name the first few, and say how many more there are."""
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"
