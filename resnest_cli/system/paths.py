"""What a path names, found out without raising: a file, a folder, another thing, nothing, or what cannot be looked at.

In: a path as somebody gave it. Out: a `Look`, and in plain words why there is nothing to see. pathlib's own questions
(`is_dir`, `exists`) raise for a name that is too long, a folder that may not be entered, a disk that fails: one such
name among thousands would end a job. Standard library only.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from enum import Enum, auto

_WORDS = {
    "ENOENT": "no such file",
    "ENXIO": "not a regular file: a socket cannot be read as an image",
    "ENAMETOOLONG": "the name is too long for a file",
    "ELOOP": "a link that leads back to itself",
    "EIO": "the disk or the network drive fails (input/output error)",
    "ESTALE": "the network drive has lost it (stale file handle): mount the drive again",
    "ENOTCONN": "its drive is not connected (a mount whose program has ended): mount it again",
    "EHOSTDOWN": "its network drive does not answer (host is down)",
    "ETIMEDOUT": "its network drive does not answer (timed out)",
}


class Kind(Enum):
    """What a path can be."""

    FILE = auto()
    FOLDER = auto()
    OTHER = auto()  # a device, a pipe, a socket
    MISSING = auto()
    UNKNOWN = auto()  # the system refuses to tell


@dataclass(frozen=True, slots=True)
class Look:
    """What is at a path, links followed; `why` says for `MISSING` and `UNKNOWN` what the system said."""

    kind: Kind
    why: str = ""

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.kind is Kind.FILE

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.kind is Kind.FOLDER

    @property
    def is_there(self) -> bool:
        """Whether anything is there."""
        return self.kind in {Kind.FILE, Kind.FOLDER, Kind.OTHER}


def look(path: str | os.PathLike[str]) -> Look:
    """Look at a path, whatever it is; never raise."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - as typed
    except (FileNotFoundError, NotADirectoryError) as error:
        return Look(Kind.MISSING, reason(error))
    except (OSError, ValueError) as error:
        return Look(Kind.UNKNOWN, reason(error))
    if stat.S_ISDIR(mode):
        return Look(Kind.FOLDER)
    return Look(Kind.FILE if stat.S_ISREG(mode) else Kind.OTHER)


def is_bare(name: str) -> bool:
    """Tell whether a name is that of a file in whatever folder it is looked for, and leads nowhere else."""
    return name not in {"", ".", ".."} and not set(name) & set("/\\\0")


def is_empty(folder: str | os.PathLike[str]) -> bool:
    """Tell whether it is a folder that can be listed, and holds nothing."""
    try:
        return not os.listdir(folder)  # noqa: PTH208 - as typed
    except (OSError, ValueError):
        return False


def reason(error: OSError | ValueError) -> str:
    """Say in words, and with a full stop, what the system said of a path; the path itself is left to the caller."""
    if isinstance(error, UnicodeError):
        return "the name cannot be that of a file on this system."
    if not isinstance(error, OSError):
        return "the name holds a NUL byte, as no file's does." if "null" in str(error) else f"{error}."
    words = _WORDS.get(errno.errorcode.get(error.errno or 0, ""))
    return f"{words or error.strerror or error}."
