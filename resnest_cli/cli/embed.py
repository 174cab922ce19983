"""`resnest embed`: pooled features of pictures, as a file or as JSON lines."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from resnest_cli.cli.options import Place, View, feature_options, ray_options
from resnest_cli.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from resnest_cli.embed import Embedder
    from resnest_cli.features import FeatureFile, FeatureStream
    from resnest_cli.options import Options
    from resnest_cli.stream import Row
    from resnest_cli.trunk import Opener
    from resnest_cli.types import Failure, Source


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option(
    "-o",
    "--output",
    type=Place(),
    metavar="FILE",
    help="Ends in .npy, .parquet or .jsonl, with --ray also in /; without it JSON lines go to stdout.",
)
@click.option("--normalize", is_flag=True, help="Scale each row to length 1 (L2).")
@click.option("--resume", is_flag=True, help="Go on with what an interrupted run left.")
@click.option("--overwrite", is_flag=True, help="Replace an output file that exists.")
@click.option("--recursive/--no-recursive", default=True, show_default=True, help="Look into folders of folders.")
@ray_options
@feature_options
def embed(  # noqa: PLR0913 - one parameter an option
    *,
    inputs: tuple[str, ...],
    output: Path | str | None,
    normalize: bool,
    resume: bool,
    overwrite: bool,
    recursive: bool,
    elsewhere: Opener | None,
    options: Options,
    view: View,
) -> None:
    """Give the pooled features of images.

    That is what the network knows before it decides on a class. INPUT is as for predict. Row i belongs to input i: one
    that fails has a row of NaN (null in Parquet and JSON), its error beside it, and the exit code is 1.

    FILE.npy is float32 [N, F], the paths in FILE.paths.jsonl; FILE.parquet and FILE.jsonl hold paths and features.
    An interrupted run goes on with --resume, and ends with the file that it would have been. `resnest similar`
    searches the file.

    \b
    Examples:
      resnest embed photos/ -o photos.npy
      resnest embed dog.jpg | jq .embedding
    """  # noqa: D301 - \b is click's mark of a paragraph that stays as it is
    from resnest_cli.embed import Embedder
    from resnest_cli.sources import count, find

    if resume and (overwrite or output is None):
        message = "--resume goes on with a file: give it with -o FILE, and not with --overwrite."
        raise UsageError(message)
    if isinstance(output, str):
        how = {"overwrite": overwrite, "resume": resume, "total": count(find(inputs, recursive=recursive))}
        _to_folder(output, find(inputs, recursive=recursive), elsewhere, options, view, normalize=normalize, **how)
        return
    with (
        Embedder(options, normalize=normalize, elsewhere=elsewhere) as embedder,
        _open(output, embedder, resume=resume, overwrite=overwrite) as file,
    ):
        view.say(describe(embedder))
        rest = file.remaining(find(inputs, recursive=recursive))
        rows = embedder.embed(rest)
        if view.progress and sys.stderr.isatty():
            rows = _with_bar(rows, count(find(inputs, recursive=recursive), file.done))
        for item in rows:
            file.write(item)
        file.finish()
    if file.failed:
        view.say(f"{file.failed} of {file.done} inputs failed.")
        click.get_current_context().exit(ExitCode.FAILED)


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
    from resnest_cli.embed import Embedder
    from resnest_cli.ray_data.shards import Folder, Tables, features

    folders.require_cluster(output, elsewhere)
    with Embedder(options, normalize=normalize, elsewhere=elsewhere) as embedder:
        view.say(describe(embedder))
        make, folder = Tables(partial(features, normalize)), Folder.at(output, embedder.facts)
        folders.write(folder, embedder.trunk, found, make, fingerprint=embedder.facts, view=view, **how)


def describe(embedder: Embedder) -> str:
    """Say what runs where and why."""
    engine, options = embedder.engine, embedder.options
    weights = "random weights (the features mean nothing)" if options.random_weights else options.weights
    return (
        f"{embedder.spec.name} on {engine.device} ({engine.reason}), {engine.name} {engine.precision}, "
        f"{weights or 'its own weights'}"
    )


def _open(output: Path | None, embedder: Embedder, *, resume: bool, overwrite: bool) -> FeatureFile | FeatureStream:
    from resnest_cli.features import FeatureFile, FeatureStream

    if output is None:
        return FeatureStream(sys.stdout.buffer)
    return FeatureFile(output, embedder.facts, embedder.width, resume=resume, overwrite=overwrite)


def _with_bar(rows: Iterator[Row | Failure], total: Callable[[], int | None]) -> Iterator[Row | Failure]:
    from resnest_cli.cli.output import bar, console

    return bar(rows, total, "embedding", console(sys.stderr))
