"""Imports of what may be missing, takes long, or brings company that reports home.

In: names of modules. Knows nothing of what they do.
"""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from resnest_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator


_log = logging.getLogger(__name__)


def require(what: str, extra: str, *names: str) -> None:
    """Refuse to begin without the modules of an extra; nothing is imported.

    Raises:
        UsageError: one is not installed; the message names the pip line.
    """
    if missing := [name for name in names if find_spec(name) is None]:
        message = f"{what} needs {' and '.join(missing)}: pip install 'resnest-cli[{extra}]'"
        raise UsageError(message)


def announce(name: str) -> None:
    """Say that a module which takes seconds is about to be imported, unless it is here already."""
    if name not in sys.modules:
        _log.info("loading %s, which takes seconds", name)


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Let nothing import these modules meanwhile, as if they were not installed; those that are loaded stay."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules |= dict.fromkeys(hidden)  # type: ignore[arg-type] # None: "not to be imported"
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
