"""`resnest predict`: classify images and print or write the answers."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from resnest_cli.cli.help import Command
from resnest_cli.cli.inputs import input_options
from resnest_cli.cli.jobs import TABLE, ended, following, open_output, opened, tallied
from resnest_cli.cli.options import (
    OVERWRITE_FILE,
    RESUME,
    format_option,
    max_failures_option,
    model_options,
    ray_options,
)
from resnest_cli.cli.parameters import AnyPath, Number, OutputPath
from resnest_cli.errors import UsageError
from resnest_cli.options import DEFAULT_TOPK
from resnest_cli.outputs.formats import AUTO, FORMATS, Format, named

if TYPE_CHECKING:
    from resnest_cli.cli.view import View
    from resnest_cli.inputs.named import Inputs
    from resnest_cli.options import Options
    from resnest_cli.outputs.limits import MaxFailures
    from resnest_cli.pipeline.trunk import RunnerFactory


@click.command(cls=Command)
@input_options
@click.option(
    "-k", "--topk", default=DEFAULT_TOPK, show_default=True, type=click.IntRange(1), help="Classes per image."
)
@click.option("--threshold", default=0.0, type=Number(0, 1), metavar="P", help="Keep classes from P on.")
@format_option((AUTO, TABLE.name, *FORMATS), AUTO)
@click.option(
    "-o",
    "--output",
    type=OutputPath(folders=True),
    metavar="FILE",
    help="Write there, not to stdout; with --ray also DIR/.",
)
@OVERWRITE_FILE
@RESUME
@click.option("--calibrate", type=AnyPath, metavar="DIR", help="Images to make an int8 model with, once.")
@max_failures_option
@ray_options
@model_options
def predict(  # noqa: PLR0913 - one parameter per option
    *,
    inputs: Inputs,
    topk: int,
    threshold: float,
    format: str,
    output: Path | str | None,
    overwrite: bool,
    resume: bool,
    calibrate: Path | None,
    max_failures: MaxFailures | None,
    runner: RunnerFactory | None,
    options: Options,
    view: View,
) -> None:
    """Classify images.

    INPUT is a file, a folder, a glob pattern, an http(s) URL, or - for one image on standard input. Each image gives
    exactly one record, in order. The record of an image that cannot be classified says why, and the exit code is 3.

    The format "auto" follows the suffix of the output file; without a file it is a table on a terminal and jsonl in a
    pipe. Whatever stops a job with an output file, the same command with --resume continues it.

    \b
    Examples:
      resnest predict dog.jpg --model resnest101e --topk 5
      resnest predict photos/ -o answers.csv --resume
      resnest predict photos/ -o report.html
      resnest predict photos/ -o answers.csv --precision int8 --calibrate photos/
      resnest predict - --model digits < three.png
      find photos -name '*.jpg' -print0 | resnest predict --files-from - -0
    """  # noqa: D301 - \b is click's mark of a paragraph that stays as it is
    from resnest_cli.tasks.predict import Classifier

    found, classes = inputs.find(), Counter[str]()
    options, kind = _calibrated(options, calibrate, inputs.exclude), _settle(format, output)
    follow = following(view, inputs, "classifying", output, on_screen=output is None and kind is TABLE)
    options = replace(options, thumbnails=kind.name == "html")
    with (
        open_output(output, kind, runner, overwrite=overwrite, resume=resume) as out,
        Classifier(options, many=inputs.may_be_many, runner=runner) as classifier,
    ):
        view.say(opened(classifier, "answers"))
        view.detail(f"class names: {classifier.labels.source}")
        summary = classifier.write_to(
            out,
            found,
            topk=topk,
            threshold=threshold,
            max_failures=max_failures,
            follow=lambda records, earlier: follow(tallied(records, classes), earlier),
        )
        gains_from_bf16 = classifier.would_gain_from_bf16(summary)
    if gains_from_bf16:
        view.say("hint: this CPU computes bf16 natively: --precision bf16 is about twice as fast, and less exact.")
    ended(view, summary, classes)


def _calibrated(options: Options, calibrate: Path | None, exclude: tuple[str, ...]) -> Options:
    """Return options with an int8 model calibrated on the images at `calibrate`, made now or cached."""
    if calibrate is None:
        return options
    if options.precision != "int8":
        raise UsageError("--calibrate is for --precision int8: add that.")
    from resnest_cli.tasks.quantize import cached

    return cached.ensure(options, calibrate, exclude)


def _settle(format: str, output: Path | str | None) -> Format:
    """Decide what "auto" is: by the output's suffix, else a table for a person and JSON lines for a program."""
    if isinstance(output, str):
        if format not in {AUTO, "parquet"}:
            raise UsageError(f"-o {output}: a folder has Parquet files; leave out -f {format}, or name a file.")
        return named("parquet", Path())
    if output is None and format == AUTO:
        format = TABLE.name if sys.stdout.isatty() else "jsonl"
    return TABLE if format == TABLE.name else named(format, output or Path())
