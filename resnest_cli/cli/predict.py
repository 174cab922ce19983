"""`resnest predict`: classify images and print or write the answers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from resnest_cli.cli import jobs
from resnest_cli.cli import options as shared
from resnest_cli.cli.parameters import AnyPath, Number, OutputPath
from resnest_cli.options import DEFAULT_TOPK, Options
from resnest_cli.outputs.formats import AUTO, FORMATS, TABLE, named

if TYPE_CHECKING:
    from pathlib import Path

    from resnest_cli.cli.view import View
    from resnest_cli.errors import ExitCode
    from resnest_cli.inputs.named import Inputs


@shared.command(
    *shared.INPUTS,
    click.option(
        "-k", "--topk", default=DEFAULT_TOPK, show_default=True, type=click.IntRange(1), help="Classes per image."
    ),
    click.option("--threshold", default=0.0, type=Number(0, 1), metavar="P", help="Keep classes from P on."),
    shared.format_option((AUTO, TABLE.name, *FORMATS), AUTO),
    click.option(
        *("-o", "--output"),
        type=OutputPath(folders=True),
        metavar="FILE",
        help="Write there, not to stdout; with --ray also DIR/.",
    ),
    *jobs.REWRITE,
    *jobs.AGAIN,
    jobs.WATCH,
    click.option("--calibrate", type=AnyPath, metavar="DIR", help="Images to make an int8 model with, once."),
    *jobs.RUN,
    *shared.CALIBRATION,
    shared.WITH_EXIF,
    *(shared.MODEL, *shared.WEIGHTS, shared.LABELS, *shared.RUN, *shared.images()),
    inputs=shared.inputs,
    target=jobs.Target,
    options=Options,
)
def predict(  # noqa: PLR0913 - one parameter per option, or per group of them
    *,
    inputs: Inputs,
    topk: int,
    threshold: float,
    format: str,
    target: jobs.Target,
    calibrate: Path | None,
    options: Options,
    view: View,
) -> ExitCode:
    """Classify images.

    INPUT is a file, a folder, a glob pattern, an http(s) URL, or - for one image on standard input. Each image gives
    exactly one record, in order. The record of an image that cannot be classified says why, and the exit code is 3.

    The format "auto" follows the suffix of the output file; without a file it is a table on a terminal and jsonl in a
    pipe. Whatever stops a job with an output file, the same command with --resume continues it.

    With --calibration, probabilities are as sure as the model is right, and each answer has a set of classes, a
    strangeness, and whether the model abstains: where the set has several classes, or the image is too strange.

    Examples:
      resnest predict dog.jpg --model resnest101e --topk 5
      resnest predict photos/ -o answers.csv --resume
      resnest predict photos/ -o answers.csv --append-new
      resnest predict photos/ -o report.html
      resnest predict photos/ -o answers.csv --calibration calibration.json --coverage 0.95
      resnest predict photos/ -o answers.csv --precision int8 --calibrate photos/
      resnest predict - --model digits < three.png
      find photos -name '*.jpg' -print0 | resnest predict --files-from - -0
    """
    from resnest_cli.tasks.predict import Classifier

    output, watch = target.output, inputs.watch() if target.watch else None
    found = watch.sources() if watch else inputs.find()
    if calibrate:
        from resnest_cli.tasks.quantize import cached

        options = cached.ensure(options, calibrate, inputs.exclude)
    kind = named(format, output)
    options = replace(options, thumbnails=kind.name == "html")
    is_live = target.watch or inputs.are_live
    follow = jobs.following(view, inputs, "classifying", target, table=kind is TABLE)
    with (
        target.open(kind, watch.hold if watch else None) as out,
        Classifier(options, many=inputs.may_be_many, live=is_live, runner=target.runner) as classifier,
    ):
        view.say(classifier.words("answers"))
        if used := classifier.calibrated:
            view.say(f"calibrated by {used.path}, coverage {options.coverage:g}")
        view.detail(f"class names: {classifier.labels.source}")
        summary = classifier.write_to(
            out, found, topk=topk, threshold=threshold, max_failures=target.max_failures, follow=follow
        )
        hint = classifier.hint(summary)
    if hint:
        view.say(hint)
    return jobs.ended(view, summary)
