"""A working folder that a stranger has filled: pictures, and a module of every name that could be imported."""

from __future__ import annotations

import shutil
import sys
from importlib.metadata import packages_distributions
from typing import TYPE_CHECKING

from conftest import SAMPLES

if TYPE_CHECKING:
    from pathlib import Path

STARTING = {"sitecustomize", "usercustomize"}  # which every interpreter imports
EVERY = STARTING | sys.stdlib_module_names | {name for name in packages_distributions() if name.isidentifier()}
# What Python itself imports for `-m`, before anything of ours, it may take from the working folder: not one of these.
USUAL = ("json", "logging", "platformdirs", "numpy", "torch", "PIL", "click", "sitecustomize", "usercustomize")
PROGRAM = "open({mark!r}, 'a').write(__name__ + '\\n')\n"  # without an import of its own


class Planted:
    """The folder, and which of its modules were run; they have these names, or every name there is."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder = folder / "photos"
        self._mark = folder / "imported.txt"
        for number, path in enumerate(sorted(SAMPLES.iterdir())):
            kind = self.folder / "ab"[number % 2]
            kind.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, kind)
        for name in names or EVERY:
            (self.folder / f"{name}.py").write_text(PROGRAM.format(mark=str(self._mark)))

    def imported(self) -> list[str]:
        """Name the modules of the folder that were run."""
        return self._mark.read_text().split() if self._mark.exists() else []
