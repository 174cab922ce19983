"""How a command is declared, and the options that commands share.

In: dataclasses, whose docstrings have the help of their fields, and whose defaults are those of the options. Out:
options of click's, and commands that get each dataclass as one value.
"""

from __future__ import annotations

import functools
import inspect
import re
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from resnest_cli.cli.help import Command
from resnest_cli.cli.parameters import AnyName, ModelName, OutputPath, or_auto
from resnest_cli.cli.view import VERBOSE, View
from resnest_cli.options import ENGINES, INTERPOLATIONS, PRECISIONS, Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from resnest_cli.errors import ExitCode
    from resnest_cli.inputs.named import Inputs

    Decorator: TypeAlias = Callable[[Any], Any]


def command(
    *declared: Decorator, **made: Callable[..., Any]
) -> Callable[[Callable[..., ExitCode | None]], click.Command]:
    """Make a function a command: its arguments and options in the order of its help, and -q, -v and --no-progress.

    Each of `made` takes the options that are named like its parameters, and its value goes to the function by its
    keyword; so does `view`. All other options go to the function by their own names. It may return an exit code.
    """

    def decorate(function: Callable[..., ExitCode | None]) -> click.Command:
        def collect(**values: Any) -> None:  # noqa: ANN401 - as declared
            click.get_current_context().meta[VERBOSE] = values["verbose"]
            for keyword, make in {"view": View, **made}.items():
                taken = [key for key in inspect.signature(make).parameters if key in values]
                values[keyword] = make(**{key: values.pop(key) for key in taken})
            if code := function(**values):
                click.get_current_context().exit(code)

        for add in reversed((*declared, *_VIEW)):
            collect = add(collect)
        return click.command(function.__name__.replace("_", "-"), cls=Command, help=_help(function))(collect)

    return decorate


def option(of: type, *names: str, **settings: Any) -> Decorator:  # noqa: ANN401 - passed on to click
    """Declare the option of a dataclass field, which is named like the long option."""
    field = next(name for name in names if name.startswith("--")).split("/")[0].lstrip("-").replace("-", "_")
    default = settings.setdefault("default", getattr(of, field))
    if isinstance(default, bool):
        settings["is_flag"] = True
    texts = dict(re.findall(r"^ +(\w+): (.+)$", of.__doc__ or "", re.MULTILINE))
    settings = {"help": texts.get(field), "show_default": default not in {None, ""}, **settings}
    return click.option(*names, field, **settings)


def format_option(formats: Iterable[str], default: str) -> Decorator:
    """Declare `-f/--format`."""
    kind = click.Choice([*formats])
    return click.option("-f", "--format", default=default, show_default=True, type=kind, help="Output format.")


def _help(function: Callable[..., Any]) -> str:
    """Return a docstring with click's mark before the paragraphs that stay as they are: those with indented lines."""
    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    return "\n\n".join(f"\b\n{text}" if "\n  " in f"\n{text}" else text for text in paragraphs)


_VIEW = (option(View, "-q", "--quiet"), option(View, "-v", "--verbose"), option(View, "--no-progress"))

# Which model, and how it runs.
_option = functools.partial(option, Options)
MODEL = _option("-m", "--model", type=ModelName(), metavar="MODEL")
WEIGHTS_FILE = _option("--weights", type=AnyName, metavar="FILE")
WEIGHTS = (WEIGHTS_FILE, _option("--random-weights"))
LABELS = _option("--labels", type=AnyName, metavar="FILE")
CALIBRATION = (
    _option("--calibration", type=AnyName, metavar="FILE|none"),
    _option("--coverage", metavar="P"),
    _option("--max-strangeness", metavar="P"),
)
WITH_EXIF = _option("--with-exif")
DEVICE = _option("--device", metavar="DEVICE")
ENGINE = _option("--engine", type=click.Choice(ENGINES))
BATCH = _option("-b", "--batch", "--batch-size", type=or_auto(int), metavar="N|auto")
IMG_SIZE = _option("--img-size", type=int, metavar="N")
PRECISION = _option("--precision", type=click.Choice(PRECISIONS))
RUN = (DEVICE, ENGINE, PRECISION, BATCH, IMG_SIZE)
WORKERS = _option("-j", "--workers", type=or_auto(int), metavar="N|auto")
MAX_PIXELS = _option("--max-pixels", metavar="N")
PREPROCESSING = (
    _option("--crop-pct", type=float, metavar="P"),
    _option("--interpolation", type=click.Choice(INTERPOLATIONS)),
    _option("--mean", type=float, nargs=3, metavar="R G B"),
    _option("--std", type=float, nargs=3, metavar="R G B"),
)
SETTLED = (*WEIGHTS, LABELS, IMG_SIZE, *PREPROCESSING)  # of a model that is an argument, made into another


def images(exif_default: str = "exif") -> tuple[Decorator, ...]:
    """Declare how images are read and decoded."""
    turn = f"Turn images upright by their EXIF orientation.  [default: {exif_default}]"
    return (
        WORKERS,
        *PREPROCESSING,
        _option("--exif/--no-exif", help=turn),
        _option("--timeout", metavar="S"),
        MAX_PIXELS,
        _option("--allow-private-urls"),
    )


# What is read.
EXCLUDE = click.option(
    "--exclude",
    multiple=True,
    metavar="GLOB",
    help="Leave out of folders the names and paths that match; may be repeated.",
)
INPUTS = (
    click.argument("names", nargs=-1, type=AnyName, metavar="INPUT..."),
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


def inputs(
    *, names: tuple[str, ...], files_from: str | None, null: bool, recursive: bool, exclude: tuple[str, ...]
) -> Inputs:
    """Return what `INPUTS` name."""
    from resnest_cli.inputs.named import Inputs

    if not names and files_from is None and not null:
        raise click.UsageError("Missing argument 'INPUT...': files, folders, patterns, - or a list (--files-from).")
    return Inputs(names, files_from, null=null, recursive=recursive, exclude=exclude)


# What is written.
OUTPUT_FOLDER = click.option(
    "-o", "--output", required=True, type=OutputPath(stdout=False), metavar="DIR", help="The folder to make."
)
OVERWRITE_FOLDER = click.option("--overwrite", is_flag=True, help="Replace the folder if there is one.")
