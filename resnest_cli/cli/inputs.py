"""INPUT..., and the options that name more inputs."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import click

from resnest_cli.cli.options import EXCLUDE, declare
from resnest_cli.cli.parameters import AnyName, Names

if TYPE_CHECKING:
    from collections.abc import Callable

_DECLARED = (
    click.argument("names", nargs=-1, type=Names(), metavar="INPUT..."),
    click.option(
        "--files-from",
        type=AnyName,
        metavar="FILE|-",
        help="Read more names of inputs there (.parquet: column path).",
    ),
    click.option("-0", "--null", is_flag=True, help="Names in that list end with a NUL byte, not a line."),
    EXCLUDE,
    click.option("--recursive/--no-recursive", default=True, show_default=True, help="Look into folders of folders."),
)


def input_options(command: Callable[..., None]) -> Callable[..., None]:
    """Declare INPUT... and its options; the command gets `inputs`."""

    @functools.wraps(command)
    def collect(*, names: tuple[str, ...], files_from: str | None, **values: Any) -> None:  # noqa: ANN401 - as declared
        from resnest_cli.inputs.named import Inputs

        if not names and files_from is None and not values["null"]:
            raise click.UsageError("Missing argument 'INPUT...': files, folders, patterns, - or a list (--files-from).")
        how = {name: values.pop(name) for name in ("null", "recursive", "exclude")}
        command(inputs=Inputs(names, files_from, **how), **values)

    return declare(collect, _DECLARED)
