"""`resnest list-models`: the eight variants, what they cost and what they reach."""

from __future__ import annotations

import csv
import io
import json
import sys
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import click

from resnest_cli.cli.help import Command
from resnest_cli.cli.options import format_option
from resnest_cli.cli.text import data, put

if TYPE_CHECKING:
    from resnest_cli.types import ModelSpec

FORMATS = ("table", "json", "csv")
# Heading in the table -> key in a row; --sort takes the keys.
COLUMNS = {
    "model": "name",
    "params M": "params",
    "GMACs": "gmacs",
    "size": "input_size",
    "crop": "crop_pct",
    "top-1 %": "top1_timm",
    "top-5 %": "top5_timm",
    "cached": "cached",
}


@click.command("list-models", cls=Command)
@click.argument("pattern", default="")
@format_option(FORMATS, "table")
@click.option("--sort", type=click.Choice([*COLUMNS.values()]), help="Order by this column; names go up, numbers down.")
def list_models(*, pattern: str, format: str, sort: str | None) -> None:
    """List the ResNeSt variants.

    PATTERN is part of a name, or has * and ? in it; without one all are listed. Accuracy is on ImageNet-1k as timm
    measured it; GMACs are counted for one image at the variant's own size. The table is in the order of the family;
    json and csv hold every published fact.
    """
    from resnest_cli import catalog

    rows = [row_of(spec) for spec in catalog.list_models(pattern)]
    if sort:
        rows.sort(key=itemgetter(sort), reverse=sort != "name")
    if format == "json":
        put(json.dumps(rows, indent=1))
    elif format == "csv":
        _write_csv(rows)
    else:
        _print_table(rows)


def row_of(spec: ModelSpec) -> dict[str, Any]:
    """Give every published fact of a variant, and whether its weights are in the cache (None: it may not be read)."""
    from resnest_cli import weights

    return {**spec.facts, "cached": weights.is_cached(spec)}


def _write_csv(rows: list[dict[str, Any]]) -> None:
    """Write plain columns; the nested recipe is left to json and `resnest show`."""
    names = [name for name, value in rows[0].items() if not isinstance(value, dict)]
    text = io.StringIO()
    table = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow({k: " ".join(map(str, v)) if isinstance(v, list) else v for k, v in row.items()})
    data(text.getvalue())


def _print_table(rows: list[dict[str, Any]]) -> None:
    from resnest_cli.cli.output import console, table

    cells = [[_cell(key, row[key]) for key in COLUMNS.values()] for row in rows]
    console(sys.stdout).print(table(list(COLUMNS), cells, numeric=range(1, len(COLUMNS) - 1)))


def _cell(key: str, value: Any) -> str:  # noqa: ANN401 - whatever the column holds
    if key == "params":
        return f"{value / 1e6:.1f}"
    if key == "cached":
        return {True: "yes", False: "no"}.get(value, "unknown")
    return f"{value:.2f}" if key in {"gmacs", "top1_timm", "top5_timm"} else str(value)
