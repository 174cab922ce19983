"""Text in matplotlib's pictures: class names such as `big $%_s$`, or names in Chinese, are drawn as they are.

In: the texts of a picture. Out: a context to draw it in, where text is not parsed as a formula, and where letters that
the default font lacks come from another installed font. Does not know what is drawn.
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

# No formulas, neither in our texts nor in matplotlib's numbers.
_STYLE: dict[Any, Any] = {"text.parse_math": False, "text.usetex": False, "axes.formatter.use_mathtext": False}
_SIZE, _DPI = 10, 72  # any, to try a font with
LONGEST = 60  # characters of a name: matplotlib takes a minute and up to 1.6 GB to lay out 100,000

_log = logging.getLogger(__name__)


@contextmanager
def drawing(words: Iterable[str]) -> Iterator[None]:
    """Set matplotlib up to make, draw and save figures with these texts, without warnings of its own.

    Letters that no installed font has are drawn as boxes, and logged once.

    Raises:
        UsageError: matplotlib is not installed.
        OutputError: the picture cannot be drawn.
    """
    theirs = logging.getLogger("matplotlib")
    level = theirs.level
    theirs.setLevel(logging.ERROR)  # it logs its font cache
    try:
        mpl = load()
        with mpl.rc_context(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # for missing letters
            mpl.rcdefaults()  # other code may have changed the settings
            mpl.rcParams.update({**_STYLE, "font.family": _families(frozenset("".join(words)))})
            yield
    except ImportError as error:
        message = "pictures need matplotlib, which is not installed: pip install 'resnest-cli[plot]'"
        raise UsageError(message) from error
    except ResnestError:
        raise
    except Exception as error:  # matplotlib's parts raise errors of any kind
        message = f"the picture cannot be drawn: {type(error).__name__}: {error}."
        raise OutputError(message) from error
    finally:
        theirs.setLevel(level)


def load() -> ModuleType:
    """Import matplotlib without the settings of the user or of the working folder, where it looks first.

    A `matplotlibrc` can make it start LaTeX, and may be a pipe or binary. For the first import in this process, the
    working folder is that of matplotlib's own data, whose `matplotlibrc` has the defaults.

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


def drawable(name: str) -> str:
    """Return a name as one line that can be drawn: unprintable characters are escaped, and a long name is cut."""
    head = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in head)


@functools.cache
def _families(letters: frozenset[str]) -> list[str]:
    """Return the font families to draw with: the default ones, then fonts with the letters that these lack."""
    import matplotlib as mpl  # noqa: PLC0415 - as above
    from matplotlib import font_manager  # noqa: PLC0415

    families = [*mpl.rcParams["font.family"]]
    usual = font_manager.findfont(font_manager.FontProperties(family=families))
    missing = _lacking(usual, {letter for letter in letters if letter.isprintable()})
    for entry in font_manager.fontManager.ttflist:
        if not missing:
            break
        # Matplotlib's own fonts are for formulas, and one has a box for every letter.
        if not entry.fname.startswith(mpl.get_data_path()) and (lacking := _lacking(entry.fname, missing)) != missing:
            families.append(entry.name)
            missing = lacking
    if missing:
        what = "".join(sorted(missing)[:20])
        _log.warning("no font of this machine has %s, so pictures show boxes; one such as Noto has them", what)
    return families


def _lacking(font: str, letters: set[str]) -> set[str]:
    """Return the letters that a font lacks: all, if matplotlib cannot open the font."""
    from matplotlib.ft2font import FT2Font  # noqa: PLC0415 - as above

    try:
        face = FT2Font(font)
        face.set_size(_SIZE, _DPI)  # fails for fonts of color bitmaps
        return {letter for letter in letters if not face.get_char_index(ord(letter))}
    except (OSError, RuntimeError):
        return letters
