"""Words in pictures that matplotlib draws: a class called `big $%_s$`, or so in Chinese, stands there as it is called.

In: the words that a picture will show. Out: a context to draw it in, where text is no formula, and where letters that
the usual font lacks come from another one of this machine. Knows nothing of what is drawn.
"""

from __future__ import annotations

import functools
import logging
import sys
import warnings
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnest_cli.errors import OutputError, ResnestError, UsageError
from resnest_cli.system.imports import standing_in, variable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import ModuleType

# Without formulas: neither in our words nor where matplotlib writes a number.
_STYLE: dict[Any, Any] = {"text.parse_math": False, "text.usetex": False, "axes.formatter.use_mathtext": False}
_SIZE, _DPI = 10, 72  # any that a font can be tried with
LONGEST = 60  # characters of a name: of 100,000, matplotlib lays one name out for a minute, in up to 1.6 GB

_log = logging.getLogger(__name__)


@contextmanager
def lettered(words: Iterable[str]) -> Iterator[None]:
    """Make figures, write on them and save them in this context; it lets matplotlib warn of nothing.

    Letters that no font of this machine has become boxes, which is logged once.

    Raises:
        UsageError: matplotlib is not installed.
        OutputError: the picture cannot be drawn.
    """
    theirs = logging.getLogger("matplotlib")
    level = theirs.level
    theirs.setLevel(logging.ERROR)  # it tells of its font cache
    try:
        mpl = load()
        with mpl.rc_context(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of boxes
            mpl.rcdefaults()  # whoever has imported it before us
            mpl.rcParams.update({**_STYLE, "font.family": _families(frozenset("".join(words)))})
            yield
    except ImportError as error:
        message = "pictures need matplotlib, which is not installed: pip install 'resnest-cli[plot]'"
        raise UsageError(message) from error
    except ResnestError:
        raise
    except Exception as error:  # matplotlib raises whatever a part of it does
        message = f"the picture cannot be drawn: {type(error).__name__}: {error}."
        raise OutputError(message) from error
    finally:
        theirs.setLevel(level)


def load() -> ModuleType:
    """Import matplotlib without anybody's settings: those of the working folder, where it looks first, or others.

    A `matplotlibrc` may have it start LaTeX, and may be a pipe or no text. If this is the first import in this process,
    its working folder is for that moment the one of matplotlib's own data, where the defaults have that name.

    Raises:
        ImportError: it is not installed.
    """
    spec = find_spec("matplotlib")
    if spec and spec.submodule_search_locations and "matplotlib" not in sys.modules:
        package = Path(spec.submodule_search_locations[0])
        data = package / "mpl-data"
        with standing_in(data if data.is_dir() else package), variable("MPLBACKEND", "agg"):
            return import_module("matplotlib")
    return import_module("matplotlib")


def plain(name: str) -> str:
    """Write a name in one line that can be drawn: what cannot be printed becomes an escape, and a long one is cut."""
    head = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in head)


@functools.cache
def _families(letters: frozenset[str]) -> list[str]:
    """Return the font families to draw with: the usual ones, then any that have the letters these lack."""
    import matplotlib as mpl  # noqa: PLC0415 - as above
    from matplotlib import font_manager  # noqa: PLC0415

    families = [*mpl.rcParams["font.family"]]
    usual = font_manager.findfont(font_manager.FontProperties(family=families))
    missing = _lacking(usual, {letter for letter in letters if letter.isprintable()})
    for entry in font_manager.fontManager.ttflist:
        if not missing:
            break
        # Its own fonts are for formulas, and one has a box for every letter.
        if not entry.fname.startswith(mpl.get_data_path()) and (lacking := _lacking(entry.fname, missing)) != missing:
            families.append(entry.name)
            missing = lacking
    if missing:
        what = "".join(sorted(missing)[:20])
        _log.warning("no font of this machine has %s, so pictures show boxes; one such as Noto has them", what)
    return families


def _lacking(font: str, letters: set[str]) -> set[str]:
    """Return those of the letters that a font cannot draw: all of them, if matplotlib does not take the font."""
    from matplotlib.ft2font import FT2Font  # noqa: PLC0415 - as above

    try:
        face = FT2Font(font)
        face.set_size(_SIZE, _DPI)  # fonts of coloured pictures have no sizes
        return {letter for letter in letters if not face.get_char_index(ord(letter))}
    except (OSError, RuntimeError):
        return letters
