"""`resnest embed`: pooled features of pictures, as a file or as JSON lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from resnest_cli.cli import jobs
from resnest_cli.cli import options as shared
from resnest_cli.cli.parameters import OutputPath
from resnest_cli.options import Options

if TYPE_CHECKING:
    from resnest_cli.cli.view import View
    from resnest_cli.errors import ExitCode
    from resnest_cli.inputs.named import Inputs


@shared.command(
    *shared.INPUTS,
    click.option(
        *("-o", "--output"),
        type=OutputPath(folders=True),
        metavar="FILE",
        help="Ends in .npy, .parquet, .jsonl or .csv, with --ray also in /; without it JSON lines go to stdout.",
    ),
    click.option("--normalize", is_flag=True, help="Scale each row to length 1 (L2)."),
    *jobs.REWRITE,
    *jobs.RUN,
    *(shared.MODEL, *shared.WEIGHTS, *shared.RUN, *shared.images()),
    inputs=shared.inputs,
    target=jobs.Target,
    options=Options,
)
def embed(
    *,
    inputs: Inputs,
    target: jobs.Target,
    normalize: bool,
    options: Options,
    view: View,
) -> ExitCode:
    """Compute the pooled features of images.

    The features are what the network knows before it decides on a class. INPUT is as for predict. Row i belongs to
    input i: a failed input has a row of NaN (null in Parquet and JSON, empty in CSV), its error beside it, and the exit
    code is 3.

    FILE.npy is float32 [N, F], the paths in FILE.paths.jsonl; other files hold paths and features, CSV a column for
    each. Whatever stops the job, the same command with --resume continues it. `resnest similar` searches the file.

    Examples:
      resnest embed photos/ -o photos.npy
      resnest embed dog.jpg | jq .embedding
    """
    from resnest_cli.outputs import features
    from resnest_cli.tasks.embed import Embedder

    found = inputs.find()
    with (
        target.open(features.named(target.output)) as out,
        Embedder(
            options, normalize=normalize, many=inputs.may_be_many, live=inputs.are_live, runner=target.runner
        ) as embedder,
    ):
        view.say(embedder.words("features"))
        follow = jobs.following(view, inputs, "embedding", target)
        summary = embedder.write_to(out, found, max_failures=target.max_failures, follow=follow)
    return jobs.ended(view, summary)
