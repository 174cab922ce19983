"""`resnest show`: all facts of one model."""

from __future__ import annotations

import click

from resnest_cli.cli.help import Command
from resnest_cli.cli.options import format_option
from resnest_cli.cli.parameters import ModelName
from resnest_cli.text.layout import put_facts, put_note
from resnest_cli.text.terminal import data, put_json


@click.command(cls=Command)
@click.argument("model", type=ModelName())
@format_option(("table", "json", "csv"), "table")
def show(*, model: str, format: str) -> None:
    """Show all that is known of a model.

    That is cost, accuracy, recipe, license, sources, preprocessing and the paper to cite. MODEL is a variant, digits, a
    model folder or hf-hub:OWNER/REPO.
    """
    from resnest_cli.models import facts

    known = facts.facts(model)
    if format == "json":
        put_json(known)
    elif format == "csv":
        data(facts.facts_csv(known))
    else:
        put_facts(facts.in_words(known))
        for note in facts.notes(known):
            put_note(note)
