"""`resnest bench`: how fast a model is on this machine."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from resnest_cli.cli.options import View, format_option, speed_options
from resnest_cli.options import DEFAULT_BENCH_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from resnest_cli.bench import BenchResult, Step
    from resnest_cli.options import Options


@click.command()
@click.option(
    "--seconds",
    default=DEFAULT_BENCH_SECONDS,
    show_default=True,
    type=click.FloatRange(0),
    metavar="S",
    help="Time budget.",
)
@format_option(("table", "json"), "table")
@speed_options
def bench(*, seconds: float, format: str, options: Options, view: View) -> None:
    """Measure throughput and latency of a model on ready pixels.

    Runs steps to warm up, then timed steps until the time budget is spent: at least one of each, however long it takes.
    Nothing is downloaded: the weights are random, which does not change the speed.
    """
    from resnest_cli.bench import bench as measure

    bar = _bar if view.progress and sys.stderr.isatty() else iter
    view.say(f"{options.model} with random weights, for about {seconds:g} s")
    result = measure(options, seconds=seconds, progress=bar)
    if format == "json":
        click.echo(json.dumps(asdict(result)))
    else:
        _print_table(result)


def _bar(steps: Iterable[Step]) -> Iterator[Step]:
    from resnest_cli.cli.output import bar, console

    return bar(steps, lambda: None, "steps", console(sys.stderr))


def _print_table(result: BenchResult) -> None:
    from resnest_cli.cli.output import console, facts

    console(sys.stdout).print(facts(list(_rows(result))))


def _rows(result: BenchResult) -> Iterator[tuple[str, str]]:
    times = result.step_time_ms
    yield "model", f"{result.model}, {result.param_count / 1e6:.1f} M parameters, {result.weights} weights"
    yield "runs on", f"{result.device}, {result.engine} {result.precision}, {result.threads} threads"
    yield "input", f"batch {result.batch}, {result.img_size} x {result.img_size}"
    yield "throughput", f"{result.samples_per_sec:.2f} images/s{_arithmetic(result.achieved_tflops)}"
    yield "step time", " ".join(f"{name} {times[name]:.1f}" for name in ("min", "p50", "p90", "p99", "max")) + " ms"
    yield "steps", f"{result.steps} timed after {result.warmup_steps} to warm up"
    yield "start", f"loaded in {result.load_time_s:.2f} s, first result after {result.first_result_s:.2f} s"
    yield "versions", ", ".join(f"{name} {number}" for name, number in result.versions.items())


def _arithmetic(tflops: float | None) -> str:
    return f", {tflops:.3f} TFLOP/s" if tflops else ""
