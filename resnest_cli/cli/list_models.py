"""`resnest list-models`: the eight variants, what they cost and what they reach."""

from __future__ import annotations

import json
import sys
from fnmatch import fnmatch
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import click

from resnest_cli.cli.help import Command
from resnest_cli.cli.options import format_option
from resnest_cli.errors import UnknownModel
from resnest_cli.text import cells
from resnest_cli.text.terminal import data

if TYPE_CHECKING:
    from resnest_cli.types import ModelSpec

FORMATS = ("table", "json", "csv")
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
@format_option(FORMATS, "table")
@click.option("--sort", type=click.Choice([*COLUMNS.values()]), help="Order by this column; names go up, numbers down.")
def list_models(*, pattern: str, format: str, sort: str | None) -> None:
    """List the ResNeSt variants.

    PATTERN is part of a name, or has * and ? in it; without one all are listed. Accuracy is on ImageNet-1k as timm
    measured it; MB are to download, with ~ computed, as nobody published them; GMACs are counted for one image at the
    variant's own size. The table is in the order of the family; json and csv hold every published fact.
    """
    from resnest_cli.models import catalog

    try:
        rows = [row_of(spec) for spec in catalog.list_models(pattern)]
    except UnknownModel:
        if not fnmatch("digits", f"*{pattern.lower()}*"):
            raise
        rows = [_digits()]
    if sort:
        rows.sort(key=_megabytes if sort == "megabytes" else itemgetter(sort), reverse=sort != "name")
    if format == "json":
        data(json.dumps(rows, indent=1) + "\n")
    elif format == "csv":
        _write_csv(rows)
    else:
        _print_table(rows)


def row_of(spec: ModelSpec) -> dict[str, Any]:
    """Return all published facts of a variant, and whether its weights are in the cache (None: it may not be read)."""
    from resnest_cli.models import weights

    size = spec.facts["checkpoint_bytes"]
    return {**spec.facts, "megabytes": size and round(size / 1e6), "cached": weights.is_cached(spec)}


def _digits() -> dict[str, Any]:
    """Return a row of the embedded model, which has no published facts."""
    from resnest_cli.models import catalog, weights

    spec = catalog.find_model("digits")
    known = {"name": spec.name, "input_size": spec.data.input_size[1], "crop_pct": spec.data.crop_pct}
    size = {"num_classes": spec.num_classes, "megabytes": round(weights.locate(spec).stat().st_size / 1e6)}
    unknown = dict.fromkeys(catalog.list_models()[0].facts)
    return {**unknown, **known, **size, "cached": True}


def _write_csv(rows: list[dict[str, Any]]) -> None:
    """Write plain columns; the nested recipe is left to json and `resnest show`."""
    names = [name for name, value in rows[0].items() if not isinstance(value, dict)]
    values = ([row[name] for name in names] for row in rows)
    data(cells.table([names, *([" ".join(map(str, v)) if isinstance(v, list) else v for v in row] for row in values)]))


def _print_table(rows: list[dict[str, Any]]) -> None:
    from resnest_cli.cli.output import console, table

    shown = [[_cell(key, row) for key in COLUMNS.values()] for row in rows]
    console(sys.stdout).print(table(list(COLUMNS), shown, numeric=range(1, len(COLUMNS) - 1)))


def _megabytes(row: dict[str, Any]) -> int:
    """Return a size to go by: where none is published, that of the parameters in float32."""
    return int(row["megabytes"] or round(row["params"] * 4 / 1e6))


def _cell(key: str, row: dict[str, Any]) -> str:
    value = row[key]
    if key == "megabytes" and value is None:
        return f"~{_megabytes(row)}"
    if key == "cached":
        return {True: "yes", False: "no"}.get(value, "unknown")
    if value is None:
        return ""
    if key == "params":
        return f"{value / 1e6:.1f}"
    return f"{value:.2f}" if key in {"gmacs", "top1_timm", "top5_timm"} else str(value)
