"""Measure the start of commands that run no network, against importing click and rich.

In: nothing. Out: a table of medians in seconds, with ratios to `python -c "import click, rich.table"`. The commands run
in turns, so a busy machine slows all of them alike.
"""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

from rich import print as show
from rich.table import Table

ROUNDS = 15
BASELINE = "python -c 'import click, rich.table'"
COMMANDS = {
    BASELINE: ["-c", "import click, rich.table"],
    "resnest --help": ["-m", "resnest_cli", "--help"],
    "resnest list-models": ["-m", "resnest_cli", "list-models"],
    "resnest show resnest50d": ["-m", "resnest_cli", "show", "resnest50d"],
}


def seconds(arguments: list[str]) -> float:
    """Run Python once; return its wall time in seconds."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)  # noqa: S603 - our own commands
    return time.perf_counter() - begin


def main() -> None:
    """Measure, and print the table."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, arguments in COMMANDS.items():
            times[name].append(seconds(arguments))
    table = Table("command", "median s", "ratio", box=None)
    for name, values in times.items():
        table.add_row(name, f"{median(values):.3f}", f"{median(values) / median(times[BASELINE]):.2f}")
    show(table)


if __name__ == "__main__":
    main()
