"""Names that every file system takes, and tells apart: of folders made of class names, of files that are alike.

In: class names of any kind, names of files, names that are taken. Out: names. Knows the rules of Windows, macOS and
Linux, and looks at no disk.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resnest_cli.models import labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LONGEST_FOLDER = 100  # bytes of UTF-8: eCryptfs takes 143 per name, Windows 260 characters per path
LONGEST_FILE = 255  # bytes: Linux; Windows and macOS take 255 characters
# https://learn.microsoft.com/windows/win32/fileio/naming-a-file: devices, whatever follows a dot.
_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE)
_FORBIDDEN = set('<>:"/\\|?*')
_UNSEEN = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}  # control, format, private, surrogate; separators of lines


@dataclass(frozen=True, order=True, slots=True)
class Class:
    """A class of a row: its name, and its WordNet id or else its index."""

    label: str
    id: str


UNSURE, FAILED = Class("_unsure", ""), Class("_failed", "")  # what has a folder, too


def fold(name: str) -> str:
    """Return what names have in common that some file system takes for one: case, normalization, dots at the end."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold()).rstrip(". ")


def folders(classes: Iterable[Class], there: Mapping[str, str | None]) -> dict[Class, str]:
    """Return the name of the folder of each class, and of `UNSURE` and `FAILED`; no two names fold to one.

    A class has its id in the name where another class has the same label, here or in ImageNet.

    Args:
        classes: all classes of the rows.
        there: what the folder holds, by its folded name: the name of a folder, None for anything else.
    """
    known = sorted({*classes} - {UNSURE, FAILED})
    twins = Counter(fold(safe(each.label)) for each in (UNSURE, FAILED, *known))
    shared = labels.shared_by_classes()
    found: dict[Class, str] = {}
    used: set[str] = set()
    for each in (UNSURE, FAILED, *known):
        is_shared = twins[fold(safe(each.label))] > 1 or each.id in shared.get(each.label, ())
        found[each] = _free_folder(safe(each.label, each.id if is_shared else ""), used, there)
        used.add(fold(found[each]))
    return found


def safe(label: str, suffix: str = "") -> str:
    """Return a name for a folder, at most `LONGEST_FOLDER` bytes long, and not empty; `suffix` follows it whole."""
    text = "".join(map(_seen, unicodedata.normalize("NFC", label)))
    end = f" {_cut(''.join(map(_seen, suffix)), LONGEST_FOLDER // 2)}" if suffix else ""
    text = _cut(text.strip(" "), LONGEST_FOLDER - len(end.encode()) - 1) + end
    text = text.strip(" ").rstrip(". ")
    return f"_{text}" if not text or text.startswith(".") or _DEVICES.fullmatch(text) else text


def numbered(name: str, stem: str, number: int) -> str:
    """Return the name of a file with a number behind its stem, none for 1; a long stem is cut to leave room."""
    if number == 1:
        return name
    rest = f" ({number}){name[len(stem) :]}"
    kept = stem
    while kept and len(os.fsencode(kept + rest)) > LONGEST_FILE:
        kept = kept[:-1]
    return kept + rest


def _free_folder(name: str, used: set[str], there: Mapping[str, str | None]) -> str:
    """Return the name, with a number where it is another class's, or no folder; as it is spelled where there is one."""
    number, tried = 1, name
    while fold(tried) in used or there.get(fold(tried), "") is None:
        number += 1
        tried = f"{name} ({number})"
    return there.get(fold(tried)) or tried


def _seen(character: str) -> str:
    return "_" if character in _FORBIDDEN or unicodedata.category(character) in _UNSEEN else character


def _cut(text: str, most: int) -> str:
    return text.encode("utf-8", "replace")[:most].decode("utf-8", "ignore")
