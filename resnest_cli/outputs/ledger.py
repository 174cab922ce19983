"""Which state of an input's file has a row: its size and the time of its last change, or its content.

In: sources. Out: `.FILE.inputs.jsonl` beside a file of rows: a stamp per input, the last one counts. A stamp is written
after its row, so an input without one may have a row that is too old.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from resnest_cli.outputs import records
from resnest_cli.outputs.formats import Lines
from resnest_cli.outputs.journal import Journal
from resnest_cli.outputs.rows import to_json
from resnest_cli.system import atomic, digests, files
from resnest_cli.text.json_input import parse
from resnest_cli.types import STDIN, Failure, Source

MAX_BYTES = 1 << 63  # of a file that is hashed: any


@dataclass(frozen=True, slots=True)
class Stamp:
    """The state of a file: its bytes, the time of its last change in ns, and the SHA-256 of its content, or ""."""

    size: int
    mtime_ns: int
    sha256: str = ""

    @classmethod
    def of(cls, item: Source | Failure, *, by_hash: bool = False) -> Stamp | None:
        """Return the stamp of an input; None where it is no regular file that can be looked at."""
        if isinstance(item, Failure) or item.url or item.is_in_memory or item.path == STDIN:
            return None
        try:
            status = os.stat(item.path)  # noqa: PTH116 - as typed
            if not stat.S_ISREG(status.st_mode):
                return None
            digest = digests.sha256(Path(item.path), MAX_BYTES) if by_hash else ""
        except (OSError, ValueError):
            return None
        return cls(status.st_size, status.st_mtime_ns, digest)

    def is_as(self, other: Stamp) -> bool:
        """Return whether two stamps are of the same content, as far as they tell."""
        if self.sha256 and other.sha256:
            return self.sha256 == other.sha256
        return (self.size, self.mtime_ns) == (other.size, other.mtime_ns)


class Ledger:
    """The stamps of a file of rows; `close` it.

    Args:
        path: the file of rows.

    Attributes:
        stamps: of each input by its path.

    Raises:
        OSError: it cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.is_new = not records.ledger(path).exists()
        self._journal = Journal(records.ledger(path), _LINES)
        self.stamps: dict[str, Stamp] = {}
        size = 0
        for text, row in self._journal.scan():
            size += len(text)
            self.stamps[row["path"]] = Stamp(row["size"], row["mtime_ns"], row["sha256"])
        self._journal.cut(size)  # what is torn

    def add(self, path: str, stamp: Stamp) -> None:
        """Note the state of an input whose row is written.

        Raises:
            OSError: it cannot be written.
        """
        self._journal.append({"path": path} | asdict(stamp))
        self.stamps[path] = stamp

    def close(self) -> None:
        """Close the file."""
        self._journal.close()


def stamps(path: Path) -> dict[str, Stamp]:
    """Read the stamps of a file of rows by the path of the input, up to what is torn; {} where it has no ledger.

    Raises:
        OSError: it cannot be read.
    """
    found: dict[str, Stamp] = {}
    with contextlib.suppress(FileNotFoundError, ValueError), files.open_own(records.ledger(path)) as file:
        for line in file:
            row = _decode(line)
            found[row["path"]] = Stamp(row["size"], row["mtime_ns"], row["sha256"])
    return found


def copy(path: Path, to: Path) -> None:
    """Copy the ledger of a file of rows, if it has one, for another file of the same rows.

    Raises:
        OSError: it cannot be read or written.
    """
    with (
        contextlib.suppress(FileNotFoundError),
        files.open_own(records.ledger(path)) as ledger,
        atomic.writer(records.ledger(to)) as out,
    ):
        shutil.copyfileobj(ledger, out)


def _decode(text: bytes) -> dict[str, Any]:
    row: dict[str, Any] = parse(text)
    match row:
        case {"path": str(), "size": int(), "mtime_ns": int(), "sha256": str()}:
            return row
    raise ValueError("not a stamp")


_LINES = Lines(
    header=lambda _: b"", encode=lambda row, _: to_json(row) + b"\n", decode=_decode, is_whole=lambda _: True
)
