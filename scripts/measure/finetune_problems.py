"""Finetune twenty small problems, drawn at random, with the learning rate that `finetune` finds for each.

In: how many, and a seed. Out: a JSON line per problem, and which of them end below the better of the head alone and the
most frequent class. A problem has 2 to 8 classes of 4 to 40 images each, drawn patterns under noise, some of them
mislabeled; and a network of its own width, which starts from the digits model or from random weights.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from resnest_cli.models.catalog import DIGITS

EDGE = 32


class Problem(NamedTuple):
    """One problem; `channels` are those of a network with random weights, () stands for the digits model."""

    seed: int
    classes: int
    most: int
    noise: float
    mislabeled: float
    channels: tuple[int, ...]
    epochs: int


def drawn(seed: int) -> Problem:
    """Draw a problem."""
    rng = np.random.default_rng(seed)
    widths = ((), (), (8, 16, 32, 64), (24, 48, 96, 192), (4, 4, 8, 8))
    return Problem(
        seed,
        int(rng.integers(2, 9)),
        int(rng.integers(8, 41)),
        float(rng.uniform(10, 120)),
        float(rng.choice([0, 0, 0.1, 0.3])),
        widths[int(rng.integers(len(widths)))],
        int(rng.integers(3, 21)),
    )


def write(problem: Problem, folder: Path) -> None:
    """Write the images of a problem: a coarse pattern per class, shifted, under noise."""
    rng = np.random.default_rng((problem.seed, 1))
    patterns = rng.integers(0, 256, (problem.classes, 4, 4, 3)).astype(np.uint8)
    for label in range(problem.classes):
        (folder / str(label)).mkdir(parents=True)
    for label, pattern in enumerate(patterns):
        large: Any = np.asarray(Image.fromarray(pattern).resize((EDGE, EDGE), Image.Resampling.BICUBIC), np.float64)
        for i in range(int(rng.integers(4, problem.most + 1))):
            shifted = np.roll(large, rng.integers(-8, 9, 2), axis=(0, 1))
            pixels = np.clip(shifted + rng.normal(0, problem.noise, shifted.shape), 0, 255).astype(np.uint8)
            said = int(rng.integers(problem.classes)) if rng.random() < problem.mislabeled else label
            Image.fromarray(pixels).save(folder / str(said) / f"{label}-{i:02d}.png")


def widened(channels: tuple[int, ...], folder: Path) -> Path:
    """Write the config of the digits model with other channels; return its folder."""
    config = json.loads((DIGITS / "config.json").read_text())
    config["model_args"]["channels"] = channels
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def solve(problem: Problem) -> dict[str, Any]:
    """Finetune all layers on a problem; return its figures."""
    with tempfile.TemporaryDirectory() as scratch:
        data, out = Path(scratch, "data"), Path(scratch, "out")
        write(problem, data)
        words = ["-m", "digits"]
        if problem.channels:
            words = ["-m", str(widened(problem.channels, Path(scratch, "start"))), "--random-weights"]
        words += ["--full", "--epochs", str(problem.epochs), "--val", "0.4", "-q", "-o", str(out)]
        command = [sys.executable, "-m", "resnest_cli", "finetune", str(data), *words]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - our own command
        found = json.loads((out / "metrics.json").read_text())
        head = float(next(csv.DictReader((out / "history.csv").read_text().splitlines()))["val_top1"])
    figures = {name: found[name] for name in ("top1", "majority_top1", "val_images")}
    return {**problem._asdict(), "lr": found["recipe"]["lr"], "head_top1": head, **figures}


def main() -> None:
    """Solve the problems."""
    parser = argparse.ArgumentParser(description="Finetune small problems, drawn at random.")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    below = 0
    for seed in range(args.seed, args.seed + args.count):
        row = solve(drawn(seed))
        below += row["top1"] < max(row["head_top1"], row["majority_top1"])
        print(json.dumps(row), flush=True)
    print(f"{below} of {args.count} end below the better of the head alone and the most frequent class")


if __name__ == "__main__":
    main()
