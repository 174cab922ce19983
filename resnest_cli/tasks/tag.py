"""Classes as keywords of photographs: written into XMP sidecars beside the images, never into the images.

In: a file of rows, and how probable a class must be. Out: a `Tagged`; with `apply`, sidecars. A second run changes no
byte. Does not know the terminal.

The sidecar of IMG.jpg is IMG.jpg.xmp (darktable, digiKam, PhotoPrism), or IMG.xmp (Lightroom, PhotoPrism) if only that
is there.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resnest_cli.errors import ExitCode, UsageError
from resnest_cli.outputs import xmp
from resnest_cli.outputs.reading import Results
from resnest_cli.outputs.state import CHANGED, Files, Skipped, State
from resnest_cli.system import atomic, files
from resnest_cli.system.paths import reason
from resnest_cli.text.words import counted
from resnest_cli.types import names_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from resnest_cli.outputs.rows import Row

MAX_BYTES = 16 << 20  # of a sidecar: edits of one photograph


@dataclass(frozen=True)
class Tagged:
    """What was written, or would be.

    Attributes:
        keywords: how many sidecars get each keyword.
        had: how many images had theirs.
        skipped: images that get none, each with why.
        applied: the sidecars were written.
    """

    keywords: Mapping[str, int]
    had: int
    skipped: tuple[Skipped, ...]
    applied: bool

    @property
    def exit_code(self) -> ExitCode:
        """`SOME_FAILED` if an image has no keyword that should have one."""
        return ExitCode.SOME_FAILED if any(each.is_failure for each in self.skipped) else ExitCode.OK


def tag(rows: str | PathLike[str], *, min: float = 0.0, apply: bool = False) -> Tagged:
    """Write the first class of each row as a keyword beside its image; without `apply`, only say what would happen.

    >>> tag("answers.csv", min=0.8).keywords["two"]
    2

    Args:
        rows: what `predict` wrote, in any format; its paths are relative to this folder, as they were then.
        min: the least probability of a keyword, 0..1.
        apply: write the sidecars.

    Returns:
        What was done. Failed rows, and answers from which a calibrated model abstained, give no keyword. Keywords that
        are there stay, and so does everything else in a sidecar of another program, byte for byte.

    Raises:
        UsageError: the rows cannot be read, or `min` is no probability.
    """
    if not 0 <= min <= 1:
        raise UsageError(f"--min {min}: use a probability from 0 to 1.")
    new, had, skipped = Counter[str](), 0, []
    found = Results(Path(rows))
    found.require_here()
    state = Files(found).state
    for row in found.rows():
        if state(row) is State.CHANGED:
            skipped.append(Skipped(row["path"], CHANGED))
            continue
        if why := _without(row, min):
            skipped.append(Skipped(row["path"], why, is_failure=False))
            continue
        keyword = row["predictions"][0]["label"]
        try:
            is_new = _add(row["path"], keyword, apply=apply)
        except (OSError, ValueError) as error:
            why = reason(error) if isinstance(error, OSError) else str(error)
            skipped.append(Skipped(row["path"], why))
            continue
        new[keyword] += is_new
        had += not is_new
    return Tagged(+new, had, tuple(skipped), apply)


def sidecar(image: Path) -> Path:
    """Return the sidecar of an image: IMG.jpg.xmp, or IMG.xmp if only that is there."""
    full, short = image.with_name(f"{image.name}.xmp"), image.with_suffix(".xmp")
    return short if short.exists() and not full.exists() else full


def _without(row: Row, least: float) -> str:
    """Return why a row gives no keyword, or ""."""
    path = row["path"]
    if "error" in row:
        return "there is no answer."
    if not names_file(path):
        return "not a file."
    if row.get("abstained"):
        return "the model abstained."
    if not row["predictions"] or row["predictions"][0]["probability"] < least:
        return "not probable enough."
    return ""


def _add(path: str, keyword: str, *, apply: bool) -> bool:
    """Add a keyword to the sidecar of an image; return whether it is new.

    Raises:
        OSError, ValueError: the image is gone, or its sidecar cannot be read, or written, or is odd.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - as typed
        raise xmp.OddSidecar("not a regular file.")
    place = sidecar(Path(path))
    old = _read(place)
    new = xmp.with_keyword(old, keyword)
    if apply and new != old:
        atomic.write(place, new)
    return new != old


def _read(place: Path) -> bytes:
    """Return the content of a sidecar, or an empty one.

    Raises:
        OSError, ValueError: it cannot be read, or is too large.
    """
    try:
        with files.open_own(place) as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return xmp.EMPTY
    if len(content) > MAX_BYTES:
        raise xmp.OddSidecar("its sidecar is too large.")
    return content


def outlook(found: Tagged) -> str:
    """Return what a run ends with."""
    count = sum(found.keywords.values())
    had = f"; {counted(found.had, 'image')} had theirs" if found.had else ""
    if found.applied:
        return f"{counted(count, 'keyword')} written{had}."
    return f"nothing was changed{had}. Add --apply to write {counted(count, 'keyword')}."
