"""Compare `resnest` with plain timm on the CPU: whole processes with the same photographs and weights, in turns.

In: a folder of JPEG photographs. Out: on stdout (and in a file with -o) the machine and a Markdown table of medians; on
stderr one line per run. The processes are `resnest predict` and the programs of side_by_side_programs.py. Answers come
through a pipe, so each answer has a time. The caches are new, in a temporary folder, and filled before the rounds.
Nothing is requested over the network. Linux counts the peak memory of a process from the memory of its parent, so this
module imports no torch.

Other work on the machine slows torch more than OpenVINO. A run is repeated if other programs took more than `QUIET` of
the cores meanwhile; the text reports the largest share that remained.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, median
from typing import TypeAlias

from side_by_side_programs import FEW, photographs

from resnest_cli.system import machine

PROGRAMS = str(Path(__file__).with_name("side_by_side_programs.py"))
TIMM = "plain timm"
RESNEST = [
    "-m",
    "resnest_cli",
    "predict",
    "--device",
    "cpu",
    "--no-exif",
    "-q",
    "-f",
    "jsonl",
]  # timm ignores EXIF, too
TIMM_BATCHES = (1, 4, 8)  # timm runs with the fastest, by the better of `TRIALS` runs over `FEW` photographs
TRIALS = 2
QUIET, TRIES, PAUSE_S = 0.04, 5, 5.0
SAME_BATCH_S = 0.01  # answers of one batch are printed within this time
RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes per unit of ru_maxrss
LIBRARIES = ("resnest-cli", "openvino", "torch", "timm", "pillow")


# --- runs


@dataclass(frozen=True)
class Run:
    """One process: wall time, peak memory, the share of the cores used by other programs, its lines and their times."""

    seconds: float
    peak_mb: float
    others: float
    lines: list[bytes]
    times: list[float]

    @property
    def rate(self) -> float:
        """Images per second of the whole process."""
        return len(self.lines) / self.seconds

    @property
    def later_rate(self) -> float:
        """Images per second after the first batch (NaN if there was only one)."""
        later = sum(at > self.times[0] + SAME_BATCH_S for at in self.times)
        return later / (self.times[-1] - self.times[0]) if later else float("nan")


Job: TypeAlias = tuple[str, str]  # ("one", "folder" or "engine"; TIMM or a precision of resnest)
Runs: TypeAlias = dict[Job, list[Run]]


def run(words: list[str], home: Path) -> Run:
    """Run Python with arguments `words`, caches in `home` and none of the user's settings; return its measurements.

    Raises:
        CalledProcessError: the process failed; stderr has the reason.
    """
    world = {name: value for name, value in os.environ.items() if not name.startswith(("RESNEST_", "HF_"))}
    world |= {"RESNEST_CACHE": str(home), "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    begin, busy = time.perf_counter(), busy_seconds()
    with subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, env=world) as process:  # noqa: S603 - ours
        rows = [(line, time.perf_counter() - begin) for line in process.stdout or ()]
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    others = busy_seconds() - busy - usage.ru_utime - usage.ru_stime
    share = max(0.0, others / seconds / (os.cpu_count() or 1))
    print(f"{seconds:7.2f} s, others {share:3.0%}: {' '.join(words[-6:])}", file=sys.stderr)
    return Run(seconds, usage.ru_maxrss * RSS_UNIT / 1e6, share, [line for line, _ in rows], [at for _, at in rows])


def quiet_run(words: list[str], home: Path) -> Run:
    """Repeat a run until it was undisturbed, at most `TRIES` times; return the least disturbed one."""
    tried = [run(words, home)]
    while tried[-1].others > QUIET and len(tried) < TRIES:
        time.sleep(PAUSE_S)
        tried.append(run(words, home))
    return min(tried, key=lambda each: each.others)


def busy_seconds() -> float:
    """Return the busy seconds of all cores since the machine started (0 without /proc)."""
    try:
        line = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
    except OSError:
        return 0.0
    user, nice, system, _idle, _wait, *others = map(int, line.split()[1:9])
    return (user + nice + system + sum(others)) / os.sysconf("SC_CLK_TCK")


def jobs(model: str, weights: str, folder: Path, batch: int, precisions: list[str]) -> dict[Job, list[str]]:
    """Return the command of each job of a round."""
    one, many = str(photographs(folder)[0]), str(folder)
    found: dict[Job, list[str]] = {
        ("one", TIMM): [PROGRAMS, "timm", model, weights, "1", one],
        ("folder", TIMM): [PROGRAMS, "timm", model, weights, str(batch), many],
    }
    for name in precisions:
        is_int8 = name == "int8"
        place, file = (f"{weights}.int8", "") if is_int8 else (model, weights)
        predict = [*RESNEST, "-m", place, *([] if is_int8 else ["--weights", file]), "--precision", name]
        found["one", name] = [*predict, one]
        found["folder", name] = [*predict, many]
        found["engine", name] = [PROGRAMS, "engine", place, file, name, many]
    return found


def measure(model: str, folder: Path, precisions: list[str], rounds: int) -> tuple[Runs, int]:
    """Fill the caches, find the fastest batch of timm, run every job once per round; return the runs and the batch."""
    with tempfile.TemporaryDirectory() as temporary:
        home, few, weights = Path(temporary), Path(temporary, "few"), str(Path(temporary, "weights.safetensors"))
        few.mkdir()
        for path in photographs(folder)[:FEW]:
            (few / path.name).symlink_to(path.resolve())
        run([PROGRAMS, "weights", model, str(folder), weights], home)
        if "int8" in precisions:
            run([PROGRAMS, "int8", model, weights, str(folder), f"{weights}.int8"], home)
        for (_, who), words in jobs(model, weights, few, 1, precisions).items():
            if who != TIMM:
                run(words, home)
        seconds = dict.fromkeys(TIMM_BATCHES, float("inf"))
        for batch in TIMM_BATCHES * TRIALS:
            trial = quiet_run(jobs(model, weights, few, batch, [])["folder", TIMM], home)
            seconds[batch] = min(seconds[batch], trial.seconds)
        best = min(TIMM_BATCHES, key=lambda batch: seconds[batch])
        todo = jobs(model, weights, folder, best, precisions)
        runs: Runs = {job: [] for job in todo}
        for job, words in list(todo.items()) * rounds:
            runs[job].append(quiet_run(words, home))
        return runs, best


# --- results

COSTS: tuple[tuple[str, str, str, int, int], ...] = (  # title, job, attribute of `Run`, decimals, 1 if more is better
    ("one photograph, cold process: s", "one", "seconds", 2, -1),
    ("one photograph: peak memory, MB", "one", "peak_mb", 0, -1),
    ("folder, files to answers: s", "folder", "seconds", 2, -1),
    ("folder: images/s", "folder", "rate", 2, 1),
    ("folder: images/s after the first answer", "folder", "later_rate", 2, 1),
    ("folder: peak memory, MB", "folder", "peak_mb", 0, -1),
)
OTHERS = (
    *("engine alone, pixels ready: images/s", "folder, share of that", "folder after the first answer, share of that"),
    *("drift: same first class", "same five, same order", "max dp, all five", "max dp, first class", "mean of it"),
)


def answers(run: Run) -> dict[str, dict[int, float]]:
    """Return the five best classes and their probabilities per photograph, best first, from the output of a program."""
    found = {}
    for row in map(json.loads, run.lines):
        if isinstance(row, dict):
            found[row["path"]] = {answer["index"]: answer["probability"] for answer in row["predictions"]}
        else:
            found[row[0]] = dict(zip(*row[1:], strict=True))
    return found


def drift(theirs: Run, ours: Run) -> list[str]:
    """Compare answers class by class; dp is the difference of a class's probabilities (ours is 0 outside our five).

    Raises:
        ValueError: the runs saw different files, because the folder holds images other than JPEG.
    """
    before, after = answers(theirs), answers(ours)
    if before.keys() != after.keys():
        message = "the folder must hold JPEG files only, and no folders"
        raise ValueError(message)
    pairs = [(before[path], after[path]) for path in before]
    changes = [[abs(p - new.get(index, 0.0)) for index, p in old.items()] for old, new in pairs]
    first = [change[0] for change in changes]
    same_first = fmean(list(old)[:1] == list(new)[:1] for old, new in pairs)
    same_five = fmean(list(old) == list(new) for old, new in pairs)
    sizes = max(map(max, changes)), max(first), fmean(first)
    return [*(f"{share:.1%}" for share in (same_first, same_five)), *(f"{size:.1e}" for size in sizes)]


def table(runs: Runs, precisions: list[str]) -> list[str]:
    """Return the lines of the table: medians, and in brackets the factor against plain timm."""
    rows = [["", f"{TIMM} fp32", *(f"resnest {name}" for name in precisions)]]
    rows.append(["---", *["---:"] * (len(precisions) + 1)])
    for title, job, name, decimals, sign in COSTS:
        base, *ours = (median(getattr(run, name) for run in runs[job, who]) for who in (TIMM, *precisions))
        cells = [f"{mine:.{decimals}f} (x {(mine / base) ** sign:.2f})" for mine in ours]
        rows.append([title, f"{base:.{decimals}f}", *cells])
    columns = [others(runs, name) for name in precisions]
    rows += [[title, "", *cells] for title, *cells in zip(OTHERS, *columns, strict=True)]
    return [f"| {' | '.join(row)} |" for row in rows]


def others(runs: Runs, precision: str) -> list[str]:
    """Return the values of `OTHERS` for one precision."""
    folder = runs["folder", precision]
    alone = median(float(run.lines[0]) for run in runs["engine", precision])
    whole, later = median(run.rate for run in folder), median(run.later_rate for run in folder)
    shares = [f"{alone:.2f}", f"{whole / alone:.0%}", f"{later / alone:.0%}"]
    return [*shares, *drift(runs["folder", TIMM][0], folder[0])]


def heading(runs: Runs, model: str, batch: int) -> str:
    """Return a description of the machine and of the runs."""
    folder = runs["folder", TIMM]
    winners = {next(iter(classes)) for classes in answers(folder[0]).values()}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    others = max(each.others for group in runs.values() for each in group)
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return f"""\
{machine.cpu_name()} ({", ".join(machine.instruction_sets())}), {machine.usable_cores()} usable cores, {memory:.0f} GiB.
Python {sys.version.split()[0]}, {libraries}. {datetime.now(timezone.utc):%Y-%m-%d}.

{model}, {len(folder[0].lines)} photographs, medians of {len(folder)} rounds in turns, with at most {others:.0%} of the
cores taken by other programs during a run. In brackets: the factor against plain timm, which runs in fp32 with batches
of {batch} for the folder, the fastest of {TIMM_BATCHES}. Weights are random; {len(winners)} classes are best for some
photograph. Drift is against plain timm's answers.
"""


def main() -> None:
    """Measure and print."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--images", type=Path, required=True, metavar="DIR")
    words.add_argument("--model", default="resnest50d")
    words.add_argument("--rounds", type=int, default=5)
    words.add_argument("--precision", default="fp32,bf16", metavar="P,...", help="int8 needs the extra of that name")
    words.add_argument("-o", "--output", type=Path)
    args = words.parse_args()
    precisions = args.precision.split(",")
    runs, batch = measure(args.model, args.images, precisions, args.rounds)
    text = "\n".join([heading(runs, args.model, batch), *table(runs, precisions)])
    print(text)
    if args.output:
        args.output.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
