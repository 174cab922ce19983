"""`resnest similar`: the images of an index that look most like a query, and near-duplicates within it."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from resnest_cli.cli import options as shared
from resnest_cli.cli.parameters import AnyName, AnyPath, ModelName, Number, OutputPath
from resnest_cli.errors import UsageError
from resnest_cli.options import Options
from resnest_cli.text.layout import put_paragraphs
from resnest_cli.text.terminal import harmless, put_json_items

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from resnest_cli.cli.view import View
    from resnest_cli.errors import ExitCode
    from resnest_cli.tasks.neighbours import Item
    from resnest_cli.tasks.similar import Index


@shared.command(
    click.argument("queries", nargs=-1, type=AnyName, metavar="QUERY..."),
    shared.EXCLUDE,
    click.option(
        "--index",
        required=True,
        type=AnyPath,
        metavar="FILE",
        help="What `resnest embed` wrote: .npy, .parquet, .jsonl or .csv.",
    ),
    click.option("-k", "--topk", default=10, show_default=True, type=click.IntRange(1), help="Images per query."),
    click.option("--include-self", is_flag=True, help="Keep the query itself, if the index has its path."),
    click.option(
        "--duplicates",
        type=Number(-1, 1),
        metavar="THRESHOLD",
        help="Instead, list groups within the index, any two images of each at least so similar.",
    ),
    shared.format_option(("table", "json", "html"), "table"),
    click.option(
        "-o", "--output", type=OutputPath(), metavar="FILE.html", help="Write a page of pictures there, not to stdout."
    ),
    click.option("--overwrite", is_flag=True, help="Replace an output file that exists."),
    click.option(
        *("-m", "--model"),
        default="",
        type=ModelName(),
        metavar="MODEL",
        help="Where the index's model is now, if it moved.",
    ),
    # The index has precision and size.
    *(shared.WEIGHTS_FILE, shared.DEVICE, shared.ENGINE, shared.BATCH, shared.WORKERS),
    options=Options,
)
def similar(  # noqa: PLR0913 - one parameter per option
    *,
    queries: tuple[str, ...],
    exclude: tuple[str, ...],
    index: Path,
    topk: int,
    include_self: bool,
    duplicates: float | None,
    format: str,
    output: Path | None,
    overwrite: bool,
    options: Options,
    view: View,
) -> ExitCode:
    """Find the images of an index that look most like others.

    QUERY is an image, a folder or a pattern; it goes through the network that the index names. Similarity is the cosine
    of the features, from -1 to 1. The search is exact: it compares with every image, which is fast enough up to about a
    million images. The query itself is left out where the index has its path; copies under other names stay.

    Examples:
      resnest embed photos/ -o photos.npy
      resnest similar dog.jpg --index photos.npy
      resnest similar photos/ --index photos.npy -o near.html
      resnest similar --duplicates 0.95 --index photos.npy
    """
    from resnest_cli.inputs.find import find_sources
    from resnest_cli.outputs import saving
    from resnest_cli.outputs.summary import Summary
    from resnest_cli.tasks.similar import Index

    if bool(queries) == (duplicates is not None):
        raise UsageError("give either images to look for, or --duplicates THRESHOLD.")
    if output:
        if output.suffix.lower() != ".html" and format != "html":
            raise UsageError(f"-o {output}: a page ends in .html; for other formats leave out -o.")
        saving.claim(output, overwrite=overwrite)
    options = replace(options, thumbnails=output is not None or format == "html")
    summary = Summary()
    with Index.open(index, options) as known:
        if duplicates is not None:
            _put(known.duplicates(duplicates), known, format, output)
        else:
            sought = find_sources(queries, exclude=exclude)
            view.say(known.embedder.words("features"))
            _put(summary.watch(known.answers(sought, topk, include_self=include_self)), known, format, output)
    if output:
        view.say(f"wrote {output}.")
    if summary.failed:
        view.say(f"{summary.failed:,} {'query' if summary.failed == 1 else 'queries'} failed.")
    return summary.exit_code


def _put(found: Iterator[Item], known: Index, format: str, output: Path | None) -> None:
    """Write what is found as a page, or print each item as it comes."""
    from resnest_cli.tasks import neighbours

    if output:
        known.write(found, output, overwrite=True)  # it was asked for
    elif format == "html":
        known.write_to(found, harmless(sys.stdout.buffer))
    elif format == "json":
        put_json_items(map(neighbours.row, found))
    else:
        put_paragraphs(map(neighbours.words, found))
