"""Where artefacts of our own live, and how a file gets there whole or not at all.

In: bytes and a path. Out: files under `RESNEST_CACHE` (default: the platform's user cache folder), or where that cannot
be written, in a folder of this run. Weights are not here; they stay in the Hugging Face cache (`hub`).
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
from pathlib import Path

import platformdirs

from resnest_cli.errors import OutputError, UsageError
from resnest_cli.system import trust
from resnest_cli.system.paths import look, reason

VARIABLE = "RESNEST_CACHE"
GRAPHS = "graphs"  # the folder of converted networks
INT8 = "int8"  # ... and of int8 models that no folder was named for


_log = logging.getLogger(__name__)


def folder() -> Path:
    """Return the cache folder, which need not exist yet; one for this run where there is no home folder to have it in.

    Raises:
        OSError: not even that can be made.
    """
    if override := os.environ.get(VARIABLE):
        return expand(override, VARIABLE)
    try:
        return platformdirs.user_cache_path("resnest", appauthor=False).expanduser()
    except RuntimeError:  # by platformdirs or, where it is older, by us
        return _of_this_run("this user has no home folder")


def expand(path: str, variable: str) -> Path:
    """Return a path with ~ and $NAMES replaced.

    Raises:
        UsageError: it is in the home folder, and none is known: a user without a name, as containers have, and no HOME.
    """
    try:
        return Path(os.path.expandvars(path)).expanduser()
    except RuntimeError as error:
        message = f"this user has no home folder for {path}: set {variable} to a folder to write in."
        raise UsageError(message) from error


def trusted() -> Path:
    """Return the cache folder, links followed, to read what it holds as our own; it need not exist yet.

    It is one for this run where somebody else may have put something into it (see `trust`), which is said.

    Raises:
        OSError: not even that can be made.
    """
    place = Path(os.path.realpath(folder()))
    for shelf in (place, *(Path(os.path.realpath(place / name)) for name in (GRAPHS, INT8))):
        if look(shelf).is_folder and (why := trust.distrust(shelf)):
            return _of_this_run(f"{why}, so that what is in it is not trusted")
    return place


def writable() -> Path:
    """Return the cache folder, made if need be; one for this run where it cannot be written, or is not trusted.

    Raises:
        OSError: not even that can be made.
    """
    place = folder()
    try:
        trust.make_private(place)
        with tempfile.TemporaryFile(dir=place):
            return trusted()
    except OSError as error:
        return _of_this_run(f"{place}: {error.strerror}")


def _of_this_run(why: str) -> Path:
    """Make a folder that ends with this process, and say so; the processes that it starts share it."""
    place = Path(tempfile.mkdtemp(prefix="resnest-"))  # for its owner only
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    os.environ[VARIABLE] = str(place)
    _log.warning("%s: what is converted is kept for this run only. Set %s to a folder to write in", why, VARIABLE)
    return place


def items() -> list[Path]:
    """List what is kept, each graph and model by itself, in the order of names; not the locks, which keep nothing.

    Raises:
        OutputError: the cache cannot be read.
    """
    try:
        os.scandir(folder()).close()
    except FileNotFoundError:
        return []
    except OSError as error:
        message = f"{folder()} cannot be read: {error.strerror}. Set {VARIABLE} to a folder that can."
        raise OutputError(message) from error
    shelves = {folder() / GRAPHS, folder() / INT8}
    found = [item for place in (folder(), *shelves) for item in place.glob("*")]
    return sorted(item for item in found if item not in shelves and item.suffix != ".lock")


def size(item: Path) -> int:
    """Count the bytes of a file, or of all files in a folder."""
    inside = item.rglob("*") if item.is_dir() else [item]
    return sum(file.stat().st_size for file in inside if file.is_file())


def remove(item: Path) -> None:
    """Remove a file, or a folder with all that is in it.

    Raises:
        OutputError: it stays.
    """
    try:
        shutil.rmtree(item) if item.is_dir() and not item.is_symlink() else item.unlink()
    except FileNotFoundError:  # another process did
        return
    except OSError as error:
        message = f"{item} cannot be removed: {reason(error)}"
        raise OutputError(message) from error
