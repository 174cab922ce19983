"""Compare `resnest finetune`, as it is by default, with what practitioners write: the same images, starts and epochs.

In: a folder that scripts/data/recipe_sets.py made. Out: a JSON line per run, appended to a file, and their table,
between the marks of docs/training.md. Runs that the file holds are not done again, so the script can be stopped. All
runs take hours on one core; with OMP_NUM_THREADS=1 two scripts can share the sets.

Starts: "near" is a network trained on other classes of the same kind, "far" the embedded digits model (for letters,
textures and clothes), "random" new weights.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any, NamedTuple

from resnest_cli.models.catalog import DIGITS
from resnest_cli.tasks.validate.metrics import wilson

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[2] / "docs" / "training.md"
MARKS = ("<!-- recipe: scripts/measure/finetune_recipe.py writes this -->", "<!-- end of recipe -->")
NETWORK = "-m resnest14d --arch channels=16,32,64,128 --arch stem_width=8 --arch base_width=32"
PIXELS = "--interpolation bilinear --crop-pct 1 --mean .5 .5 .5 --std .5 .5 .5"
RECIPE = "--optimizer adamw --lr 4e-3 --epochs 20 --warmup-epochs 2 --batch 64 --mixup 0 --drop-block 0 --augment none"
OTHER_CLASSES = {"digits-5-9": "digits-0-4", "clothing-b": "clothing-a"}
OURS, HEAD = "finetune", "finetune, head only"
PROGRAMS = (OURS, "plain loop", "timm's settings", HEAD, "logistic regression")
SETS = ("letters", "textures", "digits-5-9", "clothing-b")


class Case(NamedTuple):
    """One run: a set, a start ("near", "far", "random"), a program and a seed."""

    data: str
    start: str
    program: str
    seed: int


def cases(folder: Path, sets: list[str], seeds: int) -> Iterator[Case]:
    """Yield the runs for the sets in a folder, seed by seed."""
    for seed, data in itertools.product(range(seeds), sets):
        if not (folder / data).is_dir():
            continue
        starts = ("near", "random") if data == "digits-5-9" else ("near", "far", "random")
        for start, program in itertools.product(starts, PROGRAMS):
            if start != "near" or data in OTHER_CLASSES:
                yield Case(data, start, program, seed)


def run(words: list[str]) -> str:
    """Run a process; return what it printed."""
    ended = subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True)  # noqa: S603 - ours
    return ended.stdout


def start_of(case: Case, folder: Path, edge: int) -> str:
    """Return the model folder of a start; a near one is trained if it is not there."""
    if case.start != "near":
        return str(DIGITS)
    out = folder / f"near-{case.data}"
    if not (out / "metrics.json").is_file():
        words = ["-m", "resnest_cli", "train", str(folder / OTHER_CLASSES[case.data]), "-o", str(out), "-q"]
        run([*words, *f"{NETWORK} {PIXELS} {RECIPE} --img-size {edge}".split()])
    return str(out)


def measure(case: Case, folder: Path, epochs: int) -> dict[str, Any]:
    """Do one run; return its accuracy and its seconds, the whole process."""
    edge = 32 if case.data.startswith("digits") else 64
    start, data = start_of(case, folder, edge), str(folder / case.data)
    is_random = case.start == "random"
    begun = time.perf_counter()
    if case.program in {OURS, HEAD}:
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch, "out")
            words = ["finetune", data, "-m", start, "-o", str(out), "--seed", str(case.seed), "--epochs", str(epochs)]
            words += ["--img-size", str(edge), "-q", "--head-only" if case.program == HEAD else "--full"]
            run(["-m", "resnest_cli", *words, *(["--random-weights"] if is_random else [])])
            found = json.loads((out / "metrics.json").read_text())
    else:
        script = str(Path(__file__).with_name("finetune_programs.py"))
        origin = f"random:{start}" if is_random else start
        numbers = map(str, (case.seed, epochs, edge))
        found = json.loads(run([script, case.program, data, origin, *numbers]))
    seconds = time.perf_counter() - begun
    images = sum(path.is_file() for path in (folder / case.data / "val").glob("*/*"))
    return {**case._asdict(), "top1": found["top1"], "images": images, "seconds": round(seconds, 1)}


def table(rows: list[dict[str, Any]]) -> str:
    """Return the table in Markdown: the mean over seeds, and its 95% interval for so many validation images.

    All seeds validate on the same images, so these count once.
    """
    cells = defaultdict(list)
    for row in rows:
        cells[row["data"], row["start"], row["program"]].append(row)
    lines = ["| images, start | " + " | ".join(PROGRAMS) + " |", "| --- |" + " ---: |" * len(PROGRAMS)]
    for data, start in dict.fromkeys((row["data"], row["start"]) for row in rows):
        texts = [_cell(cells[data, start, program]) for program in PROGRAMS]
        lines.append(f"| {data}, {start} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def _cell(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    top1, images = (mean(row[name] for row in rows) for name in ("top1", "images"))
    low, high = wilson(round(top1 * images), round(images))
    return f"{top1:.1%} ({100 * low:.0f} to {100 * high:.0f})"


def main() -> None:
    """Do what is left of the runs, and write the table between the marks of the page."""
    parser = argparse.ArgumentParser(description="Compare finetune with what practitioners write.")
    parser.add_argument("folder", type=Path, help="what scripts/data/recipe_sets.py made")
    parser.add_argument("runs", type=Path, help="the file of runs, JSON lines")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.runs.read_text().splitlines()] if args.runs.is_file() else []
    done = {Case(*(row[name] for name in Case._fields)) for row in rows}
    for case in cases(args.folder, args.sets, args.seeds):
        if case not in done:
            rows.append(measure(case, args.folder, args.epochs))
            with args.runs.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
            print(json.dumps(rows[-1]), flush=True)
    written = table(rows)
    pattern = f"({re.escape(MARKS[0])}\n).*?({re.escape(MARKS[1])})"
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(re.sub(pattern, lambda m: f"{m[1]}{written}\n{m[2]}", text, flags=re.DOTALL), encoding="utf-8")
    print(written)


if __name__ == "__main__":
    main()
