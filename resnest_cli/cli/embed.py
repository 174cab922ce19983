"""`resnest embed`: pooled features of pictures, as a file or as JSON lines."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from resnest_cli.cli.help import Command
from resnest_cli.cli.inputs import input_options
from resnest_cli.cli.notes import ended, opened
from resnest_cli.cli.options import feature_options, max_failures_option, ray_options
from resnest_cli.cli.parameters import OutputPath
from resnest_cli.errors import ExitCode, UsageError
from resnest_cli.outputs.rows import About
from resnest_cli.outputs.summary import Summary, complete
from resnest_cli.text.terminal import rows as shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from resnest_cli.cli.view import View
    from resnest_cli.inputs.named import Inputs
    from resnest_cli.options import Options
    from resnest_cli.outputs.limits import MaxFailures
    from resnest_cli.outputs.resumable import Output
    from resnest_cli.outputs.streams import Stream
    from resnest_cli.pipeline.trunk import Opener
    from resnest_cli.types import Failure, Source


@click.command(cls=Command)
@input_options
@click.option(
    "-o",
    "--output",
    type=OutputPath(folders=True),
    metavar="FILE",
    help="Ends in .npy, .parquet or .jsonl, with --ray also in /; without it JSON lines go to stdout.",
)
@click.option("--normalize", is_flag=True, help="Scale each row to length 1 (L2).")
@click.option("--overwrite", is_flag=True, help="Replace an output file that exists.")
@click.option("--resume", is_flag=True, help="Continue the job that was stopped while it wrote that file.")
@max_failures_option
@ray_options
@feature_options
def embed(  # noqa: PLR0913 - one parameter an option
    *,
    inputs: Inputs,
    output: Path | str | None,
    normalize: bool,
    overwrite: bool,
    resume: bool,
    most: MaxFailures,
    elsewhere: Opener | None,
    options: Options,
    view: View,
) -> None:
    """Compute the pooled features of images.

    That is what the network knows before it decides on a class. INPUT is as for predict. Row i belongs to input i: one
    that fails has a row of NaN (null in Parquet and JSON), its error beside it, and the exit code is 3.

    FILE.npy is float32 [N, F], the paths in FILE.paths.jsonl; FILE.parquet and FILE.jsonl hold paths and features.
    A job that was stopped continues with --resume, and ends with the file that it would have been. `resnest similar`
    searches the file.

    \b
    Examples:
      resnest embed photos/ -o photos.npy
      resnest embed dog.jpg | jq .embedding
    """  # noqa: D301 - \b is click's mark of a paragraph that stays as it is
    from resnest_cli.engines.base import batch_size
    from resnest_cli.outputs import features
    from resnest_cli.system import files
    from resnest_cli.tasks.embed import Embedder

    found = inputs.find()
    if isinstance(output, str):
        how = {"overwrite": overwrite, "resume": resume, "total": inputs.count(), "most": most}
        _to_folder(output, found, elsewhere, options, view, normalize=normalize, **how)
        return
    summary = Summary(most=most)
    with (
        _open(output, overwrite=overwrite, resume=resume) as out,
        Embedder(options, normalize=normalize, elsewhere=elsewhere) as embedder,
    ):
        view.say(opened(embedder, "features"))
        summary.stages = embedder.trunk.stages
        out.begin(About(0, embedder.facts), embedder.fingerprint, batch_size(options, embedder.engine))
        if (
            output is not None and output.suffix == ".jsonl" and not out.complete
        ):  # it is there from now on, and so are its facts
            with files.as_output_error(output):
                features.write_facts(output, embedder.facts)
        rows = summary.watch(embedder.embed(out.rest(found, summary.count)))
        if view.has_bar(rows_on_stdout=output is None):
            rows = view.follow(rows, inputs.count(out.done), "embedding")
        out.write(map(features.to_row, rows))
        with summary.stages.clock("write"):
            out.finish()
    if out.complete:
        view.say(complete(out.done))
    else:
        ended(view, summary, out.done, output)
    if summary.failed:
        click.get_current_context().exit(ExitCode.SOME_FAILED)


def _to_folder(  # noqa: PLR0913 - as the command
    output: str,
    found: Iterator[Source | Failure],
    elsewhere: Opener | None,
    options: Options,
    view: View,
    *,
    normalize: bool,
    **how: Any,  # noqa: ANN401 - as `folders.write` has it
) -> None:
    """Let a cluster write the features."""
    from resnest_cli.cli import folders
    from resnest_cli.cluster.folder import Folder, Tables, features
    from resnest_cli.tasks.embed import Embedder

    folders.require_cluster(output, elsewhere)
    with Embedder(options, normalize=normalize, elsewhere=elsewhere) as embedder:
        view.say(opened(embedder, "features"))
        make, folder = Tables(partial(features, normalize)), Folder.at(output, embedder.facts)
        folders.write(folder, embedder.trunk, found, make, fingerprint=embedder.fingerprint, view=view, **how)


def _open(output: Path | None, *, overwrite: bool, resume: bool) -> AbstractContextManager[Output | Stream]:
    """Open what rows go to: a file that can be resumed, or a stream of JSON lines."""
    from resnest_cli.outputs import features, resumable, streams

    if resume and (overwrite or output is None):
        message = "--resume goes on with a file: give it with -o FILE, and not with --overwrite."
        raise UsageError(message)
    if output is None:
        return streams.stream(None, shown(features.JSONL.write), overwrite=overwrite)
    lines, compose = features.layout(output)
    others = features.companions(output)
    return resumable.Output(output, lines, compose, companions=others, overwrite=overwrite, resume=resume)
