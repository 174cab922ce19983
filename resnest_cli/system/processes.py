"""Start interpreters: the only module of this package that does. Standard library only.

In: the module and the name of a function of this package. Out: a process that runs it, with the search path of this
process but without the working folder: a folder of images may hold a `json.py`. Does not know what runs there.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # as in `resnest_cli`: nothing here is imported that Python has not loaded by itself

if TYPE_CHECKING:
    import subprocess
    from typing import Any

# Keep Python (from 3.11 on) and Windows from looking into the working folder.
NOT_HERE = {"PYTHONSAFEPATH": "1", "NoDefaultCurrentDirectoryInExePath": "1"}
_PACKAGES = os.path.abspath(f"{__file__}/../../..")  # noqa: PTH100 - strings, as in sys.path


def search_path() -> list[str]:
    """Return the search path of modules, without the working folder, which Python puts first for `-m` and `-c`.

    Folders of PYTHONPATH stay, since the user named them, and so does the folder of this package.
    """
    found = []
    for number, entry in enumerate(sys.path):
        folder = entry or os.curdir
        is_relative = not os.path.isabs(entry) and os.path.isdir(folder)  # noqa: PTH112, PTH117 - as above
        if not is_relative and (number or not _is_here(folder)):
            found.append(entry)
        elif os.path.samefile(folder, _PACKAGES):  # noqa: PTH121 - as above
            found.append(_PACKAGES)
    return found


def _is_here(folder: str) -> bool:
    return os.path.isdir(folder) and os.path.samefile(folder, os.curdir)  # noqa: PTH112, PTH121 - as above


def command(module: str, function: str) -> list[str]:
    """Return the command that runs a function of a module; further arguments become its `sys.argv[1:]`.

    `-c` sets the search path before any module of ours is imported, unlike `-m`. From 3.13 on, Python itself imports
    modules for `-c`, and only `-P` keeps it from looking for them in the working folder.
    """
    ours = "from resnest_cli.system.imports import TorchAside; TorchAside.install()"
    program = f"import sys; sys.path[:] = {search_path()!a}; {ours}; from {module} import {function}; {function}()"
    return [sys.executable, *_flags(), "-c", program]


def _flags() -> list[str]:
    """Return the flags that keep the working folder, and whatever this interpreter ignores, out of the search path."""
    known = {"ignore_environment": "-E", "no_user_site": "-s"}
    safe_path = ["-P"] if sys.version_info >= (3, 11) else []
    return [*safe_path, *(flag for name, flag in known.items() if getattr(sys.flags, name))]


def start(module: str, function: str, env: dict[str, str] | None = None, **how: Any) -> subprocess.Popen[Any]:  # noqa: ANN401 - arguments of Popen
    """Start a process that runs a function of a module; `env` is added to this process's environment.

    Raises:
        OSError: the process cannot be started.
    """
    import subprocess  # noqa: PLC0415 - not for commands that start none

    environment = os.environ | NOT_HERE | (env or {})
    return subprocess.Popen(command(module, function), env=environment, **how)  # noqa: S603 - this interpreter and package
