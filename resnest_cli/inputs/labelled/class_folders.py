"""Labelled files of a folder whose classes nobody knows yet: class folders, or sides (train, val) with such folders.

In: a folder. Out: an `Example` per file, its label the name of its class folder, its side from the folder above, its
group the folder below; and notes for the user. Opens no image.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from itertools import chain
from pathlib import PurePath
from typing import TYPE_CHECKING

from resnest_cli.errors import BadDataSet
from resnest_cli.inputs import splits, tables, walk
from resnest_cli.inputs.decode import images
from resnest_cli.inputs.selection import Rule
from resnest_cli.inputs.splits import LEFT_OUT, TRAIN, VAL
from resnest_cli.inputs.tables import Example
from resnest_cli.system.paths import look, reason
from resnest_cli.text.listing import few
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

_TABLES = {".csv", ".tsv", ".parquet"}


def scan(root: Path, exclude: Sequence[str] = ()) -> tuple[list[Example], list[str]]:
    """Return every file of the class folders in `root`, and notes for the user.

    Folders that hold nothing but one folder of folders are passed through. Without a val or test side, `split` is "".

    Args:
        root: a folder.
        exclude: patterns of what to leave out, see `selection.Rule`.

    Raises:
        BadDataSet: there is no class folder, or it is not clear which folders are the classes.
    """
    rule = Rule(exclude, str(root.absolute()))
    inner = _unwrapped(root, rule)
    sides = _sides(inner, rule)
    found, notes = _from_sides(inner, sides, rule) if sides else (_from_classes(inner, "", rule), [])
    return found, [*([f"{root}: {rule.left_out.counts()}."] if rule.left_out else []), *notes]


def class_name(name: str) -> str:
    """Return a name in Unicode's composed form, as macOS stores names in the other; without blanks around it."""
    return unicodedata.normalize("NFC", name).strip(" ")


def hint_at_table(root: Path) -> str:
    """Return a sentence on the tables that lie in a folder: the classes may be in one of them."""
    if not look(root).is_folder:
        return ""
    there = [str(each) for each in _entries(root) if each.suffix.lower() in _TABLES and each.name != tables.SPLIT_FILE]
    return f" Or give a table that says them, with the columns path and label: {few(there)}?" if there else ""


def _sides(root: Path, rule: Rule) -> dict[str, list[Path]]:
    """Return the folders named like sides, if there are two sides, or no other folders. Otherwise they are classes."""
    sides = defaultdict(list)
    for folder in _folders(root, rule):
        sides[splits.side(folder.name)].append(folder)
    others = sides.pop("", [])
    return sides if len(sides) > 1 or not others else {}


def _from_sides(root: Path, sides: dict[str, list[Path]], rule: Rule) -> tuple[list[Example], list[str]]:
    if TRAIN not in sides:
        message = f"{root}: a {' and a '.join(sides)} side, and none to train on: put the class folders into train/."
        raise BadDataSet(message)
    train, val = sides[TRAIN], sides.get(splits.held_out(sides), [])
    found: list[Example] = []
    for folder, split in [*((each, TRAIN if val else "") for each in train), *((each, VAL) for each in val)]:
        found += _from_classes(_unwrapped(folder, rule, splits.side), split, rule)
    unread = [folder.name for folder in _folders(root, rule) if folder not in {*train, *val}]
    where = " and ".join(map(str, val)) or f"a share of {train[0]}"
    return found, [f"validation is on {where}; not read: {few(unread)}."] if unread else []


def _unwrapped(folder: Path, rule: Rule, accepts: Callable[[str], object] = bool) -> Path:
    """Return the first folder below that holds more than one folder of folders; archives and downloads wrap so.

    Only folders whose names `accepts` takes are passed through.
    """
    while not _images(folder, rule) and len(only := _folders(folder, rule)) == 1 and accepts(only[0].name):
        if _images(only[0], rule) or not _folders(only[0], rule):
            break
        folder = only[0]
    return folder


def _entries(folder: Path) -> list[Path]:
    """Return what is in a folder, sorted by name.

    Raises:
        BadDataSet: it cannot be listed.
    """
    try:
        return sorted(folder.absolute().iterdir())
    except OSError as error:
        message = f"{folder} cannot be read: {reason(error)}"
        raise BadDataSet(message) from error


def _folders(folder: Path, rule: Rule) -> list[Path]:
    return [entry for entry in _entries(folder) if rule.sees(str(entry)) and look(entry).is_folder]


def _images(folder: Path, rule: Rule) -> list[Path]:
    """Return the files in a folder that have the suffix of an image."""
    entries = (entry for entry in _entries(folder) if entry.name.lower().endswith(images.SUFFIXES))
    return [entry for entry in entries if rule.sees(str(entry)) and look(entry).is_file]


def _from_classes(root: Path, split: str, rule: Rule) -> list[Example]:
    folders = _folders(root, rule)
    _check_levels(root, folders, rule)
    for entry in _entries(root):  # the rule counts what it leaves out
        (rule.enters if look(entry).is_folder else rule.takes)(str(entry))
    found = [example for folder in folders for example in _class(folder, split, rule)]
    found += [Example(str(path), "", LEFT_OUT, "it lies in no class folder") for path in _images(root, rule)]
    if not any(example.label for example in found):
        others = f" ({rule.left_out.counts()})" if rule.left_out else ""
        message = f"{root} has no class folders{others}: put the images of each class into a subfolder of its name."
        raise BadDataSet(message)
    return found


def _check_levels(root: Path, folders: Sequence[Path], rule: Rule) -> None:
    """Refuse folders that may be classes or may hold them: all have the same folders in them, or sides.

    Raises:
        BadDataSet: it is not clear which level has the classes.
    """
    inside = [{folder.name for folder in _folders(each, rule)} for each in folders]
    names = sorted(set().union(*inside))
    sides = {splits.side(name) for name in names} - {""}
    alike = len(names) > 1 and all(each == inside[0] for each in inside)
    alike = alike and not any(_images(each, rule) for each in folders)
    if len(folders) > 1 and (alike or len(sides) > 1):
        message = (
            f"{root}: what are the classes, {few([folder.name for folder in folders])}, or the folders in each of "
            f"them, {few(names)}? Put the images of a class into one folder of its name, such as train/cat and "
            "val/cat; or list them in a table with the columns path, label and split."
        )
        raise BadDataSet(message)


def _class(folder: Path, split: str, rule: Rule) -> Iterator[Example]:
    """Yield the images of one class; of an empty folder one example that is left out, so that the class is known."""
    label, items = class_name(folder.name), walk.walk(str(folder), rule)
    first = next(items, Failure(str(folder), "NoImages", "no images in this folder"))
    for item in chain([first], items):
        if isinstance(item, Failure):
            yield Example(item.path, label, LEFT_OUT, item.message)
        else:
            inside = PurePath(item.path).relative_to(folder).parts[:-1]
            yield Example(item.path, label, split, group=next(iter(inside), ""))
