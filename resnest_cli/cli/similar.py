"""`resnest similar`: the images of an index that look most like a query, and near-duplicates within it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from resnest_cli.cli import options as shared
from resnest_cli.cli.parameters import AnyName, AnyPath, ModelName, Number
from resnest_cli.errors import UsageError
from resnest_cli.options import Options
from resnest_cli.text.layout import put_paragraphs
from resnest_cli.text.terminal import put_json_items

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from resnest_cli.cli.view import View
    from resnest_cli.errors import ExitCode


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
    shared.format_option(("table", "json"), "table"),
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
      resnest similar --duplicates 0.95 --index photos.npy
    """
    from resnest_cli.inputs.find import find_sources
    from resnest_cli.outputs.summary import Summary
    from resnest_cli.tasks import similar as task

    if bool(queries) == (duplicates is not None):
        raise UsageError("give either images to look for, or --duplicates THRESHOLD.")
    known, summary = task.Index.open(index, options), Summary()
    is_json = format == "json"
    put: Callable[[Iterator[Any]], None] = put_json_items if is_json else put_paragraphs
    shown: Callable[[task.Item], Any] = task.row if is_json else task.words
    if duplicates is not None:
        put(map(shown, known.duplicates(duplicates)))
        return summary.exit_code
    sought = find_sources(queries, exclude=exclude)
    with known:
        view.say(known.embedder.words("features"))
        put(map(shown, summary.watch(known.answers(sought, topk, include_self=include_self))))
    if summary.failed:
        view.say(f"{summary.failed:,} {'query' if summary.failed == 1 else 'queries'} failed.")
    return summary.exit_code
