"""`resnest doctor`: what this machine has, and what works."""

from __future__ import annotations

import click

from resnest_cli.cli.help import Command
from resnest_cli.cli.options import format_option
from resnest_cli.cli.view import View
from resnest_cli.text.layout import put_facts
from resnest_cli.text.terminal import put_json


@click.command(cls=Command)
@format_option(("table", "json"), "table")
def doctor(*, format: str) -> None:
    """Show what this machine has.

    That is versions, instruction sets, devices and engines, the cache, and whether the hub can be reached. Paste the
    output into a bug report.
    """
    with View().doing("looking at what is installed (some seconds)"):
        from resnest_cli.tasks.doctor import examine

        sections = examine()
    if format == "json":
        put_json(sections)
        return
    put_facts((f"{section} {name}", text) for section, named in sections.items() for name, text in named.items())
