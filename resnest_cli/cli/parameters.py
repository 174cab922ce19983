"""The kinds of values that options and arguments take, and what the shell offers for each.

In: words of a command line. Out: numbers, paths, names. Whether a value can be meant is for `Options` to say.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

STDOUT = "-"  # as the name of an output


class OrAuto(click.ParamType[float | str]):
    """A number of some kind, or "auto"."""

    def __init__(self, kind: type[int | float]) -> None:
        self.kind = kind
        self.name = "N|auto" if kind is int else "X|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:  # noqa: ANN401 - as click declares it
        """Convert unless it is "auto"."""
        if value == "auto":
            return "auto"
        try:
            return self.kind(value)
        except ValueError:
            self.fail(f"{value!r} is neither a {'whole ' * (self.kind is int)}number nor auto.", param, ctx)


class Number(click.FloatRange):
    """A finite number in a range; click's own lets "nan" into any."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401 - as click declares it
        """Convert to float."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a number that can be meant.", param, ctx)
        return number


class Names(click.ParamType[str]):
    """What names images or data: taken as it is, for the reader to look at; the shell completes files and folders."""

    name = "path"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Offer files and folders."""
        return click.Path().shell_complete(ctx, param, incomplete)


class ModelName(click.ParamType[str]):
    """A model's name, completed in the shell from the catalog, or from the folders there are."""

    name = "model"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Offer the variants, the embedded model and model folders; where none begins so, files and folders."""
        from click.shell_completion import CompletionItem as Item

        from resnest_cli.models.catalog import DIGITS, list_models

        names = [*(spec.name for spec in list_models()), DIGITS.name]
        folders = [path.parent.as_posix() for path in Path().glob("*/config.json")]
        found = [Item(name) for name in (*names, *folders) if name.startswith(incomplete)]
        return found or click.Path().shell_complete(ctx, param, incomplete)


class OutputFile(click.ParamType["Path | None"]):
    """A file for a result, as a `Path`; "-" is standard output, None, as where nothing is given."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path | None:  # noqa: ANN401, ARG002 - as click declares it
        """Tell a file from standard output."""
        return None if value == STDOUT else Path(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Offer files."""
        return click.Path().shell_complete(ctx, param, incomplete)


class Place(click.ParamType["Path | str | None"]):
    """Where rows go: as `OutputFile`; and a folder (it ends in /) or a prefix in an object store, as text."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path | str | None:  # noqa: ANN401 - as click declares it
        """Tell which it is."""
        if isinstance(value, str) and (value.endswith("/") or value.startswith(("s3://", "gs://"))):
            return value
        return OutputFile().convert(value, param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Offer files."""
        return click.Path().shell_complete(ctx, param, incomplete)


class OutputFolder(click.Path):
    """A folder for a result, as a `Path`; standard output can hold none."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - as click declares it
        """Refuse "-"."""
        if value == STDOUT:
            self.fail("the result is a folder, which standard output cannot hold: name one.", param, ctx)
        return super().convert(value, param, ctx)


class Several(click.ParamType[tuple[Any, ...]]):
    """Values with commas between them, each once, in the order given."""

    name = "list"

    def __init__(self, one: click.ParamType[Any]) -> None:
        self.one = one

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:  # noqa: ANN401 - as click declares it
        """Convert each."""
        words = value if isinstance(value, tuple) else [word.strip() for word in str(value).split(",")]
        return tuple(dict.fromkeys(self.one.convert(word, param, ctx) for word in words))

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Offer what each may be."""
        return self.one.shell_complete(ctx, param, incomplete)
