"""Compare the rate that `resnest bench` prints with a stopwatch, in turns.

In: a variant, an engine, a batch. Out: one line per round, and the median ratio. The stopwatch shares only the weights
with the benchmark: it is `time.perf_counter` around OpenVINO's own queue over the converted graph, or around plain timm
in a loop. Each measurement is a process of its own; the processes run one after the other.
"""
# ruff: noqa: PLC0415 - each program imports only what it needs

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from statistics import median
from typing import Any

import numpy as np

TOLERANCE = 0.05


def stopwatch_openvino(model: str, precision: str, batch: int, seconds: float) -> float:
    """Return images per second of an `AsyncInferQueue` with one stream per core."""
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment] # openvino would send usage data
    import openvino

    from resnest_cli.models import graphs
    from resnest_cli.models.catalog import find_model

    graph = graphs.find(graphs.key(find_model(model), "random", "logits"))
    assert graph is not None, "run resnest bench first"  # noqa: S101 - main runs it first
    cores = len(os.sched_getaffinity(0))
    kind = {"fp32": "f32", "bf16": "bf16"}[precision]
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": str(cores)}
    settings |= {"INFERENCE_PRECISION_HINT": kind, "INFERENCE_NUM_THREADS": cores}
    compiled = openvino.Core().compile_model(str(graph.path), "CPU", settings)
    queue = openvino.AsyncInferQueue(compiled, cores + 1)
    size = find_model(model).data.input_size[1]
    pixels = np.random.default_rng(1).integers(0, 256, (batch, size, size, 3), dtype=np.uint8)

    def run(limit: float) -> float:
        begin, given = time.perf_counter(), 0
        while time.perf_counter() < begin + limit or given % cores:
            queue.start_async([pixels])
            given += 1
        queue.wait_all()
        return batch * given / (time.perf_counter() - begin)

    run(seconds / 5)
    return run(seconds)


def stopwatch_torch(model: str, precision: str, batch: int, seconds: float) -> float:
    """Return images per second of plain timm."""
    import timm
    import torch

    from resnest_cli.models.catalog import find_model

    network = timm.create_model(model).eval()
    size = find_model(model).data.input_size
    images = torch.rand(batch, *size)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        network(images)
        begin, done = time.perf_counter(), 0
        while time.perf_counter() < begin + seconds:
            network(images)
            done += batch
        return done / (time.perf_counter() - begin)


def benchmark_rate(args: argparse.Namespace) -> float:
    """Return the images per second that `resnest bench` prints."""
    words = ["bench", "-m", args.model, "--engine", args.engine, "--precision", args.precision, "-b", args.batch]
    command = [
        sys.executable,
        "-m",
        "resnest_cli",
        *map(str, words),
        "--seconds",
        str(args.seconds * 2.5),
        "-f",
        "jsonl",
        "-q",
    ]
    row = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)  # noqa: S603 - our own command
    return float(row["samples_per_sec"])


def stopwatch_rate() -> float:
    """Return the images per second of the stopwatch, run in a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--stopwatch"]
    return float(subprocess.run(command, capture_output=True, check=True).stdout)  # noqa: S603 - this script


def main() -> int:
    """Measure in turns; return 1 if the median ratio differs from 1 by more than `TOLERANCE`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", default="resnest50d")
    parser.add_argument("--engine", default="openvino", choices=["openvino", "torch"])
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=8.0, help="seconds per measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stopwatch", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.stopwatch:
        run = stopwatch_openvino if args.engine == "openvino" else stopwatch_torch
        print(run(args.model, args.precision, args.batch, args.seconds))
        return 0
    ratios = []
    for number in range(1, args.rounds + 1):
        ours, theirs = benchmark_rate(args), stopwatch_rate()
        ratios.append(ours / theirs)
        print(
            f"round {number}: resnest bench {ours:.3f}, stopwatch {theirs:.3f} images/s: {ratios[-1]:.3f}", flush=True
        )
    print(f"median of {len(ratios)} rounds: {median(ratios):.3f}")
    return abs(median(ratios) - 1) > TOLERANCE


if __name__ == "__main__":
    sys.exit(main())
