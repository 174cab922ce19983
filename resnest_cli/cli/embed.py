"""`resnest embed`: pooled features of pictures, as a file or as JSON lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from resnest_cli.cli.help import Command
from resnest_cli.cli.inputs import input_options
from resnest_cli.cli.jobs import ended, following, open_output, opened
from resnest_cli.cli.options import OVERWRITE_FILE, RESUME, feature_options, max_failures_option, ray_options
from resnest_cli.cli.parameters import OutputPath

if TYPE_CHECKING:
    from pathlib import Path

    from resnest_cli.cli.view import View
    from resnest_cli.inputs.named import Inputs
    from resnest_cli.options import Options
    from resnest_cli.outputs.limits import MaxFailures
    from resnest_cli.pipeline.trunk import RunnerFactory


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
@OVERWRITE_FILE
@RESUME
@max_failures_option
@ray_options
@feature_options
def embed(  # noqa: PLR0913 - one parameter per option
    *,
    inputs: Inputs,
    output: Path | str | None,
    normalize: bool,
    overwrite: bool,
    resume: bool,
    max_failures: MaxFailures | None,
    runner: RunnerFactory | None,
    options: Options,
    view: View,
) -> None:
    """Compute the pooled features of images.

    The features are what the network knows before it decides on a class. INPUT is as for predict. Row i belongs to
    input i: a failed input has a row of NaN (null in Parquet and JSON), its error beside it, and the exit code is 3.

    FILE.npy is float32 [N, F], the paths in FILE.paths.jsonl; FILE.parquet and FILE.jsonl hold paths and features.
    Whatever stops the job, the same command with --resume continues it. `resnest similar` searches the file.

    \b
    Examples:
      resnest embed photos/ -o photos.npy
      resnest embed dog.jpg | jq .embedding
    """  # noqa: D301 - \b is click's mark of a paragraph that stays as it is
    from resnest_cli.outputs import features
    from resnest_cli.tasks.embed import Embedder

    found = inputs.find()
    format = features.JSONL if output is None or isinstance(output, str) else features.named(output)
    with (
        open_output(output, format, runner, overwrite=overwrite, resume=resume) as out,
        Embedder(options, normalize=normalize, runner=runner) as embedder,
    ):
        view.say(opened(embedder, "features"))
        follow = following(view, inputs, "embedding", output)
        summary = embedder.write_to(out, found, max_failures=max_failures, follow=follow)
    ended(view, summary)
