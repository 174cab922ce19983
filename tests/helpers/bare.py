"""A pytest plugin: commands run where only the base is installed, without torch, timm and all extras.

`bare` runs a command in an environment of links: a venv with the packages that pyproject.toml names for the base, and
those that they need, as they are installed here. Nothing is downloaded. Processes that a command starts are in it too,
since its interpreter starts them. `--bare-python FILE` names the interpreter of a real installation instead.
"""

from __future__ import annotations

import os
import subprocess
import venv
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from packaging.requirements import Requirement

if TYPE_CHECKING:
    from collections.abc import Iterable

NAME = "resnest-cli"


class Bare(NamedTuple):
    """An environment: its interpreter, and a cache of its own, so that no graph in it was made elsewhere."""

    python: Path
    cache: Path

    def __call__(self, *words: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run `resnest` with these words."""
        return self.run("-m", "resnest_cli", *words, stdin=stdin)

    def run(self, *words: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run the interpreter with these words; it imports nothing from the working folder."""
        env = {**os.environ, "RESNEST_CACHE": str(self.cache)}
        command = [self.python, "-I", *words]
        return subprocess.run(command, input=stdin, capture_output=True, env=env, timeout=120, check=False)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bare-python", type=Path, metavar="FILE", help="the interpreter of an installation of the base")


@pytest.fixture(scope="session")
def bare(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bare:
    """Return an environment of the base."""
    given: Path | None = request.config.getoption("--bare-python")
    python = given.absolute() if given else make(tmp_path_factory.mktemp("bare"))
    return Bare(python, tmp_path_factory.mktemp("bare-cache"))


@pytest.fixture(scope="session")
def bare_int8(request: pytest.FixtureRequest, bare: Bare, tmp_path_factory: pytest.TempPathFactory) -> Bare:
    """Return an environment of the base and its extra int8."""
    if request.config.getoption("--bare-python"):
        pytest.skip("that installation has no extra")
    pytest.importorskip("nncf", reason="the extra `int8` is not installed: pip install 'resnest-cli[int8]'")
    return bare._replace(python=make(tmp_path_factory.mktemp("bare-int8"), "int8"))


def make(folder: Path, *extras: str) -> Path:
    """Make an environment of the base and these extras in a new folder; return its interpreter."""
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for name in needed(NAME, extras, set()):
        installed = distribution(name)
        for top in {file.parts[0] for file in installed.files or ()} - {"..", "__pycache__"}:
            (packages / top).symlink_to(Path(str(installed.locate_file(top))))
    return folder / "bin" / "python"


def needed(name: str, extras: Iterable[str], known: set[str]) -> set[str]:
    """Add to `known` a package with these extras and all that it needs, as far as installed; return `known`."""
    try:
        lines = distribution(name).requires or ()
    except PackageNotFoundError:
        return known
    known.add(name)
    for wanted in map(Requirement, lines):
        applies = wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in ("", *extras))
        if applies and wanted.name not in known:
            needed(wanted.name, wanted.extras, known)
    return known
