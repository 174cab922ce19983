"""What a path names, without raising: a file, a folder, something else, nothing, or unknown.

In: a path as a user gave it. Out: a `Look`, with the reason in words where nothing can be seen. pathlib's `is_dir` and
`exists` raise for a name that is too long, a folder that may not be entered, a disk that fails: one such name among
thousands would end a job. Standard library only.
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
    "ESTALE": "the network drive lost the file (stale file handle): mount the drive again",
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
    UNKNOWN = auto()  # the system gave an error


@dataclass(frozen=True, slots=True)
class Look:
    """What is at a path, links followed; `why` is the system's error in words for `MISSING` and `UNKNOWN`."""

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
        """Whether it exists."""
        return self.kind in {Kind.FILE, Kind.FOLDER, Kind.OTHER}


def working_folder() -> str:
    """Return the working folder, absolute; "" if it was removed."""
    try:
        return os.getcwd()  # noqa: PTH109 - as text
    except OSError:
        return ""


def look(path: str | os.PathLike[str]) -> Look:
    """Return what is at a path; never raises."""
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
    """Return whether a name is a plain file name, which leads to no other folder."""
    return name not in {"", ".", ".."} and not set(name) & set("/\\\0")


def is_empty(folder: str | os.PathLike[str]) -> bool:
    """Return whether it is a folder that can be listed and is empty."""
    try:
        return not os.listdir(folder)  # noqa: PTH208 - as typed
    except (OSError, ValueError):
        return False


def reason(error: OSError | ValueError) -> str:
    """Return the system's error as a sentence, without the path."""
    if isinstance(error, UnicodeError):
        return "no file of this system can have this name."
    if not isinstance(error, OSError):
        return "the name holds a NUL byte, which no file name can." if "null" in str(error) else f"{error}."
    words = _WORDS.get(errno.errorcode.get(error.errno or 0, ""))
    return f"{words or error.strerror or error}."
