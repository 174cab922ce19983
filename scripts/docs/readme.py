"""What cog calls to fill the README: the real output of a real command, in 80 columns, without a network.

In: a command line. Out: a fenced block on stdout. `make docs` writes the README anew, `make check` compares it.
"""

from __future__ import annotations

import os
import subprocess
import tempfile

HOME = tempfile.TemporaryDirectory()  # of all the commands, as of one user: a network is converted once
OK_OR_SOME_INPUTS_FAILED = {0, 3}


def show(command: str) -> None:
    """Run `command` in a shell at the top of the repository and print it with what it wrote to stdout.

    Raises:
        RuntimeError: the command did not work, so there is nothing to show.
    """
    world = {"COLUMNS": "80", "HF_HUB_OFFLINE": "1", "HF_HOME": HOME.name, "RESNEST_CACHE": HOME.name}
    world["TMPDIR"] = HOME.name  # for the files that a command writes
    ended = subprocess.run(  # noqa: S602 - the README's own commands, pipes and patterns included
        command, shell=True, capture_output=True, text=True, check=False, env=os.environ | world
    )
    if ended.returncode not in OK_OR_SOME_INPUTS_FAILED:
        message = f"{command}: {ended.stderr}"
        raise RuntimeError(message)
    lines = [f"$ {command}", *ended.stdout.splitlines()]
    print("```console", *(line.rstrip() for line in lines), "```", sep="\n")
