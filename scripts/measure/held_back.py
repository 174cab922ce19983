"""Measure on digits how much finetuning transfers, for the table of `docs/training.md`.

In: nothing. `resnest train` trains a network on the digits 0 to 4. `resnest finetune` adapts it to the unseen digits 5
to 9: the head alone, and all layers. The baseline is a head on the features of the untrained network. Out: the table of
the page, between its two marks.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "training.md"
MARKS = ("<!-- held back: scripts/measure/held_back.py writes this -->", "<!-- end of held back -->")
NETWORK = "-m resnest14d --arch channels=16,32,64,128 --arch stem_width=8 --arch base_width=32 --img-size 32"
DATA = "--interpolation bilinear --crop-pct 1 --mean .5 .5 .5 --std .5 .5 .5"
RECIPE = "--batch 64 --lr 4e-3 --augment rand-m9-n2 --hflip 0 --crop-scale 0.5"
SCHEDULE = "--optimizer adamw --epochs 30 --warmup-epochs 1 --mixup 0 --drop-block 0"
TRAIN = f"train first {NETWORK} {DATA} {RECIPE} {SCHEDULE}"
ROWS = {
    "head alone, features of an untrained network": "finetune then -m trained --random-weights --head-only",
    "head alone, features of the network of 0 to 4": "finetune then -m trained --head-only",
    "all layers, from the network of 0 to 4": "finetune then -m trained --full",
}


def resnest(words: str, out: Path) -> dict[str, float]:
    """Run a command in the folder of `out`; return its metrics."""
    command = [sys.executable, "-m", "resnest_cli", *words.split(), "-o", out.name, "-q"]
    subprocess.run(command, cwd=out.parent, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own command
    metrics: dict[str, float] = json.loads((out / "metrics.json").read_text())
    return metrics


def measure(folder: Path) -> str:
    """Train and finetune; return the results as a Markdown table."""
    for name, classes in (("first", "01234"), ("then", "56789")):
        script = Path(__file__).parents[1] / "data" / "digits_folders.py"
        subprocess.run([sys.executable, script, folder / name, "--classes", *classes], check=True)  # noqa: S603
    trained = resnest(TRAIN, folder / "trained")
    found = {name: resnest(words, folder / f"run{number}") for number, (name, words) in enumerate(ROWS.items())}
    last = next(reversed(found.values()))
    lines = [f"| always {last['majority_class']}, the most frequent | {last['majority_top1']:.2%} |"]
    lines += [f"| {name} | {metrics['top1']:.2%} |" for name, metrics in found.items()]
    return (
        f"| 5 to 9, by a network trained on 0 to 4 ({trained['top1']:.2%} right) | top-1 of {last['val_images']} |\n"
        "| --- | ---: |\n" + "\n".join(lines)
    )


def main() -> None:
    """Measure, and write the table between the marks."""
    with tempfile.TemporaryDirectory() as scratch:
        written = measure(Path(scratch))
    pattern = f"({re.escape(MARKS[0])}\n).*?({re.escape(MARKS[1])})"
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(re.sub(pattern, lambda m: f"{m[1]}{written}\n{m[2]}", text, flags=re.DOTALL), encoding="utf-8")
    print(written)


if __name__ == "__main__":
    main()
