"""`resnest bench`: the speed of models on this machine."""

from __future__ import annotations

import io
import sys
from functools import partial
from typing import IO, TYPE_CHECKING, Any

import click

from resnest_cli.cli.help import Command
from resnest_cli.cli.options import EXCLUDE, format_option, sweep_options
from resnest_cli.cli.parameters import AnyPath, Number, OutputPath
from resnest_cli.errors import ExitCode
from resnest_cli.options import DEFAULT_BENCH_SECONDS
from resnest_cli.text.terminal import data, note
from resnest_cli.text.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from resnest_cli.cli.view import View
    from resnest_cli.options import Options

FORMATS = ("auto", "table", "json", "jsonl", "csv", "tsv")


@click.command(cls=Command)
@click.option(
    "--seconds",
    default=DEFAULT_BENCH_SECONDS,
    show_default=True,
    type=Number(0),
    metavar="S",
    help="Time budget per configuration.",
)
@click.option(
    "--images", type=AnyPath, metavar="DIR", help="Also time a folder of images, from files to answers, per stage."
)
@EXCLUDE
@click.option("--baseline", is_flag=True, help="Also time plain eager timm, in turns.")
@format_option(FORMATS, "auto")
@click.option("-o", "--output", type=OutputPath(), metavar="FILE", help="Write to this file instead of stdout.")
@click.option("--plot", type=AnyPath, metavar="FILE.png", help="Draw speed against accuracy, and against batch size.")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@sweep_options
def bench(  # noqa: PLR0913 - one parameter per option
    *,
    seconds: float,
    images: Path | None,
    exclude: tuple[str, ...],
    baseline: bool,
    format: str,
    output: Path | None,
    plot: Path | None,
    overwrite: bool,
    options: Options,
    view: View,
    **several: tuple[Any, ...],  # model, engine, precision, batch
) -> None:
    """Measure the speed of models, and how far it is from the hardware's limit.

    Batches are timed one at a time (step time), and as a full stream (images per second). The limit is a large matrix
    product, measured in the same run, engine and precision. Every combination of the values is a configuration, with a
    process of its own; a failed configuration has a row with the error, and the exit code is 3.

    A configuration takes longer than its time budget if five steps, and two batches per stream, do. Nothing is
    downloaded: the weights are random, which does not change the speed. A folder that `resnest quantize` made runs its
    own int8 graph.

    \b
    Examples:
      resnest bench --model all -o speed.csv --plot speed.png
      resnest bench --batch 1,8,32 --precision fp32,bf16 --baseline
      resnest bench --engine all --images photos/ --format json
    """  # noqa: D301 - \b is click's mark of a paragraph that stays as it is
    from resnest_cli.tasks.bench import job
    from resnest_cli.tasks.bench.sweep import sweep
    from resnest_cli.tasks.bench.words import line

    every = job.configurations(options, **several)
    job.check(every, images, exclude, output, plot, baseline=baseline, overwrite=overwrite)
    format = job.settle_format(format, output)
    view.say(f"{counted(len(every), 'configuration')} with random weights, about {seconds:g} s each")
    found = sweep(every, seconds, images=str(images) if images else None, exclude=exclude, baseline=baseline)
    as_they_come = output is None and format == "jsonl"
    if view.has_bar(rows_on_stdout=as_they_come):
        found = view.follow(found, lambda: len(every), "measuring")
    if output:
        found = job.saved(found, output, partial(_as_text, format=format))
    rows = []
    for row in found:
        rows.append(row)
        if as_they_come:
            _put([row], format)
        if not view.quiet:
            note(line(row))
    if not (as_they_come or output):
        _put(rows, format)
    failed = sum("error" in row for row in rows)
    if plot and failed < len(rows):
        job.draw(rows, plot)
    if failed:
        click.get_current_context().exit(ExitCode.SOME_FAILED)


def _put(rows: Sequence[dict[str, Any]], format: str) -> None:
    if format == "table":
        _print(rows, sys.stdout)
    else:
        data(_as_text(rows, format))


def _as_text(rows: Sequence[dict[str, Any]], format: str) -> str:
    from resnest_cli.tasks.bench.rows import WRITERS

    if format != "table":
        return WRITERS[format](rows)
    text = io.StringIO()
    _print(rows, text)
    return text.getvalue()


def _print(rows: Sequence[dict[str, Any]], stream: IO[str]) -> None:
    """Print one configuration as facts, several as a table."""
    from resnest_cli.cli.output import console, facts, table
    from resnest_cli.tasks.bench import words

    out = console(stream)
    if len(rows) == 1:
        out.print(facts(words.facts(rows[0])))
        return
    made = words.table(rows)
    out.print(table(made.headings, made.cells, numeric=made.numeric))
    out.print(facts(made.shared))
    for fact in made.failed:
        out.print(facts([fact]))
