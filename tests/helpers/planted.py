"""A hostile working folder: pictures, and modules and libraries that Python could load by mistake."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from importlib.metadata import packages_distributions
from typing import TYPE_CHECKING

from conftest import SAMPLES

if TYPE_CHECKING:
    from pathlib import Path

STARTING = {"sitecustomize", "usercustomize"}  # every interpreter imports these
# What Python itself imports for `-m`, before anything of ours, it may take from the working folder: not one of these.
USUAL = ("typing", "json", "logging", "platformdirs", "numpy", "torch", "PIL", "click", *sorted(STARTING))
PROGRAM = "open({mark!r}, 'a').write(__name__ + '\\n')\n"  # without an import of its own
LIBRARY = """
#include <stdio.h>
__attribute__((constructor)) static void loaded(void) { FILE *f = fopen("%s", "a"); fputs("%s\\n", f); fclose(f); }
"""


@cache
def every() -> set[str]:
    """Return the name of every module of Python and of the installed packages; the search takes half a second."""
    return STARTING | sys.stdlib_module_names | {name for name in packages_distributions() if name.isidentifier()}


class Planted:
    """The folder, and which of its files ran; its modules have `names`, by default every known name."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder = folder / "photos"
        self._mark = folder / "imported.txt"
        for number, path in enumerate(sorted(SAMPLES.iterdir())):
            kind = self.folder / "ab"[number % 2]
            kind.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, kind)
        self._add_library("libcuda.so.1")
        for name in names or every():
            (self.folder / f"{name}.py").write_text(PROGRAM.format(mark=str(self._mark)))

    def _add_library(self, name: str) -> None:
        """Build a library that records its loading, if there is a compiler."""
        if compiler := shutil.which("cc"):
            code = LIBRARY % (str(self._mark), name)
            command = [compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", str(self.folder / name)]
            subprocess.run(command, input=code.encode(), check=True)

    def imported(self) -> list[str]:
        """Return the names of the modules and libraries of the folder that ran."""
        return self._mark.read_text().split() if self._mark.exists() else []
