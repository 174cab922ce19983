"""The command `resnest serve` as a process: its start, its signals, its sockets."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

import pytest
from conftest import SAMPLES

from resnest_cli.serve import sockets
from resnest_cli.serve.options import ServeOptions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bare import Bare
    from conftest import Resnest

SEVEN = (SAMPLES / "seven_0081.png").read_bytes()
LIMIT_S = 60
COMMAND = (sys.executable, "-m", "resnest_cli", "serve", "-m", "digits", "-j", "0")


class Running(NamedTuple):
    """A server process, and where it listens."""

    process: subprocess.Popen[str]
    address: str

    def connect(self) -> socket.socket:
        """Return a connection."""
        if self.address.startswith("unix:"):
            found = socket.socket(socket.AF_UNIX)
            found.settimeout(LIMIT_S)
            found.connect(self.address.removeprefix("unix:"))
            return found
        return socket.create_connection(("127.0.0.1", int(self.address.rpartition(":")[2])), LIMIT_S)

    def begin(self) -> socket.socket:
        """Begin to send an image; the server has begun to read it."""
        found = self.connect()
        head = (
            f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(SEVEN)}\r\nExpect: 100-continue\r\n\r\n"
        )
        found.sendall(head.encode())
        assert found.recv(100).startswith(b"HTTP/1.1 100 ")
        found.sendall(SEVEN[:100])
        return found

    def wait_until_deaf(self) -> None:
        """Wait until it has stopped to listen."""
        with suppress(ConnectionError):
            while True:
                self.connect().close()

    def end(self, number: int) -> int:
        """Send a signal, and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(LIMIT_S)


@contextmanager
def running(*options: str) -> Iterator[Running]:
    process = subprocess.Popen([*COMMAND, *options], stderr=subprocess.PIPE, text=True)
    assert process.stderr
    try:
        lines = iter(process.stderr.readline, "")
        address = next(line.split()[-1] for line in lines if line.startswith("listening on "))
        yield Running(process, address)
    finally:
        process.kill()
        process.communicate()


def answer(connection: socket.socket) -> bytes:
    with connection, connection.makefile("rb") as file:
        return file.read()


@pytest.mark.slow
def test_a_request_in_flight_is_answered_at_sigterm() -> None:
    with running("--port", "0") as server:
        with server.begin() as begun:
            server.process.send_signal(signal.SIGTERM)
            server.wait_until_deaf()
            begun.sendall(SEVEN[100:])
            said = answer(begun)
            assert b'"label": "seven"' in said
            assert b"connection: close" in said  # the client sends nothing more here
        assert server.process.wait(LIMIT_S) == 143


@pytest.mark.slow
def test_signals_end_it_with_their_codes_and_the_second_at_once() -> None:
    for number, code in ((signal.SIGINT, 130), (signal.SIGHUP, 129)):
        with running("--port", "0") as server:
            assert server.end(number) == code
    with running("--port", "0") as server, server.begin():
        server.process.send_signal(signal.SIGTERM)
        server.wait_until_deaf()
        assert server.end(signal.SIGTERM) == 143


@pytest.mark.slow
def test_a_unix_socket_of_a_killed_server_is_replaced_and_that_of_a_living_one_is_not(
    tmp_path: Path, resnest: Resnest
) -> None:
    path = tmp_path / "socket"
    with running("--unix", str(path)) as server:
        server.end(signal.SIGKILL)
    assert path.is_socket()
    with running("--unix", str(path)) as server:
        assert path.stat().st_mode & 0o777 == 0o660
        refused = resnest("serve", "-m", "digits", "--unix", path)
        assert (refused.exit_code, "a server listens there" in refused.stderr) == (2, True)
        with server.begin() as begun:
            begun.sendall(SEVEN[100:])
            begun.sendall(b"GET / HTTP/1.1\r\nHost: what.ever\r\nConnection: close\r\n\r\n")
            assert answer(begun).count(b"HTTP/1.1 200 OK") == 2
        assert server.end(signal.SIGTERM) == 143
    assert not path.exists()


def test_what_is_no_socket_is_not_replaced(tmp_path: Path, resnest: Resnest) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    refused = resnest("serve", "-m", "digits", "--unix", path)
    assert (refused.exit_code, "it exists, and is no socket" in refused.stderr) == (2, True)
    assert path.read_text() == "mine"


def test_a_port_in_use_is_told(resnest: Resnest) -> None:
    with sockets.bound(ServeOptions(port=0)) as other:
        other.listen()
        port = other.getsockname()[1]
        refused = resnest("serve", "-m", "digits", "--port", str(port))
    assert refused.exit_code == 2
    assert f"--host 127.0.0.1 --port {port}: it is in use: stop the other server" in refused.stderr


def test_addresses_that_are_not_here(resnest: Resnest, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("x" * 32)
    told = resnest("serve", "--host", "192.0.2.1", "--token-file", tmp_path / "token")
    assert (told.exit_code, "this machine has no such address" in told.stderr) == (2, True)
    told = resnest("serve", "--host", "0.0.0.0")  # noqa: S104 - it is refused
    assert (told.exit_code, "add --token-file FILE" in told.stderr) == (2, True)


def test_two_models_of_one_name_are_refused(resnest: Resnest) -> None:
    told = resnest("serve", "-m", "digits", "-m", "digits", "--port", "0", "-j", "0")
    assert (told.exit_code, "another model has the name digits too" in told.stderr) == (2, True)


def test_a_missing_extra_names_the_pip_line(bare: Bare) -> None:
    told = bare("serve", "-m", "digits")
    assert told.returncode == 2
    assert "pip install 'resnest-cli[serve]'" in told.stderr.decode()
