"""`resnest cache`: what our own cache keeps, and how to be rid of it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from resnest_cli.cli.options import format_option
from resnest_cli.text.terminal import data, put

if TYPE_CHECKING:
    from pathlib import Path


@click.group()
def cache() -> None:
    """Show or clear what is kept for later.

    That is converted graphs and the list of class names. Downloaded weights are not here: they are in the Hugging Face
    cache, where `hf cache` manages them.
    """


@cache.command()
def path() -> None:
    """Print the cache folder."""
    from resnest_cli.system import cache as store

    data(f"{store.folder()}\n")


@cache.command("list")
@format_option(("table", "json"), "table")
def list_(*, format: str) -> None:
    """List what is kept, with sizes."""
    from resnest_cli.system import cache as store

    rows = [_row(item) for item in store.items()]
    if format == "json":
        data(json.dumps(rows, indent=1) + "\n")
        return
    from resnest_cli.cli.output import console, table

    cells = [[row["name"], row["model"], row["want"], f"{row['bytes'] / 1e6:.1f}"] for row in rows]
    cells.append(["", "", "in all", f"{sum(row['bytes'] for row in rows) / 1e6:.1f}"])
    console(sys.stdout).print(table(["name", "model", "gives", "MB"], cells, numeric=[3]))


@cache.command()
def clear() -> None:
    """Remove everything that is kept; it is made again when it is needed."""
    from resnest_cli.system import cache as store

    items = store.items()
    freed = sum(store.size(item) for item in items)
    for item in items:
        store.remove(item)
    put(f"removed {len(items)} items, {freed / 1e6:.1f} MB, from {store.folder()}")


def _row(item: Path) -> dict[str, Any]:
    from resnest_cli.models import graphs
    from resnest_cli.system import cache as store

    facts = graphs.describe(item.name)
    known = {key: facts.get(key, "") for key in ("model", "want")}
    return {"name": item.name, **known, "bytes": store.size(item), "path": str(item)}
