"""The files that rows are of: there and unchanged, changed, or gone.

In: a file of rows. Out: the state of each row's file, by its stamp in the ledger, or else by the time of the record.
Reads no image.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from resnest_cli.errors import NoImages, UnreadableInput
from resnest_cli.outputs import ledger, records
from resnest_cli.outputs.ledger import Stamp
from resnest_cli.types import Source, names_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from resnest_cli.outputs.reading import Results
    from resnest_cli.outputs.rows import Row

CHANGED = "changed since its row: predict it again, with --append-new."
NOT_THERE = {NoImages.__name__, UnreadableInput.__name__}


class State(Enum):
    """What became of the file of a row."""

    SAME = "same"
    CHANGED = "changed"
    GONE = "gone"
    UNSEEN = "unseen"  # not a file: a URL, an object in a store, a member of an archive, standard input, memory


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that a command leaves as it is, by the path of its row, and why; `is_failure` if the user would mind."""

    path: str
    why: str
    is_failure: bool = True


def by_reason(skipped: Iterable[Skipped]) -> Iterator[tuple[str, str, str]]:
    """Yield a row of a table per reason: the reason, how many files, and the first."""
    grouped: dict[str, list[str]] = {}
    for each in skipped:
        grouped.setdefault(each.why, []).append(each.path)
    return ((why, f"{len(paths):,}", paths[0]) for why, paths in grouped.items())


class Files:
    """Says what became of the files of rows.

    Args:
        found: the rows.
    """

    def __init__(self, found: Results) -> None:
        self._stamps = ledger.stamps(found.path)
        self._since = records.place(found.path).stat().st_mtime_ns if found.finished else math.inf

    def state(self, row: Row) -> State:
        """Return the state of a row's file; one that was not there then, and is not now, is the same."""
        path: str = row["path"]
        if not names_file(path) or _is_in_archive(path):
            return State.UNSEEN
        now = Stamp.of(Source(path))
        was_there = row.get("error", {}).get("type") not in NOT_THERE
        if now is None:
            return State.GONE if was_there else State.SAME
        then = self._stamps.get(path)
        is_same = then.is_as(now) if then else now.mtime_ns <= self._since
        return State.SAME if is_same else State.CHANGED


def _is_in_archive(path: str) -> bool:
    """Return whether a file stands where a folder of the path would."""
    try:
        os.stat(path)  # noqa: PTH116 - as typed
    except NotADirectoryError:
        return True
    except (OSError, ValueError):
        return False
    return False
