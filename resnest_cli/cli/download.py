"""`resnest download`: fetch weights and class names ahead of time, and verify them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from resnest_cli.cli.options import command, format_option
from resnest_cli.cli.parameters import ModelName
from resnest_cli.errors import ExitCode
from resnest_cli.text.terminal import put, put_json

if TYPE_CHECKING:
    from resnest_cli.cli.view import View


@command(
    click.argument("models", nargs=-1, type=ModelName(), metavar="[MODEL]..."),
    click.option("--all", is_flag=True, help="All eight variants (1.4 GB)."),
    click.option("--verify", is_flag=True, help="Fetch nothing: hash the cached files again."),
    format_option(("table", "json"), "table"),
)
def download(*, models: tuple[str, ...], all: bool, verify: bool, format: str, view: View) -> ExitCode:
    """Fetch weights and class names ahead of time.

    MODEL is a variant or hf-hub:OWNER/REPO. Afterwards everything works offline, without a request. An interrupted
    download resumes, and each file's hash is checked. Cached files are hashed again, and fetched again if damaged. If
    the hub cannot be reached, the checkpoint that the model card names is fetched.

    --verify without a MODEL checks every cached variant.

    Examples:
      resnest download resnest50d resnest101e
      resnest download --verify
    """
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
            put(item.words())
        done.append(item)
    if not names:
        view.say("no variant is cached, so there is nothing to verify. `resnest download MODEL` fetches one.")
    if format == "json":
        put_json([item.row() for item in done])
    return ExitCode.FAILED if any(item.state in task.BAD for item in done) else ExitCode.OK
