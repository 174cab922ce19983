"""End a process by a signal: files are closed first, and the process always ends.

In: SIGTERM, SIGHUP, SIGINT. Out: an exit with code 128 + number. Does not know what runs.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from types import FrameType

GRACE_S = 4.0  # for finished rows to reach the disk after a signal


def exit_on_signals() -> None:
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
