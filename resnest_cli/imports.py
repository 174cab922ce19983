"""Imports without their company: what reports home, or takes long, when a library is imported for something else.

In: names of modules. Knows nothing of what they do.
"""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


_log = logging.getLogger(__name__)


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
