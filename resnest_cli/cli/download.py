"""`resnest download`: weights and class names ahead of time, and whether what is kept is whole."""

from __future__ import annotations

import json
import sys
from textwrap import indent
from typing import TYPE_CHECKING, Any

import click

from resnest_cli.cli.help import Command
from resnest_cli.cli.options import format_option, view_options
from resnest_cli.cli.parameters import ModelName
from resnest_cli.cli.view import VERBOSE, View
from resnest_cli.errors import ExitCode, UsageError
from resnest_cli.text.terminal import data, put

if TYPE_CHECKING:
    from resnest_cli.cli.output import DownloadBar
    from resnest_cli.tasks.download import Item


@click.command(cls=Command)
@click.argument("models", nargs=-1, type=ModelName(), metavar="[MODEL]...")
@click.option("--all", is_flag=True, help="All eight variants (1.4 GB).")
@click.option("--verify", is_flag=True, help="Fetch nothing: hash again what is there.")
@format_option(("table", "json"), "table")
@view_options
def download(  # noqa: PLR0913 - one parameter an option
    *, models: tuple[str, ...], all: bool, verify: bool, format: str, quiet: bool, verbose: bool, no_progress: bool
) -> None:
    """Fetch weights and class names ahead of time.

    MODEL is a variant or hf-hub:OWNER/REPO. Afterwards everything works offline, without a request. A download that
    was cut is taken up where it ended, and each file's hash is checked. What is there already is hashed again, and
    fetched anew if it is damaged. If the hub cannot be reached, the checkpoint that the model card names is taken.

    --verify without a MODEL checks every variant that is there.

    \b
    Examples:
      resnest download resnest50d resnest101e
      resnest download --verify
    """  # noqa: D301 - \b is click's mark of a paragraph that stays as it is
    from resnest_cli.tasks import download as task

    click.get_current_context().meta[VERBOSE] = verbose
    view = View(quiet=quiet, progress=not (quiet or no_progress))
    names = _names(models, all=all, verify=verify)
    bar = _bar(view)
    items = task.verify(names) if verify else task.fetch(names, bar.follow if bar else task.no_progress)
    done = [_said(item, bar, format) for item in items]
    if format == "json":
        data(json.dumps([_row(item) for item in done], indent=1) + "\n")
    if any(item.state in task.BAD for item in done):
        click.get_current_context().exit(ExitCode.FAILED)


def _names(models: tuple[str, ...], *, all: bool, verify: bool) -> list[str]:
    from resnest_cli.models import catalog, weights

    variants = [spec.name for spec in catalog.list_models() if all or (verify and weights.is_cached(spec))]
    if not (models or all or verify):
        message = "name a MODEL, or use --all: `resnest list-models` shows the variants."
        raise UsageError(message)
    return [*models, *(name for name in variants if (all or not models) and name not in models)]


def _bar(view: View) -> DownloadBar | None:
    if not view.has_bar():
        return None
    from resnest_cli.cli.output import DownloadBar, console

    return DownloadBar(console(sys.stderr))


def _said(item: Item, bar: DownloadBar | None, format: str) -> Item:
    """Print one item as soon as it is done."""
    if bar:
        bar.stop()
    if format == "table":
        size = f"{item.bytes / 1e6:8.1f} MB" if item.path else ""
        put(f"{item.model:<18}  {item.state:<10}  {size:11}  {item.path or ''}".rstrip())
        if item.note:
            put(indent(item.note, "    "))
    return item


def _row(item: Item) -> dict[str, Any]:
    path = str(item.path) if item.path else None
    return {"model": item.model, "state": item.state, "path": path, "bytes": item.bytes, "note": item.note}
