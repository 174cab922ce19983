"""The types of options and arguments, and what the shell completes for each.

In: words of a command line. Out: numbers, paths, names. `Options` checks whether a value makes sense.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.types import convert_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

STDOUT = "-"  # as the name of an output


def or_auto(kind: type[int | float]) -> Callable[[Any], float | str]:
    """Return what reads a number of one type, or "auto"."""

    def read(value: Any) -> float | str:  # noqa: ANN401 - a word, or a default
        try:
            return "auto" if value == "auto" else kind(value)
        except ValueError as error:
            words = f"{value!r} is neither a {'whole ' * (kind is int)}number nor auto."
            raise click.BadParameter(words) from error

    return read


class Number(click.FloatRange):
    """A finite number in a range; click's own type accepts "nan"."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401 - as click declares it
        """Convert to float."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class Named(click.Path):
    """A file or a folder that the user names: the library says what is wrong with it, and click does not look."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401, ARG002 - as click declares it
        """Return the name as typed, or as a path."""
        return self.coerce_path_result(value)


AnyName, AnyPath = Named(), Named(path_type=Path)


class ModelName(Named):
    """A model's name; the shell completes variants, "digits" and model folders, else files and folders."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Complete the names of models."""
        from click.shell_completion import CompletionItem as Item

        from resnest_cli.models.catalog import DIGITS, list_models

        names = [*(spec.name for spec in list_models()), DIGITS.name]
        folders = [path.parent.as_posix() for path in Path().glob("*/config.json")]
        found = [Item(name) for name in (*names, *folders) if name.startswith(incomplete)]
        return found or super().shell_complete(ctx, param, incomplete)


class OutputPath(Named):
    """Where a result goes, as a `Path`; "-" is None, standard output, unless it cannot take a folder.

    With `folders`, a folder (its name ends in /) or a prefix in an object store is possible too, as text.
    """

    def __init__(self, *, stdout: bool = True, folders: bool = False) -> None:
        super().__init__()
        self.stdout, self.folders = stdout, folders

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - as click declares it
        """Convert to a path, text or None."""
        if value == STDOUT and not self.stdout:
            self.fail("the result is a folder, which standard output cannot hold: name one.", param, ctx)
        if self.folders and isinstance(value, str) and (value.endswith("/") or value.startswith(("s3://", "gs://"))):
            return value
        return None if value == STDOUT else Path(value)


class Several(click.ParamType[tuple[Any, ...]]):
    """Values separated by commas, each once, in the order given."""

    name = "list"

    def __init__(self, one: Any) -> None:  # noqa: ANN401 - a type of click's, or a function
        self.one: click.ParamType[Any] = convert_type(one)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:  # noqa: ANN401 - as click declares it
        """Convert each value."""
        words = value if isinstance(value, tuple) else [word.strip() for word in str(value).split(",")]
        return tuple(dict.fromkeys(self.one.convert(word, param, ctx) for word in words))

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Complete one value."""
        return self.one.shell_complete(ctx, param, incomplete)
