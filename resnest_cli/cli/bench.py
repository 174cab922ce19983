"""`resnest bench`: the speed of models on this machine."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

import click

from resnest_cli.cli import options as shared
from resnest_cli.cli.parameters import AnyPath, ModelName, Number, OutputPath, Several, or_auto
from resnest_cli.errors import ExitCode
from resnest_cli.options import ALL, ENGINES, PRECISIONS, Options
from resnest_cli.tasks.bench.request import Request
from resnest_cli.text.layout import Screen
from resnest_cli.text.terminal import data, note, write_lines
from resnest_cli.text.words import counted

if TYPE_CHECKING:
    from resnest_cli.cli.view import View

FORMATS = ("auto", "table", "json", "jsonl", "csv", "tsv")
_option = partial(shared.option, Request)


@shared.command(
    _option("--seconds", type=Number(0), metavar="S"),
    _option("--images", type=AnyPath, metavar="DIR"),
    shared.EXCLUDE,
    _option("--baseline"),
    shared.format_option(FORMATS, Request.format),
    _option("-o", "--output", type=OutputPath(), metavar="FILE"),
    _option("--plot", type=AnyPath, metavar="FILE.png"),
    _option("--overwrite"),
    _option("-m", "--model", type=Several(ModelName()), metavar="MODEL,..."),
    _option("--engine", type=Several(click.Choice([*ENGINES, ALL])), metavar="ENGINE,..."),
    _option("--precision", type=Several(click.Choice(PRECISIONS)), metavar="PRECISION,..."),
    _option("-b", "--batch", "--batch-size", type=Several(or_auto(int)), metavar="N,...|auto"),
    shared.DEVICE,
    shared.IMG_SIZE,
    asked=Request,
    options=Options,
)
def bench(*, asked: Request, options: Options, view: View) -> ExitCode:
    """Measure the speed of models, and how far it is from the hardware's limit.

    Batches are timed one at a time (step time), and as a full stream (images per second). The limit is a large matrix
    product, measured in the same run, engine and precision. Every combination of the values is a configuration, with a
    process of its own; a failed configuration has a row with the error, and the exit code is 3.

    A configuration takes longer than its time budget if five steps, and two batches per stream, do. Nothing is
    downloaded: the weights are random, which does not change the speed. A folder that `resnest quantize` made runs its
    own int8 graph.

    Examples:
      resnest bench --model all -o speed.csv --plot speed.png
      resnest bench --batch 1,8,32 --precision fp32,bf16 --baseline
      resnest bench --engine all --images photos/ --format json
    """
    from resnest_cli.tasks.bench import job, words

    every = job.configurations(options, asked)
    format = job.settle_format(asked)
    view.say(f"{counted(len(every), 'configuration')} with random weights, about {asked.seconds:g} s each")
    as_they_come = asked.output is None and format == "jsonl"
    measured = job.measured(every, asked)
    found = view.follow(measured, lambda: len(every), "measuring", rows_on_stdout=as_they_come)
    if asked.output:
        found = job.saved(found, asked.output, format)
    rows = []
    for row in found:
        rows.append(row)
        if as_they_come:
            data(words.as_text([row], format))
        if not view.quiet:
            note(words.line(row))
    if format == "table" and not asked.output:
        write_lines(sys.stdout, words.lines(rows, Screen.of(sys.stdout)))
    elif not (as_they_come or asked.output):
        data(words.as_text(rows, format))
    failed = sum("error" in row for row in rows)
    if asked.plot and failed < len(rows):
        job.draw(rows, asked.plot)
    return ExitCode.SOME_FAILED if failed else ExitCode.OK
