"""`resnest list-models`: the eight variants, their cost and their accuracy."""

from __future__ import annotations

import click

from resnest_cli.cli.help import Command
from resnest_cli.cli.options import format_option
from resnest_cli.text.layout import put_table
from resnest_cli.text.terminal import data, put_json

# Heading in the table -> key in a row; --sort takes the keys.
COLUMNS = {
    "model": "name",
    "MB": "megabytes",
    "params M": "params",
    "GMACs": "gmacs",
    "px": "input_size",
    "crop": "crop_pct",
    "top-1 %": "top1_timm",
    "top-5 %": "top5_timm",
    "cached": "cached",
}


@click.command("list-models", cls=Command)
@click.argument("pattern", default="")
@format_option(("table", "json", "csv"), "table")
@click.option(
    "--sort", type=click.Choice([*COLUMNS.values()]), help="Sort by this column: names ascending, numbers descending."
)
def list_models(*, pattern: str, format: str, sort: str | None) -> None:
    """List the ResNeSt variants.

    PATTERN is part of a name, or has * and ? in it; without it all are listed. Accuracy is on ImageNet-1k, as timm
    measured it. MB are the download; ~ marks a computed size, where none is published. GMACs are per image at the
    variant's own size. The table is in the order of the family; json and csv hold every published fact.
    """
    from resnest_cli.models import facts

    rows = facts.rows(pattern, sort)
    if format == "json":
        put_json(rows)
    elif format == "csv":
        data(facts.rows_csv(rows))
    else:
        cells = [[facts.cell(key, row) for key in COLUMNS.values()] for row in rows]
        put_table(list(COLUMNS), cells, numeric=range(1, len(COLUMNS) - 1))
