"""The start and the end of a command's process: streams, messages, signals, exit.

In: nothing, or an exit. Out: a process that closes its files at SIGTERM and SIGHUP, always ends at a signal (with 128 +
its number), and ends fast. Does not know what runs.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import select
import signal
import sys
import threading
import warnings
from typing import TYPE_CHECKING, NoReturn

from resnest_cli.errors import ExitCode, OutputError
from resnest_cli.system import streams
from resnest_cli.system.imports import TorchAside
from resnest_cli.system.processes import NOT_HERE
from resnest_cli.text import terminal

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

GC_THRESHOLD = 100_000  # objects, about 10 MB
GRACE_S = 4.0  # for finished rows to reach the disk after a signal


def prepare() -> None:
    """Set up imports, standard streams, warnings and signals."""
    # Imports make 67,000 objects and no garbage: collecting it takes a tenth of a start.
    gc.set_threshold(GC_THRESHOLD)
    os.environ.update(NOT_HERE)  # for processes that libraries start
    TorchAside.install()
    streams.install()
    terminal.install_hooks()
    warnings.filterwarnings("ignore", module=r"PIL\.")  # about odd files that are decoded all the same
    _exit_on_signals()


def leave(end: SystemExit, report: Callable[[OutputError], None]) -> NoReturn:
    """End the process with this exit, and leave all memory to the system.

    The interpreter and its libraries would free it piece by piece: a tenth of a short command's time.

    Raises:
        SystemExit: the interpreter must report the exit, or a stream that cannot be flushed.
    """
    atexit._run_exitfuncs()  # noqa: SLF001 - the interpreter's own first step
    with contextlib.suppress(streams.ReaderGone):
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError):
            raise end from None
        except OutputError as error:
            report(error)
            end = SystemExit(ExitCode.FAILED)
    if not isinstance(end.code, int):
        raise end
    os._exit(end.code)


def _exit_on_signals() -> None:
    """Turn SIGTERM and SIGHUP into exits that close files, and let any signal end the process in any case.

    The second signal ends the process at once, the first after `GRACE_S` seconds: Python runs handlers only between
    two of its steps, and a forward pass can be one step of many seconds.
    """
    for name in {"SIGTERM", "SIGHUP"} & set(dir(signal)):
        number = getattr(signal, name)
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _exit)
    if not hasattr(os, "register_at_fork"):  # Windows has neither these signals nor pipes to wait on
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))  # a worker's signals are its own
    threading.Thread(target=_end_for_good, args=(reader,), daemon=True).start()


def _exit(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _end_for_good(reader: int) -> NoReturn:
    ending = {getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP")}
    while (number := os.read(reader, 1)[0]) not in ending:
        pass
    select.select([reader], [], [], GRACE_S)
    os._exit(128 + number)
