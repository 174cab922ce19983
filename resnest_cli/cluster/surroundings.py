"""What Ray finds when it starts: environment variables, a folder of its own, an empty working folder, and silence.

In: whether a cluster is joined or started. Out: contexts to start Ray in, and to be with it. What a private Ray makes
is for this user alone, and goes with the command. Knows nothing of clusters.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from resnest_cli.system.imports import standing_in, variable
from resnest_cli.system.processes import search_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

HERE = "127.0.0.1"
TRIES = "3"  # of a cluster, a second apart, to let us in
LONGEST = 27  # bytes of the path of a folder, in which Ray's longest path of a socket has 80 more; 107 may be
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # without it Ray warns of a change to come
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # what Ray says of lost nodes would go to stdout, among the rows
}
# A private cluster listens at HERE only, and to nobody without the token. Without the second variable Ray takes an
# address of this machine's network for HERE, and listens at all there are: with 2.60 six sockets of seven did.
_ALONE = {"RAY_AUTH_MODE": "token", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
# What Ray was just starting lives on for seconds and makes the folder anew. So the shell looks again for a minute;
# in the background after a normal end.
_AT_THE_END = """
read -r _ && ended=yes || printf '%s\\n' "$1" >&2
exec >/dev/null 2>&1
for pause in 1 1 2 4 8; do
    rm -rf "$2" && [ "$ended" ] && break
    sleep $pause
done
for pause in 1 2 4 8 15 30; do
    sleep $pause
    rm -rf "$2"
done &
"""


def settle(address: str | None) -> None:
    """Set what Ray reads when it is imported."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if address:
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", TRIES)
    else:  # whatever holds for other clusters: a secret of this job alone
        os.environ.update(_ALONE, RAY_AUTH_TOKEN=secrets.token_hex(32))


def handed_search_path() -> AbstractContextManager[None]:
    """Return a context in which interpreters that Ray starts have the module search path of this one."""
    return variable("PYTHONPATH", os.pathsep.join(entry for entry in search_path() if os.pathsep not in entry))


def empty_working_folder(empty: Path) -> AbstractContextManager[None]:
    """Make a folder, and return a context in which it is the working folder of this process."""
    empty.mkdir()
    return standing_in(empty)


@contextmanager
def own_folder(words: str) -> Iterator[Path]:
    """Yield a folder that only this user may enter, and that goes however this process ends: a shell outlives it.

    The shell says `words` if the process ends before the block: Ray ends it without a word, which no Python sees.
    """
    with tempfile.TemporaryDirectory(prefix="ray-", dir=_base(), ignore_cleanup_errors=True) as folder:
        if os.name != "posix":
            yield Path(folder)
            return
        command = ["/bin/sh", "-c", _AT_THE_END, "sh", words, folder]
        # In a session of its own: Ctrl-C is for us.
        with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as shell:  # noqa: S603 - ours
            try:
                yield Path(folder)
            finally:
                shell.communicate(b"\n")


def _base() -> str:
    usual = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    return usual if len(os.fsencode(usual)) <= LONGEST or os.name != "posix" else "/tmp"  # noqa: S108 - for a new folder


@contextmanager
def hushed() -> Iterator[None]:
    """Send what the libraries in C++ print before they know how quiet they are to be to nowhere."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def own_signals() -> Iterator[None]:
    """Keep our handlers: Ray puts its own for SIGTERM in their place, which exits with 15."""
    kept = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as end:
        raise SystemExit(128 + signal.SIGTERM if end.code == signal.SIGTERM else end.code) from end
    finally:
        with suppress(ValueError):  # not in the main thread, where Ray sets none either
            signal.signal(signal.SIGTERM, kept)
