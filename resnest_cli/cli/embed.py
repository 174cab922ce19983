"""`resnest embed`: pooled features of pictures, as a file or as JSON lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from resnest_cli.cli import options as shared
from resnest_cli.cli.jobs import Target, ended, following
from resnest_cli.cli.parameters import OutputPath
from resnest_cli.options import Options

if TYPE_CHECKING:
    from resnest_cli.cli.view import View
    from resnest_cli.errors import ExitCode
    from resnest_cli.inputs.named import Inputs
    from resnest_cli.outputs.limits import MaxFailures
    from resnest_cli.pipeline.trunk import RunnerFactory


@shared.command(
    *shared.INPUTS,
    click.option(
        *("-o", "--output"),
        type=OutputPath(folders=True),
        metavar="FILE",
        help="Ends in .npy, .parquet or .jsonl, with --ray also in /; without it JSON lines go to stdout.",
    ),
    click.option("--normalize", is_flag=True, help="Scale each row to length 1 (L2)."),
    shared.OVERWRITE_FILE,
    shared.RESUME,
    shared.MAX_FAILURES,
    *shared.RAY,
    *(shared.MODEL, *shared.WEIGHTS, *shared.RUN, *shared.images()),
    inputs=shared.inputs,
    runner=shared.runner,
    target=Target,
    options=Options,
)
def embed(  # noqa: PLR0913 - one parameter per option, or per group of them
    *,
    inputs: Inputs,
    target: Target,
    normalize: bool,
    max_failures: MaxFailures | None,
    runner: RunnerFactory | None,
    options: Options,
    view: View,
) -> ExitCode:
    """Compute the pooled features of images.

    The features are what the network knows before it decides on a class. INPUT is as for predict. Row i belongs to
    input i: a failed input has a row of NaN (null in Parquet and JSON), its error beside it, and the exit code is 3.

    FILE.npy is float32 [N, F], the paths in FILE.paths.jsonl; FILE.parquet and FILE.jsonl hold paths and features.
    Whatever stops the job, the same command with --resume continues it. `resnest similar` searches the file.

    Examples:
      resnest embed photos/ -o photos.npy
      resnest embed dog.jpg | jq .embedding
    """
    from resnest_cli.outputs import features
    from resnest_cli.tasks.embed import Embedder

    found = inputs.find()
    with (
        target.open(features.named(target.output), runner) as out,
        Embedder(options, normalize=normalize, runner=runner) as embedder,
    ):
        view.say(embedder.words("features"))
        follow = following(view, inputs, "embedding", target.output)
        summary = embedder.write_to(out, found, max_failures=max_failures, follow=follow)
    return ended(view, summary)
