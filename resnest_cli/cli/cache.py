"""`resnest cache`: list and clear our own cache."""

from __future__ import annotations

import click

from resnest_cli.cli.options import format_option
from resnest_cli.text.layout import put_table
from resnest_cli.text.terminal import data, put, put_json


@click.group()
def cache() -> None:
    """Show or clear the cache.

    It holds graphs of networks and the list of class names. Downloaded weights are in the Hugging Face cache, which
    `hf cache` manages.
    """


@cache.command()
def path() -> None:
    """Print the cache folder."""
    from resnest_cli.system import cache as store

    data(f"{store.folder()}\n")


@cache.command("list")
@format_option(("table", "json"), "table")
def list_(*, format: str) -> None:
    """List the cached items, with sizes."""
    from resnest_cli.models import graphs

    rows = graphs.kept()
    if format == "json":
        put_json(rows)
        return
    put_table(graphs.COLUMNS, graphs.in_cells(rows), numeric=[3])


@cache.command()
def clear() -> None:
    """Remove all cached items; they are made again when needed."""
    from resnest_cli.system import cache as store

    count, freed = store.clear()
    put(f"removed {count} items, {freed / 1e6:.1f} MB, from {store.folder()}")
