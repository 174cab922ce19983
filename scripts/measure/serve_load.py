"""Load a server with hey (Debian, Homebrew): throughput, latency, memory, and what happens beyond its capacity.

In: a folder of JPEG photographs, of which the first is sent. Out: on stdout the machine and Markdown tables; on stderr
one line per run. Beside `resnest serve` stands plain timm behind FastAPI (`pip install fastapi`), one image per
request; both have the same seeded weights, and what is compared runs in turns. Linux only: memory is read from /proc.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING
from urllib.request import urlopen

from side_by_side import PROGRAMS
from side_by_side_programs import photographs

from resnest_cli.models.catalog import DIGITS
from resnest_cli.system import machine

if TYPE_CHECKING:
    from collections.abc import Iterator

RESNEST = [sys.executable, "-m", "resnest_cli"]
CONNECTIONS = (1, 2, 4, 8, 16, 32, 64)
BESIDE = (1, 8, 64)  # connections to FastAPI, which answers one at a time
GROUPS, GROUP = 20, 20  # of requests one after the other, for the overhead
SLICES = 10  # of the requests between which memory is read
QUEUE, TIMEOUT_S = 32, 10  # of the overload
GENERATORS, CLIENTS = 8, 16  # processes of hey, which begin in turns, and the clients of each, which send together


@dataclass(frozen=True)
class Load:
    """What hey saw: seconds of the whole run, and per request its status and seconds."""

    seconds: float
    answers: list[tuple[int, float]]

    def times(self, status: int = 200) -> list[float]:
        """Return the sorted seconds of the answers with a status."""
        return sorted(taken for found, taken in self.answers if found == status)

    @property
    def rate(self) -> float:
        """Good answers per second."""
        return len(self.times()) / self.seconds


def load(port: int, image: Path, connections: int, *words: str) -> Load:
    """Send an image again and again over so many connections.

    Raises:
        CalledProcessError: hey failed.
    """
    url = f"http://127.0.0.1:{port}/predict"
    command = ["hey", "-m", "POST", "-D", str(image), "-c", str(connections), "-t", "60", "-o", "csv", *words, url]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - a program of the machine
    rows = list(csv.DictReader(text.splitlines()))
    answers = [(int(row["status-code"]), float(row["response-time"])) for row in rows]
    # An answer may come after the time is over: the run ends with the last of them.
    seconds = max(float(row["offset"]) + float(row["response-time"]) for row in rows)
    found = Load(seconds, answers)
    print(f"{connections} connections, {' '.join(words)}: {found.rate:.2f}/s", file=sys.stderr)
    return found


@contextmanager
def server(*words: str) -> Iterator[tuple[int, int]]:
    """Run a server; yield its port and its process id."""
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
        try:
            assert process.stderr is not None  # noqa: S101 - for the type checker
            found = next(filter(None, (re.search(r"on http://127.0.0.1:(\d+)", line) for line in process.stderr)))
            drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)  # noqa: S607 - its log
            yield int(found[1]), process.pid
        finally:
            process.send_signal(signal.SIGTERM)
    drain.wait()


def throughput(model: str, weights: str, folder: Path, seconds: float, rounds: int) -> float:
    """Print throughput and latency by connections, in turns with FastAPI and bench; return the best throughput."""
    image = photographs(folder)[0]
    ours: dict[int, list[Load]] = {count: [] for count in CONNECTIONS}
    beside: dict[int, list[Load]] = {count: [] for count in BESIDE}
    rates = []
    resnest = (*RESNEST, "serve", "-m", model, "--weights", weights, "--device", "cpu", "--port", "0")
    with tempfile.TemporaryDirectory() as copies:
        for number in range(200):
            Path(copies, f"{number}.jpg").symlink_to(image.resolve())
        with server(*resnest) as (port, _), server(sys.executable, PROGRAMS, "fastapi", model, weights) as (other, _):
            for _ in range(rounds):
                rates.append(bench(model, copies, seconds))
                for count in CONNECTIONS:
                    ours[count].append(load(port, image, count, "-z", f"{seconds:g}s"))
                    if count in BESIDE:
                        beside[count].append(load(other, image, count, "-z", f"{seconds:g}s"))
    print(f"\nbench --images: {median(rates):.2f} images/s\n\n| connections | images/s | p50 ms | p99 ms "
          "| FastAPI images/s | p50 ms | p99 ms |\n| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")  # fmt: skip
    for count in CONNECTIONS:
        print(f"| {count} | {line(ours[count])} | {line(beside[count]) if count in BESIDE else ' | | '} |")
    best = max(median(each.rate for each in ours[count]) for count in CONNECTIONS)
    print(f"\nbest: {best:.2f} images/s, {best / median(rates):.0%} of bench")
    return best


def line(loads: list[Load]) -> str:
    """Return the cells of throughput, p50 and p99, medians over the rounds."""
    p50, p99 = (median(each.times()[int(share * len(each.times()))] for each in loads) for share in (0.5, 0.99))
    return f"{median(each.rate for each in loads):.1f} | {1e3 * p50:.0f} | {1e3 * p99:.0f}"


def bench(model: str, folder: str, seconds: float) -> float:
    """Return what bench says of the throughput from files to answers."""
    words = [*RESNEST, "bench", "-m", model, "--device", "cpu", "--images", folder, "--seconds", f"{seconds:g}"]
    said = subprocess.run([*words, "-q", "-f", "json"], check=True, capture_output=True)  # noqa: S603 - ours
    (row,) = json.loads(said.stdout)
    rate = float(row["files"]["samples_per_sec"])
    print(f"bench: {rate:.2f}/s", file=sys.stderr)
    return rate


def overhead(model: str, weights: str, image: Path) -> None:
    """Print how much of a request is not the model's: its seconds for hey, less those from `submit` to the answer."""
    resnest = (*RESNEST, "serve", "-m", model, "--weights", weights, "--device", "cpu", "--port", "0")
    taken: list[tuple[float, float]] = []
    with server(*resnest) as (port, _):
        load(port, image, 1, "-n", str(GROUP))  # warms up
        for _ in range(GROUPS):
            before = answer_seconds(port)
            requests = load(port, image, 1, "-n", str(GROUP)).times()
            taken.append((1e3 * mean(requests), 1e3 * (answer_seconds(port) - before) / len(requests)))
    request, answer = (median(each) for each in zip(*taken, strict=True))
    more = sorted(request - answer for request, answer in taken)
    print(
        f"\noverhead: a request takes {request:.2f} ms, the model {answer:.2f} ms of them: {median(more):.2f} ms more "
        f"({more[0]:.2f} to {more[-1]:.2f}; {GROUPS} groups of {GROUP} requests)"
    )


def answer_seconds(port: int) -> float:
    """Return the sum of the seconds from `submit` to the answer, over all images so far."""
    with urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        text = response.read().decode()
    return float(re.findall(r'^resnest_stage_seconds_sum{stage="answer"} (\S+)', text, re.MULTILINE)[0])


def memory(requests: int) -> None:
    """Print the memory of a server of digits and its decoders after each tenth of so many requests."""
    image = min((DIGITS / "samples").iterdir())
    with server(*RESNEST, "serve", "-m", "digits", "--device", "cpu", "--port", "0") as (port, process):
        print("\n| requests | MB |\n| ---: | ---: |")
        for number in range(SLICES):
            load(port, image, 16, "-n", str(requests // SLICES))
            print(f"| {(number + 1) * requests // SLICES:,} | {proportional_mb(process):.1f} |")


def proportional_mb(process: int) -> float:
    """Return the memory of a process and its children, shared pages in proportion, in MB."""
    threads = Path(f"/proc/{process}/task").iterdir()
    children = [child for thread in threads for child in (thread / "children").read_text(encoding="ascii").split()]
    texts = (Path(f"/proc/{each}/smaps_rollup").read_text(encoding="ascii") for each in (process, *children))
    return sum(int(re.findall(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)[0]) for text in texts) / 1e3


def overload(model: str, weights: str, image: Path, capacity: float, seconds: float) -> None:
    """Print what becomes of twice the requests that the server can answer."""
    limits = ("--queue", str(QUEUE), "--timeout", str(TIMEOUT_S))
    resnest = (*RESNEST, "serve", "-m", model, "--weights", weights, "--device", "cpu", "--port", "0", *limits)
    interval = GENERATORS * CLIENTS / (2 * capacity)  # of a client

    def generate(number: int, port: int) -> Load:
        time.sleep(number * interval / GENERATORS)
        return load(port, image, CLIENTS, "-z", f"{seconds:g}s", "-q", f"{1 / interval:.4f}")

    with server(*resnest) as (port, _), ThreadPoolExecutor(GENERATORS) as threads:
        loads = list(threads.map(generate, range(GENERATORS), [port] * GENERATORS))
    found = Load(seconds + interval, [answer for each in loads for answer in each.answers])
    offered, good = len(found.answers) / seconds, found.times()
    counts = {status: len(found.times(status)) for status in sorted({status for status, _ in found.answers})}
    print(
        f"\noverload: {offered:.1f} requests/s offered, {found.rate:.1f} answered ({found.rate / capacity:.0%} of the "
        f"capacity), statuses {counts}; answers took {good[len(good) // 2]:.2f} s in the median, {good[-1]:.2f} s at "
        f"most; refusals {1e3 * median(found.times(503) or [0]):.0f} ms"
    )


def main() -> None:
    """Measure all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="resnest50d")
    parser.add_argument("--seconds", type=float, default=10, help="per run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=20_000, help="for memory")
    args = parser.parse_args()
    if not shutil.which("hey"):
        sys.exit("hey is not installed: apt install hey")
    image = photographs(args.folder)[0]
    with tempfile.TemporaryDirectory() as temporary:
        weights = str(Path(temporary, "weights.safetensors"))
        words = [sys.executable, PROGRAMS, "weights", args.model, str(args.folder), weights]
        subprocess.run(words, check=True)  # noqa: S603 - ours
        print(f"{machine.cpu_name()}, {machine.usable_cores()} cores; {args.model}")
        capacity = throughput(args.model, weights, args.folder, args.seconds, args.rounds)
        overhead(args.model, weights, image)
        overload(args.model, weights, image, capacity, 3 * args.seconds)
        memory(args.requests)


if __name__ == "__main__":
    main()
