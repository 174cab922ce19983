"""The command line: one group, one short file a command. Errors become messages and exit codes here, and only here.

No command's imports are heavy at the top, so that `--help` is quick; what a command needs it imports in its body.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import traceback
import warnings
from typing import TYPE_CHECKING, Any, NoReturn

import click

from resnest_cli import __version__
from resnest_cli.cli.bench import bench
from resnest_cli.cli.cache import cache
from resnest_cli.cli.doctor import doctor
from resnest_cli.cli.download import download
from resnest_cli.cli.embed import embed
from resnest_cli.cli.explain import explain
from resnest_cli.cli.export import export
from resnest_cli.cli.finetune import finetune
from resnest_cli.cli.list_models import list_models
from resnest_cli.cli.options import VERBOSE
from resnest_cli.cli.predict import predict
from resnest_cli.cli.quantize import quantize
from resnest_cli.cli.show import show
from resnest_cli.cli.similar import similar
from resnest_cli.cli.train import train
from resnest_cli.cli.validate import validate
from resnest_cli.errors import ExitCode, OutputError, ResnestError

if TYPE_CHECKING:
    from types import FrameType


GRACE_S = 4.0  # for finished rows to reach the disk after a signal


class ResnestGroup(click.Group):
    """The group whose `invoke` maps what can happen to a message and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - as click declares it
        """Run a command; what it raises ends as words on stderr, never as a traceback (unless -v asks for it)."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:  # the reader (`| head -1`) has what it wanted
            _abandon_stdout()
            ctx.exit(ExitCode.OK)
        except KeyboardInterrupt:
            click.echo("interrupted.", err=True)
            ctx.exit(ExitCode.INTERRUPTED)
        except ResnestError as error:
            _fail(ctx, error)
        except OSError as error:
            _abandon_stdout()
            _fail(ctx, OutputError(f"the output cannot be written: {error.strerror or error}."))
        return result


def _fail(ctx: click.Context, error: ResnestError) -> NoReturn:
    if ctx.meta.get(VERBOSE):
        traceback.print_exception(error)
    click.echo(f"{click.style('error:', fg='red', bold=True)} {error}", err=True)
    ctx.exit(error.exit_code)


def _abandon_stdout() -> None:
    """Let the interpreter's own flush at exit go nowhere, instead of failing a second time."""
    with contextlib.suppress(OSError, ValueError):  # stdout may be closed, or no file at all
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(
    cls=ResnestGroup,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "RESNEST", "max_content_width": 100},
    epilog="To start without any download: resnest predict IMAGE --model digits",
)
@click.version_option(__version__, prog_name="resnest")
def cli() -> None:
    """Classify images with the ResNeSt family."""


COMMANDS = (
    *(predict, embed, similar, explain, validate, bench),
    *(finetune, train, export, quantize),
    *(list_models, show, download, cache, doctor),
)
for command in COMMANDS:
    cli.add_command(command)


def main() -> None:
    """Run the console script: the group, with SIGTERM and SIGHUP as exits that let files be closed."""
    if sys.stdout is None:  # closed by the caller: let writing fail, as to any other file that cannot be written
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")
    warnings.filterwarnings("ignore", module=r"PIL\.")  # about oddities of files that are read all the same
    for name in {"SIGTERM", "SIGHUP"} & set(dir(signal)):
        number = getattr(signal, name)
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _exit_on_signal)
    _watch_signals()
    cli()


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
