"""Measure the cost of Ray: the rate of `resnest predict` with and without --ray, on the same cores.

    python scripts/measure/ray_overhead.py FOLDER [MODEL] [IMAGES] [ROUNDS]

FOLDER holds photographs; they are repeated up to IMAGES (1000). A first run on one image fills the graph cache. Both
ways then run in turns. The rates are those that the command prints at its end, from the first image requested to the
last row written: they include the start of workers and actors, but not the start of Ray. The seconds of the whole
command, which include the start of Ray, are printed too.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

from resnest_cli.inputs.decode.images import SUFFIXES


def measure(listed: Path, model: str, *how: str) -> tuple[float, float]:
    """Run the command once; return its rate (images per second) and the seconds of the whole process."""
    command = [sys.executable, "-m", "resnest_cli", "predict", "--files-from", str(listed), "-m", model]
    begun = time.perf_counter()
    ended = subprocess.run(  # noqa: S603 - the program under test
        [*command, "--random-weights", "-f", "jsonl", "-o", os.devnull, *how],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds = time.perf_counter() - begun
    found = re.search(r"([\d.]+)/s", ended.stderr)
    return float(found[1]) if found else 0.0, seconds


def main(folder: str, model: str = "resnest14d", images: str = "1000", rounds: str = "3") -> None:
    """Measure in turns; print the medians and their ratio."""
    photographs = sorted(str(path) for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES)
    rates: dict[str, list[tuple[float, float]]] = {"without": [], "--ray": []}
    with tempfile.TemporaryDirectory() as scratch:
        one, listed = Path(scratch) / "one", Path(scratch) / "list"
        one.write_text(photographs[0])
        listed.write_text("\n".join(islice(cycle(photographs), int(images))))
        measure(one, model)
        for turn in range(1, int(rounds) + 1):
            for name, how in (("without", ()), ("--ray", ("--ray",))):
                rates[name].append(measure(listed, model, *how))
                print(f"round {turn}: {name:8} {rates[name][-1][0]:6.2f}/s, {rates[name][-1][1]:6.1f} s", flush=True)
    for what, column in (("rate", 0), ("whole command", 1)):
        here, there = (statistics.median(row[column] for row in rates[name]) for name in ("without", "--ray"))
        print(f"{what}: median {here:.2f} without, {there:.2f} with --ray, ratio {there / here:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
