"""The command line: one group, one short file a command. Errors become messages and exit codes here, and only here.

No command's imports are heavy at the top, so that `--help` is quick; what a command needs it imports in its body.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import select
import shlex
import signal
import sys
import threading
import traceback
import warnings
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
from resnest_cli.system import streams
from resnest_cli.system.imports import TorchAside
from resnest_cli.system.paths import reason
from resnest_cli.system.processes import NOT_HERE
from resnest_cli.system.streams import ReaderGone
from resnest_cli.text.terminal import hear_others, note

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


OTHER_WORDS = {"list": "list-models", "models": "list-models", "classify": "predict"}
WHOLE = 1000  # characters of a summary: more than any has
UNCOLLECTED = 100_000  # objects made since the last search for garbage: some 10 MB
LONGEST = 3000  # characters of an error: more than a screen
GRACE_S = 4.0  # for finished rows to reach the disk after a signal


class Commands(Mapping[str, click.Command]):
    """All commands by name: the one that is run is imported, the others are not."""

    SECTIONS: ClassVar = {
        "Images": ("predict", "explain", "embed", "similar"),
        "Your own classes": ("finetune", "train", "validate"),
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
        """Name them."""
        return iter(self.NAMES)

    def __len__(self) -> int:
        """Count them."""
        return len(self.NAMES)


class ResnestGroup(click.Group):
    """The group whose `invoke` maps what can happen to a message and an exit code."""

    context_class = Context

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,  # noqa: ANN401
    ) -> click.Context:
        """Read the group's own options; what cannot be meant is said as everywhere."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            _refuse(error)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; for a word that is none, say which was meant."""
        if args[0] in self.commands or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        raise click.UsageError(_meant(args))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as click calls it
        """Write the commands by purpose, each with its whole first sentence."""
        if not isinstance(formatter, Formatter):
            raise TypeError(type(formatter))
        formatter.write_sections(
            (title, [(name, self.commands[name].get_short_help_str(WHOLE)) for name in names])
            for title, names in Commands.SECTIONS.items()
        )

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - as click declares it
        """Run a command; what it raises ends as words on stderr, never as a traceback (unless -v asks for it)."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except KeyboardInterrupt:
            note("interrupted.")
            ctx.exit(ExitCode.INTERRUPTED)
        except click.UsageError as error:
            _refuse(error)
        except ResnestError as error:
            _fail(ctx, error)
        except BrokenPipeError as error:  # `-o /dev/stdout | head -1`
            raise ReaderGone from error
        except OSError as error:  # where nobody foresaw that the system could refuse: it is said what, not guessed why
            _fail(ctx, error)
        return result

    def main(self, *args: Any, **extra: Any) -> Any:  # noqa: ANN401 - as click declares it
        """Run everything: help, too, is written to an output that may fail, or that nobody reads to its end."""
        try:
            return super().main(*args, **extra)
        except ReaderGone:
            streams.abandon_stdout()
            sys.exit(ExitCode.OK)
        except OutputError as error:
            _say(error)
            sys.exit(error.exit_code)


def _refuse(error: click.UsageError) -> NoReturn:
    """Say click's errors like ours; what asks for help gets it."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        raise error
    _say_error(words_of(error))
    raise click.exceptions.Exit(error.exit_code)


def _fail(ctx: click.Context, error: ResnestError | OSError) -> NoReturn:
    if ctx.meta.get(VERBOSE):
        note("".join(traceback.format_exception(error)).rstrip())
    _say(error)
    ctx.exit(error.exit_code if isinstance(error, ResnestError) else ExitCode.FAILED)


def _say(error: ResnestError | OSError) -> None:
    if isinstance(error, OutputError):
        streams.abandon_stdout()
    _say_error(f"{error.filename or 'the system'}: {reason(error)}" if isinstance(error, OSError) else str(error))


def _say_error(words: str) -> None:
    if len(words) > LONGEST:  # a name in it is; what to type stands at the end
        words = f"{words[: LONGEST // 2]} ... {words[-LONGEST // 2 :]}"
    note(f" {words}", "error:", fg="red", bold=True)


def _meant(args: list[str]) -> str:
    """Guess what a command that is none was to be."""
    name, rest = args[0], args[1:]
    words = f"No such command {name!r}."
    near = get_close_matches(name, Commands.NAMES, n=1)
    if name == "help":
        meant = [*rest[:1], "--help"]
    elif "://" in name or os.path.lexists(name) or any(c in name for c in "*?"):
        meant = ["predict", *args]
    elif name in OTHER_WORDS or near:
        meant = [OTHER_WORDS.get(name) or near[0], *rest]
    elif os.path.splitext(name)[1]:  # noqa: PTH122 - as typed
        return f"There is no command and no file {name!r}. To classify a picture: resnest predict FILE"
    else:
        return f"{words} See resnest --help."
    return f"{words} Did you mean: {shlex.join(['resnest', *meant])}"


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
    prepare_process()
    try:
        cli()
    except SystemExit as end:
        _leave(end)
    raise AssertionError("click ends by an exit")


def prepare_process() -> None:
    """Make SIGTERM and SIGHUP exits that let files be closed, and see to it that the start is quick."""
    # Imports make 67,000 objects and no garbage: looking for it costs a tenth of a start.
    gc.set_threshold(UNCOLLECTED)
    os.environ.update(NOT_HERE)  # for what libraries start
    TorchAside.install()
    streams.install()
    hear_others()
    warnings.filterwarnings("ignore", module=r"PIL\.")  # about oddities of files that are read all the same
    for name in {"SIGTERM", "SIGHUP"} & set(dir(signal)):
        number = getattr(signal, name)
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _exit_on_signal)
    _watch_signals()


def _leave(end: SystemExit) -> NoReturn:
    """End the process with this exit, but leave all memory to the system.

    The interpreter and its libraries would give it back piece by piece, which takes a tenth of a short command's time.
    """
    atexit._run_exitfuncs()  # noqa: SLF001 - what the interpreter itself begins with
    with contextlib.suppress(ReaderGone):
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError):
            raise end from None  # which says so
        except OutputError as error:
            _say(error)
            end = SystemExit(ExitCode.FAILED)
    if not isinstance(end.code, int):
        raise end
    os._exit(end.code)


def _exit_on_signal(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _watch_signals() -> None:
    """End the process for good at a second signal, or when the first has not ended it in `GRACE_S` seconds.

    The handlers above run only between two steps of Python, and a forward pass can be one step of many seconds.
    """
    if not hasattr(os, "register_at_fork"):  # Windows has neither these signals nor pipes to wait on
        return
    watched, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))  # a worker's signals are its own
    threading.Thread(target=_end_for_good, args=(watched,), daemon=True).start()


def _end_for_good(watched: int) -> NoReturn:
    ending = {getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP")}
    while (number := os.read(watched, 1)[0]) not in ending:
        pass
    select.select([watched], [], [], GRACE_S)
    os._exit(128 + number)
