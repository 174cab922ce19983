"""`resnest` beside plain timm on the CPU: whole processes, the same photographs and weights, in turns.

In: a folder of JPEG photographs. Out: on stdout (and in a file with -o) what machine this is and a Markdown table of
medians; on stderr each run as it ends. What runs is `resnest predict` and this file, with a first word from `PROGRAMS`;
answers come through a pipe, so that each has a time. Caches are new, in a temporary folder, and filled before the
rounds. Nothing is requested. Linux counts the peak memory of a process from that of the one which starts it, so the one
that measures imports no torch.

Torch suffers more than OpenVINO from other work on the machine: a run beside which others took more than `QUIET` of the
cores is done again, and the text says what could not be had quieter.
"""
# ruff: noqa: PLC0415 - each program imports what it needs, and no more

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
from typing import TYPE_CHECKING, Any, TypeAlias

from resnest_cli.system import machine

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

TIMM = "plain timm"
RESNEST = ["-m", "resnest_cli", "predict", "--device", "cpu", "--no-exif", "-q", "-f", "jsonl"]  # timm ignores EXIF
TIMM_BATCHES = (1, 4, 8)  # the fastest is taken, by the better of `TRIALS` runs over `FEW` photographs
TRIALS, FEW = 2, 24  # as many photographs give the norms their statistics
LOGIT_STD = 3.0
ENGINE_PHOTOGRAPHS = 200  # their pixels are kept in memory
QUIET, TRIES, PAUSE_S = 0.04, 5, 5.0
SAME_BATCH_S = 0.01  # answers of a batch are printed at once
RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes in a unit of ru_maxrss
LIBRARIES = ("resnest-cli", "openvino", "torch", "timm", "pillow")


# --- programs: each is a process of its own, its arguments are words


def make_weights(model: str, folder: str, file: str) -> None:
    """Write seeded weights with which every block counts and answers depend on the photograph.

    They are made as in tests/engines/pytorch/test_engine.py, which says why; norms have statistics of photographs.
    """
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = timm.create_model(model)
    paths = photographs(folder)
    images = reader(network)(paths[:: max(1, len(paths) // FEW)][:FEW])
    with torch.no_grad():
        for name, norm in network.named_modules():
            if isinstance(norm, torch.nn.BatchNorm2d):
                norm.weight.uniform_(*((0.03, 0.1) if name.endswith("bn3") else (0.6, 1.2)))
                norm.bias.normal_(0, 0.1)
                norm.momentum = 1.0  # take the statistics of the next batch
        network.train()(images)
        network.get_parameter("fc.weight").mul_(LOGIT_STD / network.eval()(images).std())
    save_file(network.state_dict(), file)


def plain_timm(model: str, weights: str, batch: str, place: str) -> None:
    """Classify a photograph or a folder as timm's model card does; an answer is a line of JSON."""
    import timm
    import torch

    network = timm.create_model(model, checkpoint_path=weights).eval()
    read, paths, size = reader(network), photographs(place), int(batch)
    with torch.inference_mode():
        for start in range(0, len(paths), size):
            group = paths[start : start + size]
            top = network(read(group)).softmax(dim=1).topk(5)
            for path, *answer in zip(group, top.indices.tolist(), top.values.tolist(), strict=True):
                print(json.dumps([str(path), *answer]), flush=True)


def engine_alone(model: str, weights: str, precision: str, folder: str) -> None:
    """Print how many images a second the engine of `resnest` does on pixels that are ready in memory."""
    from resnest_cli import Options
    from resnest_cli.engines.choose import open_engine
    from resnest_cli.inputs.decode import images
    from resnest_cli.models import catalog

    options = Options(model, weights=weights or None, precision=precision, device="cpu")
    engine = open_engine(catalog.resolve(options), options)
    paths = photographs(folder)[:ENGINE_PHOTOGRAPHS]
    pixels = [images.load(path.read_bytes(), engine.spec.data)[None] for path in paths]
    list(engine.run(pixels[:FEW]))
    begin = time.perf_counter()
    done = sum(len(rows) for rows in engine.run(pixels))
    print(done / (time.perf_counter() - begin))


def make_int8(model: str, weights: str, folder: str, place: str) -> None:
    """Write an int8 model folder, calibrated on the photographs; random weights need not agree."""
    from resnest_cli import Options
    from resnest_cli.tasks.quantize.options import QuantizeOptions
    from resnest_cli.tasks.quantize.quantization import quantize

    quantize(Options(model, weights=weights), Path(folder), Path(place), QuantizeOptions(min_agreement=0))


def reader(network: torch.nn.Module) -> Callable[[list[Path]], torch.Tensor]:
    """Return what turns files into a batch, with timm's own transform."""
    import torch
    from PIL import Image
    from timm.data.config import resolve_model_data_config
    from timm.data.transforms_factory import create_transform

    data: dict[str, Any] = resolve_model_data_config(network)  # type: ignore[no-untyped-call]
    transform = create_transform(**data, is_training=False)
    return lambda paths: torch.stack([transform(Image.open(path).convert("RGB")) for path in paths])


def photographs(place: str | Path) -> list[Path]:
    """List the JPEG files of a folder by name, or the one file that `place` is."""
    here = Path(place)
    found = [here] if here.is_file() else sorted(here.iterdir())
    return [path for path in found if path.suffix.lower() in {".jpg", ".jpeg"}]


PROGRAMS: dict[str, Callable[..., None]] = {
    "weights": make_weights,
    "int8": make_int8,
    "timm": plain_timm,
    "engine": engine_alone,
}


# --- runs


@dataclass(frozen=True)
class Run:
    """One process: wall time, peak memory, the share of the cores that others took, lines and seconds to each."""

    seconds: float
    peak_mb: float
    others: float
    lines: list[bytes]
    times: list[float]

    @property
    def rate(self) -> float:
        """Images a second, everything counted."""
        return len(self.lines) / self.seconds

    @property
    def later_rate(self) -> float:
        """Images a second after the first answer and those of its batch (NaN where that was all)."""
        later = sum(at > self.times[0] + SAME_BATCH_S for at in self.times)
        return later / (self.times[-1] - self.times[0]) if later else float("nan")


Job: TypeAlias = tuple[str, str]  # what: "one", "folder" or "engine"; who: TIMM, or a precision of resnest
Runs: TypeAlias = dict[Job, list[Run]]


def run(words: list[str], home: Path) -> Run:
    """Run Python with `words`, with caches in `home` and without settings of the user's, and measure it.

    Raises:
        CalledProcessError: it failed; stderr says why.
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
    """Run until it was undisturbed, or give the least disturbed of `TRIES`."""
    tried = [run(words, home)]
    while tried[-1].others > QUIET and len(tried) < TRIES:
        time.sleep(PAUSE_S)
        tried.append(run(words, home))
    return min(tried, key=lambda each: each.others)


def busy_seconds() -> float:
    """Return the seconds that all cores together have been busy since the machine started (0 where no /proc tells)."""
    try:
        line = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
    except OSError:
        return 0.0
    user, nice, system, _idle, _wait, *others = map(int, line.split()[1:9])
    return (user + nice + system + sum(others)) / os.sysconf("SC_CLK_TCK")


def jobs(model: str, weights: str, folder: Path, batch: int, precisions: list[str]) -> dict[Job, list[str]]:
    """Return what a round runs."""
    one, many = str(photographs(folder)[0]), str(folder)
    found: dict[Job, list[str]] = {
        ("one", TIMM): [__file__, "timm", model, weights, "1", one],
        ("folder", TIMM): [__file__, "timm", model, weights, str(batch), many],
    }
    for name in precisions:
        is_int8 = name == "int8"
        place, file = (f"{weights}.int8", "") if is_int8 else (model, weights)
        predict = [*RESNEST, "-m", place, *([] if is_int8 else ["--weights", file]), "--precision", name]
        found["one", name] = [*predict, one]
        found["folder", name] = [*predict, many]
        found["engine", name] = [__file__, "engine", place, file, name, many]
    return found


def measure(model: str, folder: Path, precisions: list[str], rounds: int) -> tuple[Runs, int]:
    """Fill the caches, find the batch that suits timm, and run every job once a round; give the runs and that batch."""
    with tempfile.TemporaryDirectory() as temporary:
        home, few, weights = Path(temporary), Path(temporary, "few"), str(Path(temporary, "weights.safetensors"))
        few.mkdir()
        for path in photographs(folder)[:FEW]:
            (few / path.name).symlink_to(path.resolve())
        run([__file__, "weights", model, str(folder), weights], home)
        if "int8" in precisions:
            run([__file__, "int8", model, weights, str(folder), f"{weights}.int8"], home)
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


# --- what comes of them

COSTS: tuple[
    tuple[str, str, str, int, int], ...
] = (  # title, job, attribute of `Run`, decimals, 1 where more is better
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
    """Return each photograph's five classes with their probabilities, best first, as either program prints them."""
    found = {}
    for row in map(json.loads, run.lines):
        if isinstance(row, dict):
            found[row["path"]] = {answer["index"]: answer["probability"] for answer in row["predictions"]}
        else:
            found[row[0]] = dict(zip(*row[1:], strict=True))
    return found


def drift(theirs: Run, ours: Run) -> list[str]:
    """Compare answers class by class: dp is between a class's two probabilities, 0 if it is not among our five.

    Raises:
        ValueError: they are about different files, as the folder holds other images than JPEG.
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
    """Return the lines of the table: medians; in brackets how many times better than plain timm."""
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
    """Return one precision's values of `OTHERS`."""
    folder = runs["folder", precision]
    alone = median(float(run.lines[0]) for run in runs["engine", precision])
    whole, later = median(run.rate for run in folder), median(run.later_rate for run in folder)
    shares = [f"{alone:.2f}", f"{whole / alone:.0%}", f"{later / alone:.0%}"]
    return [*shares, *drift(runs["folder", TIMM][0], folder[0])]


def heading(runs: Runs, model: str, batch: int) -> str:
    """Say what machine this is, and what was run."""
    folder = runs["folder", TIMM]
    winners = {next(iter(classes)) for classes in answers(folder[0]).values()}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    others = max(each.others for group in runs.values() for each in group)
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return f"""\
{machine.cpu_name()} ({", ".join(machine.instruction_sets())}), {machine.usable_cores()} usable cores, {memory:.0f} GiB.
Python {sys.version.split()[0]}, {libraries}. {datetime.now(timezone.utc):%Y-%m-%d}.

{model}, {len(folder[0].lines)} photographs, medians of {len(folder)} rounds in turns, with at most {others:.0%} of the
cores taken by other programs during a run. In brackets: how many times better than plain timm, which is fp32 in every
ratio and has batches of {batch} for the folder, the fastest of {TIMM_BATCHES}. Weights are random but lively
({len(winners)} classes come first somewhere); drift is against plain timm's answers.
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
    if sys.argv[1:2] and sys.argv[1] in PROGRAMS:
        PROGRAMS[sys.argv[1]](*sys.argv[2:])
    else:
        main()
