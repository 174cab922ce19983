"""Functions that cog calls to fill README and docs: the output of a real command in 80 columns, without a network.

In: a command line. Out: a fenced block on stdout. `make docs` rewrites the outputs, `make check` compares them.
Commands run in a folder with the pictures of `playground` and share one home.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

import click
import cog
import playground

from resnest_cli import errors as all_errors
from resnest_cli.cli import cli

WORLD = tempfile.TemporaryDirectory()  # removed when cog ends
HOME, FOLDER = Path(WORLD.name, "home"), Path(WORLD.name, "work")
OK_OR_SOME_INPUTS_FAILED = {0, 3}
LONG_NUMBER = re.compile(r"\b\d\.\d{5,}")
SAME = 1e-6  # another CPU adds up in another order


def show(command: str) -> None:
    """Run `command` in a shell in the playground; print the command and its stdout.

    Raises:
        RuntimeError: the command failed.
    """
    if not FOLDER.exists():
        HOME.mkdir()
        FOLDER.mkdir()
        playground.lay_out(FOLDER)
    world = {"COLUMNS": "80", "HF_HUB_OFFLINE": "1", "HF_HOME": str(HOME), "RESNEST_CACHE": str(HOME)}
    ended = subprocess.run(  # noqa: S602 - the documentation's own commands, pipes and patterns included
        command, shell=True, capture_output=True, text=True, check=False, env=os.environ | world, cwd=FOLDER
    )
    if ended.returncode not in OK_OR_SOME_INPUTS_FAILED:
        message = f"{command}: {ended.stderr}"
        raise RuntimeError(message)
    lines = [f"$ {command}", *ended.stdout.splitlines()]
    print("```console", *(_as_before(line.rstrip()) for line in lines), "```", sep="\n")


def _as_before(line: str) -> str:
    """Return a line with the numbers that stood in the page before, where they differ by rounding only."""
    before = LONG_NUMBER.findall(cog.previous)

    def settle(number: re.Match[str]) -> str:
        near = [known for known in before if abs(float(known) - float(number[0])) < SAME]
        return near[0] if near else number[0]

    return LONG_NUMBER.sub(settle, line)


def helps() -> None:
    """Print the help of every command, each below its own heading."""
    for command in ("resnest", *(f"resnest {name}" for name in cli.list_commands(click.Context(cli)))):
        print(f"\n## {command}\n")
        show(f"{command} --help")


def errors() -> None:
    """Print the table of error types of an input."""
    print("| `error.type` | when |\n| --- | --- |")
    for name in dir(all_errors):
        kind = getattr(all_errors, name)
        if isinstance(kind, type) and issubclass(kind, all_errors.ImageError) and kind is not all_errors.ImageError:
            print(f"| `{name}` | {kind.__doc__} |")
