"""`resnest similar`: the images of an index that look most like a query, and near-duplicates within it."""

from __future__ import annotations

import json
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from resnest_cli.cli.help import Command
from resnest_cli.cli.options import EXCLUDE, format_option, query_options
from resnest_cli.cli.parameters import Names, Number
from resnest_cli.errors import ExitCode, UsageError
from resnest_cli.text.terminal import data

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resnest_cli.cli.view import View
    from resnest_cli.options import Options
    from resnest_cli.outputs.features import Features
    from resnest_cli.pipeline.stream import Row
    from resnest_cli.tasks.embed import Embedder
    from resnest_cli.types import Failure, Source

TOGETHER = 64  # queries that are compared in one pass over the index


@click.command(cls=Command)
@click.argument("queries", nargs=-1, type=Names(), metavar="QUERY...")
@EXCLUDE
@click.option(
    "--index",
    required=True,
    type=click.Path(path_type=Path),
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
def similar(  # noqa: PLR0913 - one parameter an option
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

    QUERY is an image, a folder or a pattern; it goes through the very network that the index names. Similarity is the
    cosine of the features, from -1 to 1. The search is exact: it compares with every image, which is fast enough up to
    about a million.

    \b
    Examples:
      resnest embed photos/ -o photos.npy
      resnest similar dog.jpg --index photos.npy
      resnest similar --duplicates 0.95 --index photos.npy
    """  # noqa: D301 - \b is click's mark of a paragraph that stays as it is
    from resnest_cli.inputs.find import find_sources
    from resnest_cli.outputs import features

    if bool(queries) == (duplicates is not None):
        message = "give either images to look for, or --duplicates THRESHOLD."
        raise UsageError(message)
    known = features.read(index)
    sought = find_sources(queries, exclude=exclude)
    found = _groups(known, duplicates) if duplicates is not None else _search(known, sought, topk, options, view)
    failed = (_dump if format == "json" else _print)(found)
    if failed:
        view.say(f"{failed:,} {'query' if failed == 1 else 'queries'} failed.")
        click.get_current_context().exit(ExitCode.SOME_FAILED)


def _search(
    known: Features, queries: Iterator[Source | Failure], topk: int, options: Options, view: View
) -> Iterator[dict[str, Any]]:
    from resnest_cli.cli.notes import opened
    from resnest_cli.tasks.embed import Embedder, options_of

    with Embedder(options_of(known.facts, options)) as embedder:
        _check(embedder, known)
        view.say(opened(embedder, "features"))
        rows = embedder.embed(queries)
        while some := list(islice(rows, TOGETHER)):
            yield from _answers(known, some, topk)


def _check(embedder: Embedder, known: Features) -> None:
    """Refuse to compare features of two networks.

    Raises:
        UsageError: the model is not the one that the index was made with.
    """
    for key in ("architecture", "weights_sha256", "width"):
        if embedder.facts[key] != known.facts.get(key):
            message = (
                f"the index was made with another model: its {key} is {known.facts.get(key)}, that of "
                f"{embedder.spec.name} is {embedder.facts[key]}. Name the index's with --model or --weights."
            )
            raise UsageError(message)


def _answers(known: Features, rows: Sequence[Row | Failure], topk: int) -> Iterator[dict[str, Any]]:
    """Answer some queries with one pass over the index."""
    from resnest_cli.outputs.rows import error_of
    from resnest_cli.tasks.cosine import nearest
    from resnest_cli.types import Failure

    good = [row.values for row in rows if not isinstance(row, Failure)]
    found = iter(nearest(known.values, good, topk))
    for row in rows:
        if isinstance(row, Failure):
            yield {"path": row.path, "status": row.status, "neighbours": []} | error_of(row)
            continue
        neighbours = [
            {"rank": rank, "path": known.paths[near.row], "row": near.row, "similarity": round(near.similarity, 6)}
            for rank, near in enumerate(next(found), 1)
        ]
        yield {"path": row.path, "status": "ok", "neighbours": neighbours}


def _groups(known: Features, threshold: float) -> Iterator[dict[str, Any]]:
    from resnest_cli.tasks.cosine import groups, pairs

    for group in groups(pairs(known.values, threshold)):
        rows = sorted({row for pair in group for row in (pair.first, pair.second)})
        named = [
            {"a": known.paths[pair.first], "b": known.paths[pair.second], "similarity": round(pair.similarity, 6)}
            for pair in group
        ]
        yield {"paths": [known.paths[row] for row in rows], "pairs": named}


def _dump(found: Iterator[dict[str, Any]]) -> int:
    """Print one JSON array, item by item; count the failures."""
    failed, separator = 0, "[\n"
    for item in found:
        failed += "error" in item
        data(separator + json.dumps(item))
        separator = ",\n"
    data("[]\n" if separator == "[\n" else "\n]\n")
    return failed


def _print(found: Iterator[dict[str, Any]]) -> int:
    """Print each item: what it is about, and a line for each image; count the failures."""
    from resnest_cli.cli.output import Shown, console

    failed, out = 0, console(sys.stdout)
    for item in found:
        failed += "error" in item
        title, *lines = _group_lines(item) if "pairs" in item else _answer_lines(item)
        out.print(Shown(title, "bold"), soft_wrap=True)
        for line in lines:
            out.print(Shown(line), soft_wrap=True)
    return failed


def _group_lines(group: dict[str, Any]) -> list[str]:
    least = min(pair["similarity"] for pair in group["pairs"])
    return [f"{len(group['paths'])} images, {least:.4f} or more alike", *(f"    {path}" for path in group["paths"])]


def _answer_lines(answer: dict[str, Any]) -> list[str]:
    if "error" in answer:
        return [answer["path"], f"    {answer['error']['type']}: {answer['error']['message']}"]
    near = [f"{near['rank']:>3}  {near['similarity']:7.4f}  {near['path']}" for near in answer["neighbours"]]
    return [answer["path"], *near]
