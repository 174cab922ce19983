"""`resnest similar`: the images of an index that look most like a query, and near-duplicates within it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from resnest_cli.cli.help import Command
from resnest_cli.cli.jobs import opened
from resnest_cli.cli.options import EXCLUDE, format_option, query_options
from resnest_cli.cli.parameters import AnyPath, Names, Number
from resnest_cli.errors import ExitCode, UsageError
from resnest_cli.outputs.rows import error_of
from resnest_cli.text.terminal import data
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from resnest_cli.cli.view import View
    from resnest_cli.options import Options
    from resnest_cli.tasks.similar import Answer, Group

    Item: TypeAlias = Answer | Group | Failure


@click.command(cls=Command)
@click.argument("queries", nargs=-1, type=Names(), metavar="QUERY...")
@EXCLUDE
@click.option(
    "--index",
    required=True,
    type=AnyPath,
    metavar="FILE",
    help="What `resnest embed` wrote: .npy, .parquet or .jsonl.",
)
@click.option("-k", "--topk", default=10, show_default=True, type=click.IntRange(1), help="Images per query.")
@click.option(
    "--duplicates",
    type=Number(-1, 1),
    metavar="THRESHOLD",
    help="Instead, list groups within the index, any two images of each at least so similar.",
)
@format_option(("table", "json"), "table")
@query_options
def similar(  # noqa: PLR0913 - one parameter per option
    *,
    queries: tuple[str, ...],
    exclude: tuple[str, ...],
    index: Path,
    topk: int,
    duplicates: float | None,
    format: str,
    options: Options,
    view: View,
) -> None:
    """Find the images of an index that look most like others.

    QUERY is an image, a folder or a pattern; it goes through the network that the index names. Similarity is the cosine
    of the features, from -1 to 1. The search is exact: it compares with every image, which is fast enough up to about a
    million images.

    \b
    Examples:
      resnest embed photos/ -o photos.npy
      resnest similar dog.jpg --index photos.npy
      resnest similar --duplicates 0.95 --index photos.npy
    """  # noqa: D301 - \b is click's mark of a paragraph that stays as it is
    from resnest_cli.inputs.find import find_sources
    from resnest_cli.outputs.index import read
    from resnest_cli.tasks import similar

    if bool(queries) == (duplicates is not None):
        raise UsageError("give either images to look for, or --duplicates THRESHOLD.")
    known, show = read(index), _dump if format == "json" else _print
    if duplicates is not None:
        show(similar.duplicates(known, duplicates))
        return
    sought = find_sources(queries, exclude=exclude)
    with similar.opened(known, options) as embedder:
        view.say(opened(embedder, "features"))
        failed = show(similar.search(known, embedder, sought, topk=topk))
    if failed:
        view.say(f"{failed:,} {'query' if failed == 1 else 'queries'} failed.")
        click.get_current_context().exit(ExitCode.SOME_FAILED)


def _dump(found: Iterator[Item]) -> int:
    """Print one JSON array, item by item; return the number of failures."""
    failed, separator = 0, "[\n"
    for item in found:
        failed += isinstance(item, Failure)
        data(separator + json.dumps(_row(item)))
        separator = ",\n"
    data("[]\n" if separator == "[\n" else "\n]\n")
    return failed


def _row(item: Item) -> dict[str, Any]:
    if isinstance(item, Failure):
        return {"path": item.path, "status": item.status, "neighbours": []} | error_of(item)
    return asdict(item)


def _print(found: Iterator[Item]) -> int:
    """Print each item: what it is about, and a line for each image; return the number of failures."""
    from resnest_cli.cli.output import Shown, console

    failed, out = 0, console(sys.stdout)
    for item in found:
        failed += isinstance(item, Failure)
        title, *lines = _lines(item)
        out.print(Shown(title, "bold"), soft_wrap=True)
        for line in lines:
            out.print(Shown(line), soft_wrap=True)
    return failed


def _lines(item: Item) -> list[str]:
    from resnest_cli.tasks.similar import Group

    if isinstance(item, Failure):
        return [item.path, f"    {item.type}: {item.message}"]
    if isinstance(item, Group):
        least = min(pair.similarity for pair in item.pairs)
        return [f"{len(item.paths)} images, {least:.4f} or more alike", *(f"    {path}" for path in item.paths)]
    return [item.path, *(f"{near.rank:>3}  {near.similarity:7.4f}  {near.path}" for near in item.neighbours)]
