"""`resnest predict`: classify images and print or write the answers."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from resnest_cli.cli.help import Command
from resnest_cli.cli.inputs import input_options
from resnest_cli.cli.notes import ended, opened, tallied
from resnest_cli.cli.options import format_option, max_failures_option, model_options, ray_options
from resnest_cli.cli.parameters import Number, OutputPath
from resnest_cli.errors import ExitCode, UsageError
from resnest_cli.options import DEFAULT_TOPK
from resnest_cli.outputs.formats import JSONL, LINES, WRITERS, as_text, require
from resnest_cli.outputs.rows import About, to_row
from resnest_cli.outputs.summary import Summary, complete
from resnest_cli.text.terminal import rows
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from resnest_cli.cli.view import View
    from resnest_cli.inputs.named import Inputs
    from resnest_cli.options import Options
    from resnest_cli.outputs.limits import MaxFailures
    from resnest_cli.outputs.resumable import Output
    from resnest_cli.outputs.rows import Row
    from resnest_cli.outputs.streams import Stream
    from resnest_cli.pipeline.trunk import Opener
    from resnest_cli.tasks.predict import Classifier
    from resnest_cli.types import Record, Source

LONG_JOB = 200  # images, from which on a hint at a faster way is worth a line
FORMATS = ("auto", "table", *WRITERS)


@click.command(cls=Command)
@input_options
@click.option(
    "-k", "--topk", default=DEFAULT_TOPK, show_default=True, type=click.IntRange(1), help="Classes per image."
)
@click.option("--threshold", default=0.0, type=Number(0, 1), metavar="P", help="Keep classes from P on.")
@format_option(FORMATS, "auto")
@click.option(
    "-o",
    "--output",
    type=OutputPath(folders=True),
    metavar="FILE",
    help="Write there, not to stdout; with --ray also DIR/.",
)
@click.option("--overwrite", is_flag=True, help="Replace an output file that exists.")
@click.option("--resume", is_flag=True, help="Continue the job that was stopped while it wrote that file.")
@click.option(
    "--calibrate", type=click.Path(path_type=Path), metavar="DIR", help="Images to make an int8 model with, once."
)
@max_failures_option
@ray_options
@model_options
def predict(  # noqa: PLR0913 - one parameter an option
    *,
    inputs: Inputs,
    topk: int,
    threshold: float,
    format: str,
    output: Path | str | None,
    overwrite: bool,
    resume: bool,
    calibrate: Path | None,
    most: MaxFailures,
    elsewhere: Opener | None,
    options: Options,
    view: View,
) -> None:
    """Classify images.

    INPUT is a file, a folder, a glob pattern, an http(s) URL, or - for one image on standard input. Each image named
    or found gives exactly one record, in order. One that cannot be classified gives a record that says why, and the
    exit code is 3.

    The format "auto" follows the suffix of the output file; without one it is a table on a terminal and jsonl in a
    pipe. A job with an output file that was stopped, however, continues where it was with --resume.

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

    found = inputs.find()
    options = _calibrated(options, calibrate, inputs.exclude)
    if isinstance(output, str):
        _to_folder(
            output,
            found,
            format=format,
            topk=topk,
            threshold=threshold,
            elsewhere=elsewhere,
            options=options,
            view=view,
            overwrite=overwrite,
            resume=resume,
            total=inputs.count(),
            most=most,
        )
        return
    format = _settle(format, output)
    require(format)
    options = replace(options, thumbnails=format == "html")
    summary, classes = Summary(most=most), Counter[str]()
    with (
        _open(output, format, overwrite=overwrite, resume=resume) as out,
        Classifier(options, many=inputs.may_be_many, elsewhere=elsewhere) as classifier,
    ):
        view.say(opened(classifier, "answers"))
        view.detail(f"class names: {classifier.labels.source}")
        summary.stages = classifier.stages
        out.begin(*_terms(classifier, format, topk, threshold, to_file=output is not None))
        rest = out.rest(found, summary.count)
        records = tallied(summary.watch(classifier.classify(rest, topk=topk, threshold=threshold)), classes)
        on_screen = format == "table" and output is None
        if (view.progress and sys.stdout.isatty()) if on_screen else view.has_bar(rows_on_stdout=output is None):
            records = _with_bar(records, inputs.count(out.done), on_screen=on_screen)
        out.write(_rows(records, format))
        with summary.stages.clock("write"):
            out.finish()
        gains_from_bf16 = _gains_from_bf16(classifier, summary)
    if gains_from_bf16:
        view.say("hint: this CPU computes bf16 by itself: --precision bf16 is about twice as fast, and less exact.")
    if out.complete:
        view.say(complete(out.done))
    else:
        ended(view, summary, out.done, output, classes)
    if summary.failed:
        click.get_current_context().exit(ExitCode.SOME_FAILED)


def _calibrated(options: Options, calibrate: Path | None, exclude: tuple[str, ...]) -> Options:
    """Have an int8 model made with the images at `calibrate`, or find the one that was."""
    if calibrate is None:
        return options
    if options.precision != "int8":
        raise UsageError("--calibrate is for --precision int8: add that.")
    from resnest_cli.tasks.quantize import cached

    return cached.ensure(options, calibrate, exclude)


def _to_folder(  # noqa: PLR0913 - as the command
    output: str,
    found: Iterator[Source | Failure],
    *,
    format: str,
    topk: int,
    threshold: float,
    elsewhere: Opener | None,
    options: Options,
    view: View,
    **how: Any,  # noqa: ANN401 - as `folders.write` has it
) -> None:
    """Let a cluster write the answers."""
    from resnest_cli.cli import folders
    from resnest_cli.cluster.folder import Folder, Tables, predictions
    from resnest_cli.tasks.predict import Classifier

    if format not in {"auto", "parquet"}:
        raise UsageError(f"-o {output}: a folder has Parquet files; leave out -f {format}, or name a file.")
    folders.require_cluster(output, elsewhere)
    with Classifier(options, elsewhere=elsewhere) as classifier:
        view.say(opened(classifier, "answers"))
        view.detail(f"class names: {classifier.labels.source}")
        about, fingerprint, _ = _terms(classifier, "parquet", topk, threshold, to_file=True)
        make = Tables(partial(predictions, classifier.ranking(topk, threshold)))
        folder = Folder.at(output, about.facts)
        folders.write(folder, classifier.trunk, found, make, fingerprint=fingerprint, view=view, **how)


def _gains_from_bf16(classifier: Classifier, summary: Summary) -> bool:
    """Tell whether a long job in fp32 has waited for the network most of its time, on a CPU with native bf16."""
    native = "BF16" in classifier.engine.facts.get("native", ())
    waited = summary.stages.forward > summary.seconds / 2
    return native and classifier.engine.precision == "fp32" and summary.ok >= LONG_JOB and waited


def _settle(format: str, output: Path | None) -> str:
    """Decide what "auto" is: by the output's suffix, else a table for a person and JSON lines for a program."""
    if format != "auto":
        return format
    if output is None:
        return "table" if sys.stdout.isatty() else "jsonl"
    suffix = output.suffix.lower().removeprefix(".")
    if suffix not in WRITERS:
        message = f"-o {output}: its suffix names no format; add --format, or use one of .{', .'.join(WRITERS)}."
        raise UsageError(message)
    return suffix


def _with_bar(records: Iterable[Record], total: Callable[[], int | None], *, on_screen: bool) -> Iterator[Record]:
    """Follow the records with a bar: below the table where that is what stdout shows, else on stderr."""
    from resnest_cli.cli.output import bar, console

    return bar(records, total, "classifying", console(sys.stdout if on_screen else sys.stderr))


def _open(
    output: Path | None, format: str, *, overwrite: bool, resume: bool
) -> AbstractContextManager[Output | Stream]:
    """Open what rows go to: a file that can be resumed, or a stream."""
    from resnest_cli.outputs import resumable, streams

    if resume and (overwrite or output is None or format == "table"):
        what = "a table" if format == "table" else "what is there" if overwrite else "standard output"
        message = f"--resume: {what} cannot be continued; it goes with -o FILE, without --overwrite."
        raise UsageError(message)
    to_file = output is not None and not streams.is_device(output)
    if format == "parquet" and not to_file:
        message = "-f parquet: it is complete only with its end; add -o FILE."
        raise UsageError(message)
    if output is None or format == "table" or not to_file:
        return streams.stream(output, _write_table if format == "table" else rows(WRITERS[format]), overwrite=overwrite)
    lines, compose = LINES.get(format, JSONL), None if format in LINES else WRITERS[format]
    return resumable.Output(output, lines, compose, overwrite=overwrite, resume=resume)


def _terms(
    classifier: Classifier, format: str, topk: int, threshold: float, *, to_file: bool
) -> tuple[About, dict[str, Any], int]:
    """Tell an output what its rows are from: for its own metadata, for --resume, and how many a batch has."""
    from resnest_cli.engines.base import batch_size
    from resnest_cli.models import provenance

    options, engine = classifier.options, classifier.engine
    # Hashing a weights file can take a moment, which is worth it only where the hash is written down.
    facts = provenance.identity(classifier.spec, options, engine) if to_file or format == "html" else {}
    settings = {
        "labels": provenance.names_sha256(classifier.labels),
        "topk": topk,
        "threshold": threshold,
        "format": format,
    }
    about = About(classifier.columns(topk), {**facts, "versions": provenance.versions(engine)})
    return about, {**facts, **settings}, batch_size(options, engine)


def _rows(records: Iterable[Record], format: str) -> Iterable[Any]:
    """Return records in the form that the format's writer takes."""
    if format == "table":
        return records
    if format != "html":
        return map(to_row, records)

    def with_picture(record: Record) -> Row:
        return to_row(record) | {"thumbnail": "" if isinstance(record, Failure) else record.thumbnail}

    return map(with_picture, records)


def _write_table(records: Iterable[Any], out: IO[bytes], about: About) -> None:
    from resnest_cli.cli.answers import print_records
    from resnest_cli.cli.output import console

    with nullcontext(sys.stdout) if out is sys.stdout.buffer else as_text(out) as text:
        print_records(records, console(text), single=about.topk == 1)
