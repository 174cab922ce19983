"""The socket that a server listens on: an address and port, or a Unix socket.

In: settings. Out: a bound socket, and its address in words. What is in use is said; what a killed server has left is
replaced. Knows no HTTP.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from resnest_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from resnest_cli.serve.options import ServeOptions

UMASK = 0o117  # a Unix socket is for its owner and group, such as a proxy's
_REASONS = {
    errno.EADDRINUSE: "it is in use: stop the other server, or choose another --port",
    errno.EACCES: "it is for root: choose a --port from 1024 on",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}


@contextmanager
def bound(settings: ServeOptions) -> Iterator[socket.socket]:
    """Yield the socket, bound; nobody can connect until it listens.

    Raises:
        UsageError: the address is in use, is not this machine's, or is not permitted.
    """
    if settings.unix:
        with _unix(settings.unix) as found:
            yield found
    else:
        with _network(settings.host, settings.port) as found:
            yield found


def words(listener: socket.socket) -> str:
    """Return the address of a socket, as curl takes it."""
    name = listener.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    host, port = name[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _network(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--host {host}: no such address.") from error
    found = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # elsewhere it would take the port from another server
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        found.close()
        why = _REASONS.get(error.errno or 0, error.strerror)
        raise UsageError(f"--host {host} --port {port}: {why}.") from error
    return found


@contextmanager
def _unix(path: Path) -> Iterator[socket.socket]:
    _remove_stale(path)
    mask = os.umask(UMASK)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as found:
            try:
                found.bind(str(path))
            except OSError as error:
                raise UsageError(f"--unix {path}: {error.strerror or error}.") from error
            finally:
                os.umask(mask)
            ours = path.lstat().st_ino
            try:
                yield found
            finally:
                with suppress(FileNotFoundError):
                    if path.lstat().st_ino == ours:
                        path.unlink()
    finally:
        os.umask(mask)


def _remove_stale(path: Path) -> None:
    """Remove the socket of a server that was killed.

    Raises:
        UsageError: a server listens there, or it is something else than a socket.
    """
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise UsageError(f"--unix {path}: it exists, and is no socket: name another.")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect(str(path))
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"--unix {path}: {error.strerror or error}.") from error
    else:
        raise UsageError(f"--unix {path}: a server listens there: stop it, or name another.")
