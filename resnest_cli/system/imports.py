"""Imports of what may be missing, takes long, or brings company that reports home.

In: names of modules. Knows nothing of what they do.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from typing import TYPE_CHECKING

from resnest_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import ModuleType


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


@contextmanager
def standing_in(folder: str | Path) -> Iterator[None]:
    """Let a folder be the working folder of this whole process meanwhile."""
    kept = os.getcwd()  # noqa: PTH109 - to go back there only
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(kept)


@contextmanager
def variable(name: str, value: str) -> Iterator[None]:
    """Let a variable of the environment have this value meanwhile."""
    kept = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if kept is not None:
            os.environ[name] = kept


class TorchAside:
    """Has torch imported in its own folder, whoever imports it; `install` it in a process that is ours.

    NVIDIA's libcusparseLt.so.0, which torch for CUDA loads, names the working folder among those to find libcuda.so.1
    in, before those of the system (RUNPATH "$ORIGIN:" in nvidia-cusparselt-cu13 0.8.1): one beside the pictures ran.
    """

    @classmethod
    def install(cls) -> None:
        """Begin."""
        if cls not in sys.meta_path:
            sys.meta_path.insert(0, cls)

    @classmethod
    def find_spec(cls, name: str, path: Sequence[str] | None = None, _: ModuleType | None = None) -> ModuleSpec | None:
        """Return what is found for torch, to be run there; nothing for other modules."""
        spec = PathFinder.find_spec(name, path) if name == "torch" else None
        if spec and spec.loader and spec.submodule_search_locations:
            folder, run = spec.submodule_search_locations[0], spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                with standing_in(folder):
                    run(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign] # of this one
        return spec
