"""Fixtures of all tests: private caches, no network, and two ways to run a command."""

from __future__ import annotations

import logging
import os
import runpy
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from click.testing import CliRunner, Result
from hypothesis import settings

from resnest_cli.cli import cli
from resnest_cli.models.catalog import DIGITS

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from servers import Served

# openvino sends usage data through this package when it is imported; tests that import openvino must not.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # None: "not to be imported"
pytest_plugins = ["bare", "class_folders", "lanes", "rates", "trees"]
settings.register_profile("whatever else the machine does", deadline=None)
settings.load_profile("whatever else the machine does")
# One thread for torch, here and in the processes that tests start: threads that share cores with other tests spin while
# they wait (three small training steps on two busy cores: 9.6 CPU seconds with two threads, 1.2 with one).
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the tests expect a machine without GPUs
# Containers often forbid bytecode. Each process would compile this package anew: `predict` takes 1.5 CPU seconds then,
# and 1.1 with bytecode.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
SAMPLES = DIGITS / "samples"
# A shell starts background programs with these signals ignored, and children inherit that; tests send the signals.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape printed and logged names that are not UTF-8; they would end pytest-xdist."""
    report = yield
    report.sections = [(title, text.encode("utf-8", "backslashreplace").decode()) for title, text in report.sections]
    return report


class Resnest(Protocol):
    """Runs `resnest` in this process."""

    def __call__(self, *args: str | Path, stdin: bytes = b"") -> Result: ...


class Shell(Protocol):
    """Runs a program as a process, with the environment of the test and the changes in `env`."""

    def __call__(self, *command: str | Path, stdin: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]: ...


@pytest.fixture(scope="session")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of converted graphs that all test processes share; a conversion takes seconds."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "graphs"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session", autouse=True)
def _world_of_fixtures(graphs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Remove the user's settings and caches before the fixtures of a module or a session run."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith(("RESNEST_", "HF_", "HUGGINGFACE_")) or name.lower().endswith(("_proxy", "_color")):
                patch.delenv(name)
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("COLUMNS", "80")
        _move_in(tmp_path_factory.mktemp("home"), graphs, patch)
        yield


@pytest.fixture(autouse=True)
def _no_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer at once that a name is unknown, but for this machine's: a resolver elsewhere is asked nothing.

    Its answer could also take longer than the fractions of a second that tests of deadlines allow.
    """
    system = socket.getaddrinfo
    own = ("localhost", socket.gethostname())

    def look_up(host: str | bytes | None, *args: Any, **settings: Any) -> list[Any]:  # noqa: ANN401 - passed on
        name = host.decode("utf-8", "replace") if isinstance(host, bytes) else host
        if name is None or name.rstrip(".").endswith(own):
            return system(host, *args, **settings)
        return system(host, *args, **{**settings, "flags": settings.get("flags", 0) | socket.AI_NUMERICHOST})

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.fixture(autouse=True)
def _own_world(graphs: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Provide private caches per test; only the graphs are shared."""
    _move_in(tmp_path_factory.mktemp("home"), graphs, monkeypatch)


def _move_in(home: Path, graphs: Path, patch: pytest.MonkeyPatch) -> None:
    (home / "resnest").mkdir()
    (home / "resnest" / "graphs").symlink_to(graphs)
    patch.setenv("HF_HOME", str(home / "hf"))
    patch.setenv("RESNEST_CACHE", str(home / "resnest"))


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """Serve digits on loopback."""
    from servers import serving

    with serving() as found:
        yield found


@pytest.fixture
def decode_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make commands decode in their own process by default, for tests of other things.

    A worker takes 0.4 CPU seconds to start, three quarters of a command on one digit.
    """
    for command in ("PREDICT", "EMBED", "VALIDATE", "CALIBRATE", "EXPLAIN", "SIMILAR"):
        monkeypatch.setenv(f"RESNEST_{command}_WORKERS", "0")


@pytest.fixture(scope="session")
def held_out_digits() -> list[Any]:
    """Return the images on which the embedded model was not trained, by the split of the script."""
    script = runpy.run_path(str(Path(__file__).parents[1] / "scripts" / "data" / "digits_folders.py"))
    return [digit for digit in script["digits"]() if digit.part == "val"]


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Return the list of messages that the library logs, independent of other logging settings."""
    messages: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger = logging.getLogger("resnest_cli")
    monkeypatch.setattr(logger, "handlers", [Listener()])
    monkeypatch.setattr(logger, "disabled", False)
    level = logger.level
    logger.setLevel(logging.INFO)
    yield messages
    logger.setLevel(level)


@pytest.fixture(scope="session")
def resnest() -> Resnest:
    """Return a function that runs a command in this process; its result has exit_code, stdout and stderr."""

    def run(*args: str | Path, stdin: bytes = b"") -> Result:
        return CliRunner().invoke(cli, [str(arg) for arg in args], input=stdin, prog_name="resnest")

    return run


@pytest.fixture(scope="session")
def shell() -> Shell:
    """Return a function that runs a process; the first word "resnest" is the command under test."""

    def run(*command: str | Path, stdin: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
        words = [str(word) for word in command]
        if words[0] == "resnest":
            words[:1] = [sys.executable, "-m", "resnest_cli"]
        return subprocess.run(words, input=stdin, capture_output=True, env=os.environ | env, timeout=120, check=False)

    return run
