"""`resnest download`: fetch weights and class names ahead of time, and verify them."""

from __future__ import annotations

import sys
from textwrap import indent
from typing import TYPE_CHECKING

import click

from resnest_cli.cli.help import Command
from resnest_cli.cli.options import collected, format_option
from resnest_cli.cli.parameters import ModelName
from resnest_cli.errors import ExitCode
from resnest_cli.text.terminal import put, put_json

if TYPE_CHECKING:
    from resnest_cli.cli.view import View
    from resnest_cli.tasks.download import Item


@click.command(cls=Command)
@click.argument("models", nargs=-1, type=ModelName(), metavar="[MODEL]...")
@click.option("--all", is_flag=True, help="All eight variants (1.4 GB).")
@click.option("--verify", is_flag=True, help="Fetch nothing: hash the cached files again.")
@format_option(("table", "json"), "table")
@collected()
def download(*, models: tuple[str, ...], all: bool, verify: bool, format: str, view: View) -> None:
    """Fetch weights and class names ahead of time.

    MODEL is a variant or hf-hub:OWNER/REPO. Afterwards everything works offline, without a request. An interrupted
    download resumes, and each file's hash is checked. Cached files are hashed again, and fetched again if damaged. If
    the hub cannot be reached, the checkpoint that the model card names is fetched.

    --verify without a MODEL checks every cached variant.

    \b
    Examples:
      resnest download resnest50d resnest101e
      resnest download --verify
    """  # noqa: D301 - \b is click's mark of a paragraph that stays as it is
    from resnest_cli.tasks import download as task

    names = task.models(models, all=all, verify=verify)
    bar = None
    if view.has_bar():
        from resnest_cli.cli.output import DownloadBar, console

        bar = DownloadBar(console(sys.stderr))
    done = []
    for item in task.verify(names) if verify else task.fetch(names, bar.follow if bar else task.no_progress):
        if bar:
            bar.stop()
        if format == "table":
            _put(item)
        done.append(item)
    if not names:
        view.say("no variant is cached, so there is nothing to verify. `resnest download MODEL` fetches one.")
    if format == "json":
        put_json([item.row() for item in done])
    if any(item.state in task.BAD for item in done):
        click.get_current_context().exit(ExitCode.FAILED)


def _put(item: Item) -> None:
    size = f"{item.bytes / 1e6:8.1f} MB" if item.path else ""
    put(f"{item.model:<18}  {item.state:<10}  {size:11}  {item.path or ''}".rstrip())
    if item.note:
        put(indent(item.note, "    "))
