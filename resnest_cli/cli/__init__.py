"""The command line: one group, one short file per command. Errors become messages and exit codes here.

Commands import heavy modules in their bodies: `--help` stays quick.
"""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import click

from resnest_cli import __version__
from resnest_cli.cli.help import Context, Formatter, words_of
from resnest_cli.cli.view import VERBOSE
from resnest_cli.errors import ExitCode, OutputError, ResnestError
from resnest_cli.system import lifetime, streams
from resnest_cli.system.paths import reason
from resnest_cli.system.streams import ReaderGone
from resnest_cli.text import terminal
from resnest_cli.text.terminal import note

if TYPE_CHECKING:
    from collections.abc import Iterator


SYNONYMS = {"list": "list-models", "models": "list-models", "classify": "predict"}
MAX_SUMMARY = 1000  # characters: no summary is longer


class Commands(Mapping[str, click.Command]):
    """All commands by name; a command is imported when it is looked up."""

    SECTIONS: ClassVar = {
        "Images": ("predict", "explain", "embed", "similar", "serve"),
        "Answers": ("sort", "tag", "convert", "check"),
        "Your own classes": ("finetune", "train", "validate", "calibrate"),
        "Models": ("list-models", "show", "download", "export", "quantize"),
        "This machine": ("bench", "doctor", "cache"),
    }
    NAMES = tuple(sorted(chain.from_iterable(SECTIONS.values())))

    def __getitem__(self, name: str) -> click.Command:
        """Import the command from the module of its name."""
        if name not in self.NAMES:
            raise KeyError(name)
        module = name.replace("-", "_")
        command: click.Command = getattr(import_module(f"{__name__}.{module}"), module)
        return command

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self.NAMES)

    def __len__(self) -> int:
        """Return how many commands there are."""
        return len(self.NAMES)


class ResnestGroup(click.Group):
    """The group that turns exceptions into messages and exit codes."""

    context_class = Context

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; suggest one for an unknown word."""
        if args[0] in self.commands or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        raise click.UsageError(_unknown_command(args))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as click calls it
        """Write the commands by purpose, each with its first sentence."""
        if not isinstance(formatter, Formatter):
            raise TypeError(type(formatter))
        formatter.write_sections(
            (title, [(name, self.commands[name].get_short_help_str(MAX_SUMMARY)) for name in names])
            for title, names in Commands.SECTIONS.items()
        )

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - as click declares it
        """Run a command; write exceptions as messages on stderr, with a traceback only for -v."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except KeyboardInterrupt:
            note("interrupted.")
            ctx.exit(ExitCode.INTERRUPTED)
        except ResnestError as error:
            _fail(ctx, error)
        except BrokenPipeError as error:  # `-o /dev/stdout | head -1`
            raise ReaderGone from error
        except OSError as error:  # an unforeseen refusal of the system
            _fail(ctx, error)
        return result

    def main(self, *args: Any, **extra: Any) -> Any:  # noqa: ANN401 - as click declares it
        """Run a command or write help, and end; either may meet a full disk, or a reader that stopped."""
        try:
            code: int | None = super().main(*args, **extra | {"standalone_mode": False})
            sys.exit(code or ExitCode.OK)
        except ReaderGone:
            streams.abandon_stdout()
            sys.exit(ExitCode.OK)
        except OutputError as error:
            _report(error)
            sys.exit(error.exit_code)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(error.exit_code)
        except click.UsageError as error:
            terminal.error(words_of(error))
            sys.exit(error.exit_code)
        except click.Abort:  # Ctrl-C before a command began
            sys.exit(ExitCode.INTERRUPTED)


def _fail(ctx: click.Context, error: ResnestError | OSError) -> NoReturn:
    if ctx.meta.get(VERBOSE):
        note("".join(traceback.format_exception(error)).rstrip())
    _report(error)
    ctx.exit(error.exit_code if isinstance(error, ResnestError) else ExitCode.FAILED)


def _report(error: ResnestError | OSError) -> None:
    if isinstance(error, OutputError):
        streams.abandon_stdout()
    terminal.error(
        f"{error.filename or 'the system'}: {reason(error)}" if isinstance(error, OSError) else error.message
    )


def _unknown_command(args: list[str]) -> str:
    """Return the message for an unknown command, with a guess at what was meant."""
    name, rest = args[0], args[1:]
    near = get_close_matches(name, Commands.NAMES, n=1)
    if name == "help":
        meant = [*rest[:1], "--help"]
    elif "://" in name or os.path.lexists(name) or any(c in name for c in "*?"):
        meant = ["predict", *args]
    elif name in SYNONYMS or near:
        meant = [SYNONYMS.get(name) or near[0], *rest]
    elif os.path.splitext(name)[1]:  # noqa: PTH122 - as typed
        return f"There is no command and no file {name!r}. To classify a picture: resnest predict FILE"
    else:
        return f"No such command {name!r}. See resnest --help."
    return f"No such command {name!r}. Did you mean: {shlex.join(['resnest', *meant])}"


@click.group(
    cls=ResnestGroup,
    commands=Commands(),
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "RESNEST", "max_content_width": 100},
    epilog="To start without any download: resnest predict IMAGE --model digits",
)
@click.version_option(__version__, "-V", "--version", prog_name="resnest")
def cli() -> None:
    """Classify images with the ResNeSt family."""


def main() -> NoReturn:
    """Run the console script, and end the process."""
    lifetime.prepare()
    try:
        cli()
    except SystemExit as end:
        lifetime.leave(end, _report)
    raise AssertionError("click ends by an exit")
