"""The layout of `--help`: options in sections by subject, commands by purpose, on screens of any width.

cloup does the same, but doubles the time of `import click` (68 instead of 31 ms, median of five; `resnest --version`
takes 80 in all), and rich-click imports rich to print help.
"""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from resnest_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

FEW = 10  # options: no sections needed
NAMES_WIDTH, LEAST_WIDTH, ROOMY = 30, 20, 60  # columns
# Section -> long options, of all commands.
SECTIONS = {
    "Input": (
        *("--files-from", "--null", "--recursive", "--exclude", "--index", "--images", "--pictures"),
        *("--split", "--subset", "--real-labels", "--val", "--groups", "--folds", "--sample", "--seed", "--undo"),
    ),
    "Output": (
        *("--to", "--topk", "--threshold", "--calibration", "--coverage", "--max-strangeness", "--with-exif"),
        *("--include-self", "--duplicates", "--class", "--raw", "--raw-uint8", "--normalize"),
        *("--copy", "--link", "--hardlink", "--move", "--apply", "--min", "--failed", "--with-sidecars"),
        *("--format", "--output", "--plot", "--per-class", "--confusion", "--mistakes", "--overwrite", "--resume"),
        *("--append-new", "--by-hash", "--retry-failed", "--watch"),
    ),
    "Measuring": ("--seconds", "--baseline", "--min-agreement"),
    "Model": (
        *("--model", "--weights", "--random-weights", "--arch", "--labels", "--device", "--gpus", "--engine"),
        *("--precision", "--calibrate", "--samples", "--batch", "--workers"),
    ),
    "Training": (
        *("--recipe", "--full", "--epochs", "--accumulate", "--optimizer", "--lr", "--momentum", "--weight-decay"),
        *("--layer-decay", "--schedule", "--warmup-epochs", "--clip", "--smoothing", "--mixup", "--augment"),
        *("--crop-scale", "--hflip", "--dropout", "--drop-block", "--ema", "--patience", "--balance", "--sync-bn"),
    ),
    "Preprocessing": ("--img-size", "--crop-pct", "--interpolation", "--mean", "--std", "--exif"),
    "Server": ("--host", "--port", "--unix", "--token-file", "--max-batch", "--max-wait-ms", "--log"),
    "Limits": (*("--queue", "--timeout", "--max-bytes", "--max-pixels", "--max-failures", "--allow-private-urls"),),
    "Cluster": ("--ray", "--ray-address"),
    "Messages": ("--quiet", "--verbose", "--no-progress", "--help"),
}


_A_RUN = "--overwrite: a run is never replaced; add --resume to continue it, or name another folder with -o."
INSTEAD_OF_OVERWRITE = {"finetune": _A_RUN, "train": _A_RUN}


class Formatter(click.HelpFormatter):
    """Click's formatter, for narrow screens too."""

    def __init__(self, width: int | None = None, max_width: int | None = None, **settings: Any) -> None:  # noqa: ANN401 - passed on
        width = width or max(LEAST_WIDTH, min(shutil.get_terminal_size().columns, max_width or 80) - 2)
        super().__init__(width=width, **settings)

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = NAMES_WIDTH, col_spacing: int = 2) -> None:
        """Write names and texts; on a narrow screen most names get a line of their own."""
        super().write_dl(rows, min(col_max, self._names_width()), col_spacing)

    def write_sections(self, sections: Iterable[tuple[str, list[tuple[str, str]]]]) -> None:
        """Write sections; their texts begin in one column."""
        filled = [(title, rows) for title, rows in sections if rows]
        width = min(self._names_width(), max(len(name) for _, rows in filled for name, _ in rows))
        for title, rows in filled:
            with self.section(title):
                self.write_dl([(f"{name:{width}}", text) for name, text in rows])

    def _names_width(self) -> int:
        return NAMES_WIDTH if self.width >= ROOMY else self.width // 3


class Context(click.Context):
    """Click's context, with our help."""

    formatter_class = Formatter


class Command(click.Command):
    """A command with sections in its help, and errors that name the environment variable at fault."""

    context_class = Context

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options; many options in sections."""
        records = {_long(param): param.get_help_record(ctx) for param in self.get_params(ctx)}
        rows = {name: record for name, record in records.items() if record and name}
        if len(rows) <= FEW or not isinstance(formatter, Formatter):
            super().format_options(ctx, formatter)
            return
        known = [(title, [rows.pop(name) for name in names if name in rows]) for title, names in SECTIONS.items()]
        formatter.write_sections([("Options", list(rows.values())), *known])

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - as click declares it
        """Run; an error about an option that an environment variable set names the variable."""
        try:
            return super().invoke(ctx)
        except UsageError as error:
            error.args = (f"{_variable(ctx, error.message)}{error.message}",)
            raise


def words_of(error: click.UsageError) -> str:
    """Return click's usage error in the form of ours: object, problem, command."""
    words = error.format_message()
    if isinstance(error, click.NoSuchOption) and error.ctx and error.option_name == "--overwrite":
        words = INSTEAD_OF_OVERWRITE.get(str(error.ctx.info_name), words)
    if isinstance(error, click.BadParameter) and error.param and not isinstance(error, click.MissingParameter):
        name = _long(error.param) or error.param.human_readable_name
        words = f"{name}: {error.message.replace('integer range', 'whole number').replace('float range', 'number')}"
        words = f"{_variable(error.ctx, words) if error.ctx else ''}{words}"
    return f"{words}\nSee {error.ctx.command_path} --help." if error.ctx else words


def _long(param: click.Parameter) -> str:
    return next((name for name in param.opts if name.startswith("--")), "")


def _variable(ctx: click.Context, message: str) -> str:
    """Return "VARIABLE sets " if an environment variable set the option at the start of the message, else ""."""
    option = re.match(r"--[a-z0-9-]+", message)
    for param in ctx.command.params if option else ():
        from_it = param.name and ctx.get_parameter_source(param.name) is ParameterSource.ENVIRONMENT
        if option and _long(param) == option[0] and from_it:
            return f"{ctx.auto_envvar_prefix}_{param.name}".upper() + " sets "
    return ""
