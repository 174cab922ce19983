"""Where our cache lies: converted graphs, int8 models and class names.

In: the environment (`RESNEST_CACHE`; default: the platform's user cache folder). Out: a folder, a temporary one where
the cache cannot be written or trusted. Weights are not here: they stay in the Hugging Face cache (`hub_cache`).
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
INT8 = "int8"  # the folder of int8 models that `--calibrate` made


_log = logging.getLogger(__name__)


def folder() -> Path:
    """Return the cache folder, which need not exist yet; a temporary folder where there is no home folder.

    Raises:
        OSError: the temporary folder cannot be made.
    """
    if override := os.environ.get(VARIABLE):
        return expand(override, VARIABLE)
    try:
        return platformdirs.user_cache_path("resnest", appauthor=False).expanduser()
    except RuntimeError:  # by platformdirs or, where it is older, by us
        return _temporary("this user has no home folder")


def expand(path: str, variable: str) -> Path:
    """Return a path with ~ and $NAMES replaced; `variable` is the environment variable that the path comes from.

    Raises:
        UsageError: the path is in the home folder, and the user has none (as in containers without HOME).
    """
    try:
        return Path(os.path.expandvars(path)).expanduser()
    except RuntimeError as error:
        message = f"this user has no home folder for {path}: set {variable} to a folder to write in."
        raise UsageError(message) from error


def trusted() -> Path:
    """Return the cache folder, links followed, whose content can be trusted; it need not exist yet.

    Where another user may have written in the cache (see `trust`), this is a temporary folder, and a warning says so.

    Raises:
        OSError: the temporary folder cannot be made.
    """
    place = Path(os.path.realpath(folder()))
    for shelf in (place, *(Path(os.path.realpath(place / name)) for name in (GRAPHS, INT8))):
        if look(shelf).is_folder and (why := trust.distrust(shelf)):
            return _temporary(f"{why}, so its content is not trusted")
    return place


def writable() -> Path:
    """Return the cache folder, made if need be; a temporary folder where it cannot be written or trusted.

    Raises:
        OSError: the temporary folder cannot be made.
    """
    place = folder()
    try:
        trust.make_private(place)
        with tempfile.TemporaryFile(dir=place):
            return trusted()
    except OSError as error:
        return _temporary(f"{place}: {error.strerror}")


def _temporary(why: str) -> Path:
    """Make a folder that is removed when this process ends, and warn; processes started from here share it."""
    place = Path(tempfile.mkdtemp(prefix="resnest-"))  # for its owner only
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    os.environ[VARIABLE] = str(place)
    _log.warning("%s: converted models are kept for this run only. Set %s to a folder to write in", why, VARIABLE)
    return place


def items() -> list[Path]:
    """List the content of the cache, each graph and model by itself, in the order of names, without lock files.

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
    """Return the bytes of a file, or of all files in a folder."""
    inside = item.rglob("*") if item.is_dir() else [item]
    return sum(file.stat().st_size for file in inside if file.is_file())


def remove(item: Path) -> None:
    """Remove a file, or a folder with all its content.

    Raises:
        OutputError: it cannot be removed.
    """
    try:
        shutil.rmtree(item) if item.is_dir() and not item.is_symlink() else item.unlink()
    except FileNotFoundError:  # another process did
        return
    except OSError as error:
        message = f"{item} cannot be removed: {reason(error)}"
        raise OutputError(message) from error


def clear() -> tuple[int, int]:
    """Remove every item; return how many there were, and their bytes."""
    every = items()
    freed = sum(map(size, every))
    for item in every:
        remove(item)
    return len(every), freed
