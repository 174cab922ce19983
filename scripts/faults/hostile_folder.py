"""Run `resnest predict` over a folder of odd files; print rows, errors by type, time, memory and exit code.

`--strew DIR` mixes the good images of DIR with the files of the folder. Their rows must equal the rows of a run over
DIR alone, for each given batch size and worker count. Linux only (/proc).

    python scripts/faults/hostile_folder.py FOLDER --strew photos -m digits -b 1 -b 8 -j 0 -j 2
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SAMPLE_S = 0.05
MB = 1 << 20


@dataclass
class Run:
    """One run of the command: its rows, stderr and exit code; times in seconds, memory in bytes."""

    exit_code: int = -1
    rows: list[dict[str, Any]] = field(default_factory=list)
    first: float = 0.0
    total: float = 0.0
    gaps: list[float] = field(default_factory=list)
    peak: int = 0
    stderr: str = ""


def main() -> int:
    """Run every combination; return 1 if a run has a fault."""
    args = arguments()
    hostile = sorted(str(path) for path in args.folder.rglob("*") if path.is_file())
    good = sorted(str(path) for path in args.strew.iterdir()) if args.strew else []
    names = list(mixed(hostile, good))
    faults = 0
    for batch in args.batch or ["auto"]:
        clean = {row["path"]: row for row in predict(good, batch, "auto", args).rows} if good else {}
        for workers in args.workers or ["auto"]:
            run = predict(names, batch, workers, args)
            wrong = list(find_faults(run, names, clean))
            report(run, names, f"-b {batch} -j {workers}", wrong)
            faults += len(wrong)
    return int(faults > 0)


def arguments() -> argparse.Namespace:
    """Return the arguments; unknown ones are passed to `resnest predict` as `rest`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--strew", type=Path, metavar="DIR")
    parser.add_argument("-b", "--batch", action="append")
    parser.add_argument("-j", "--workers", action="append")
    args, rest = parser.parse_known_args()
    args.rest = rest
    return args


def mixed(hostile: list[str], good: list[str]) -> Iterator[str]:
    """Yield all names, the good names spread evenly among the hostile names."""
    placed = 0
    for i, name in enumerate(hostile, 1):
        yield name
        until = len(good) * i // len(hostile)
        yield from good[placed:until]
        placed = until


def predict(names: list[str], batch: str, workers: str, args: argparse.Namespace) -> Run:
    """Run the command over `names` and return what it printed, with times and peak memory."""
    run = Run()
    command = [sys.executable, "-m", "resnest_cli", "predict", "--files-from", "-", "-0", "-f", "jsonl"]
    begin = last = time.perf_counter()
    pipe = subprocess.PIPE
    with subprocess.Popen(  # noqa: S603 - our own
        [*command, "-b", batch, "-j", workers, *args.rest], stdin=pipe, stdout=pipe, stderr=pipe
    ) as process:
        threading.Thread(target=feed, args=(process, names), daemon=True).start()
        threading.Thread(target=watch, args=(process.pid, run), daemon=True).start()
        errors: list[bytes] = []
        reader = threading.Thread(target=lambda: errors.append(process.stderr.read()))  # type: ignore[union-attr]
        reader.start()
        for line in process.stdout or ():
            now = time.perf_counter()
            run.first = run.first or now - begin
            run.gaps.append(now - last)
            run.rows.append(json.loads(line))
            last = now
        reader.join()
        run.exit_code = process.wait()
    run.total = time.perf_counter() - begin
    run.stderr = b"".join(errors).decode(errors="replace")
    return run


def feed(process: subprocess.Popen[bytes], names: Iterable[str]) -> None:
    """Write the names to stdin of the process, NUL-terminated, and close stdin."""
    if process.stdin:
        process.stdin.write(b"".join(os.fsencode(name) + b"\0" for name in names))
        process.stdin.close()


def watch(pid: int, run: Run) -> None:
    """Record the peak memory of the process and its descendants, as the sum of their proportional set sizes."""
    while Path(f"/proc/{pid}").exists():
        run.peak = max(run.peak, sum(memory(each) for each in tree(pid)))
        time.sleep(SAMPLE_S)


def tree(pid: int) -> list[int]:
    """Return the ids of a process and of its descendants."""
    try:
        children = Path(f"/proc/{pid}/task").glob("*/children")
        below = [int(child) for path in children for child in path.read_text().split()]
    except OSError:
        below = []
    return [pid, *(each for child in below for each in tree(child))]


def memory(pid: int) -> int:
    """Return the proportional set size of a process in bytes; 0 if the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def find_faults(run: Run, names: list[str], clean: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield the faults of a run."""
    paths = [row["path"] for row in run.rows]
    if paths != names:
        yield f"{len(paths)} rows for {len(names)} files, or in another order"
    if "Traceback" in run.stderr:
        yield "a traceback"
    failed = any(row["status"] == "error" for row in run.rows)
    if run.exit_code != 3 * bool(failed):
        yield f"exit code {run.exit_code}"
    different = [row["path"] for row in run.rows if row["path"] in clean and row != clean[row["path"]]]
    if different:
        yield f"{len(different)} good rows differ from a clean run: {different[:3]}"


def report(run: Run, names: list[str], title: str, wrong: list[str]) -> None:
    """Print the results of a run."""
    errors = Counter(row["error"]["type"] for row in run.rows if row["status"] == "error")
    slowest = max(range(1, len(run.gaps)), key=run.gaps.__getitem__, default=0)
    print(f"{title}: exit code {run.exit_code}")
    print(f"  rows          {len(run.rows)} of {len(names)}, {len(run.rows) - errors.total()} ok")
    print(f"  errors        {', '.join(f'{kind} {number}' for kind, number in errors.most_common()) or 'none'}")
    print(f"  time          {run.total:.1f} s, first row after {run.first:.2f} s")
    print(f"  worst file    {max(run.gaps[1:], default=0):.2f} s ({run.rows[slowest]['path']})")
    print(f"  peak memory   {run.peak / MB:.0f} MB, all processes")
    print(f"  faults        {'; '.join(wrong) or 'none'}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
