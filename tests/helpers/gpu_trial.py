"""The check of a GPU on a CPU: the digits, a few images, and compiling that changes nothing.

As a program it runs the whole check in a process of its own, which may fork loaders and patch torch, and writes the
table to standard output: `python gpu_trial.py ROWS`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "gpu"))  # as where a script is run

import gpu_check
import gpu_report
import gpu_speed

ABOUT = {"device": "none"}


def check(rows: Path) -> gpu_report.Check:
    """Return what is asked for: everything, quickly."""
    return gpu_report.Check(
        gpu_report.Report(rows, ABOUT),
        device="cpu",
        models=("digits",),
        batches=(1, 2),
        rounds=2,
        seconds=0.01,
        candidates=("apart, graph", "graph"),
        files=4,
    )


def main() -> int:
    """Run the check."""
    torch.compile = lambda network, **_: network  # type: ignore[assignment] # it is called with a network only
    gpu_speed.COPY = 1 << 20
    asked = check(Path(sys.argv[1]))
    gpu_check.run(asked, gpu_check.SECTIONS, 600)
    sys.stdout.write(gpu_check.table(asked.report))
    return 0 if asked.report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
