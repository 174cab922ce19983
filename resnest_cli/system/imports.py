"""Imports of modules that may be missing, take long, or must not be loaded.

In: names of modules. Does not know what the modules do.
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


TORCH = ("torch", "timm")  # what the extra "torch" brings
PIP_TORCH = "pip install 'resnest-cli[torch]'"

_log = logging.getLogger(__name__)


def has_torch() -> bool:
    """Return whether torch and timm are installed, without importing them."""
    return not _missing(TORCH)


def has(name: str) -> bool:
    """Return whether a module is installed, without importing it."""
    return not _missing([name])


def require_torch(what: str) -> None:
    """Check that torch and timm are installed, without importing them.

    Raises:
        UsageError: `what` needs them, and one is not installed; the message has the pip command.
    """
    require(what, "torch", *TORCH)


def require(what: str, extra: str, *names: str) -> None:
    """Check that the modules of an extra are installed, without importing them.

    Raises:
        UsageError: a module is not installed; the message has the pip command.
    """
    if missing := _missing(names):
        message = f"{what} needs {' and '.join(missing)}: pip install 'resnest-cli[{extra}]'"
        raise UsageError(message)


def _missing(names: Sequence[str]) -> list[str]:
    return [name for name in names if find_spec(name) is None]


def announce(name: str) -> None:
    """Log that a module which takes seconds is about to be imported, unless it is loaded already."""
    if name not in sys.modules:
        _log.info("loading %s, which takes seconds", name)


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Run a block in which these modules cannot be imported, as if not installed; loaded modules stay."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules |= dict.fromkeys(hidden)  # type: ignore[arg-type] # None: cannot be imported
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


@contextmanager
def standing_in(folder: str | Path) -> Iterator[None]:
    """Run a block with `folder` as the working folder of the whole process."""
    kept = os.getcwd()  # noqa: PTH109 - to go back there only
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(kept)


@contextmanager
def variable(name: str, value: str) -> Iterator[None]:
    """Run a block with this value of an environment variable."""
    kept = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if kept is not None:
            os.environ[name] = kept


class TorchAside:
    """Imports torch with torch's own folder as the working folder; `install` it in processes of ours.

    NVIDIA's libcusparseLt.so.0, which torch for CUDA loads, looks for libcuda.so.1 in the working folder before the
    folders of the system (RUNPATH "$ORIGIN:" in nvidia-cusparselt-cu13 0.8.1): a libcuda.so.1 beside the images ran.
    """

    @classmethod
    def install(cls) -> None:
        """Add this finder to the interpreter."""
        if cls not in sys.meta_path:
            sys.meta_path.insert(0, cls)

    @classmethod
    def find_spec(cls, name: str, path: Sequence[str] | None = None, _: ModuleType | None = None) -> ModuleSpec | None:
        """Return the spec of torch, to be executed in its folder; None for other modules."""
        spec = PathFinder.find_spec(name, path) if name == "torch" else None
        if spec and spec.loader and spec.submodule_search_locations:
            folder, run = spec.submodule_search_locations[0], spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                with standing_in(folder):
                    run(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign] # of this one
        return spec
