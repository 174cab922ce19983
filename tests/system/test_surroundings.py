"""Where a user has no home, may not look into a cache, or has another system: answers, or words for what to set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest
from conftest import SAMPLES

from resnest_cli.errors import UsageError
from resnest_cli.models import graphs, hub_cache, weights
from resnest_cli.models.catalog import find_model
from resnest_cli.system import atomic, cache
from resnest_cli.system.paths import Kind, Look

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from conftest import Shell
SEVEN = SAMPLES / "seven_0081.png"
# Runs the commands of each line of standard input in a fork, as a user whom the system does not know, and says when it
# has ended. What they import is imported before: the interpreter itself may lie where that user may not look.
AS_NOBODY = """
import json, os, pathlib, sys
from click.testing import CliRunner
from resnest_cli.cli import cli
from resnest_cli.engines.fake import FakeEngine
from resnest_cli.models import graphs, weights
from resnest_cli.pipeline import trunk
from resnest_cli.tasks import doctor
def write(folder):
    for name in graphs.FILES:
        (folder / name).write_text(name)
def open_engine(spec, options, want):  # it converts in a moment, and torch is not needed
    weights.locate(spec, options.weights)
    graphs.find("name") or graphs.ensure("name", lambda: graphs.store("name", write, {}))
    return FakeEngine(spec)
trunk.open_engine = open_engine
doctor._torch = doctor._openvino = lambda: "as it is"
def run(commands):
    ended = [CliRunner().invoke(cli, words, prog_name="resnest") for words in commands]
    return [(one.exit_code, one.stdout, one.stderr) for one in ended]
def become_nobody(environment):
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(54321)
        os.setuid(54321)
    for name in ("HOME", "XDG_CACHE_HOME", "RESNEST_CACHE", "HF_HOME", "TORCH_HOME"):
        os.environ.pop(name, None)
    os.environ |= environment
run(json.loads(sys.argv[1]))
for line in sys.stdin:
    if not os.fork():
        commands, environment = json.loads(line)
        become_nobody(environment)
        print(json.dumps(run(commands)), flush=True)
        sys.exit()
    os.wait()
    print("ended", flush=True)
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """Yield a folder that other users may enter; pytest's own are private."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


class Nobody(Protocol):
    """Runs commands as a user whom the system does not know; returns the exit code and both outputs of each."""

    def __call__(self, *commands: tuple[str | Path, ...], **environment: str) -> list[tuple[int, str, str]]: ...


@pytest.fixture(scope="module")
def as_nobody() -> Iterator[Nobody]:
    """Start one process for all tests here: importing what commands need takes a CPU second."""

    def run(*commands: tuple[str | Path, ...], **environment: str) -> list[tuple[int, str, str]]:
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps([in_words(commands), environment]) + "\n")
        found: list[tuple[int, str, str]] = [tuple(one) for one in json.loads(process.stdout.readline())]
        assert process.stdout.readline() == "ended\n"
        assert not [one for one in found if "Traceback" in one[2]]
        return found

    command = [sys.executable, "-c", AS_NOBODY, json.dumps(in_words(EVERY))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        yield run


def in_words(commands: Iterable[tuple[str | Path, ...]]) -> list[list[str]]:
    return [[*map(str, command)] for command in commands]


PREDICT = ("predict", SEVEN, "-m", "digits", "-f", "jsonl", "-j", "0")
EVERY = (
    PREDICT,
    ("list-models", "resnest14d"),
    ("doctor", "-f", "json"),
    ("cache", "list"),
    ("download", "resnest14d"),
    ("predict", SEVEN, "-m", "resnest14d", "-j", "0"),
)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become a user without a name")
def test_a_user_without_a_home_gets_answers_or_is_told_what_to_set(as_nobody: Nobody) -> None:
    predict, models, doctor, kept, download, variant = as_nobody(*EVERY)
    assert (predict[0], json.loads(predict[1])["status"]) == (0, "ok")
    assert predict[2].count("this user has no home folder: converted models are kept for this run only. Set ") == 1
    assert (models[0], models[1].split()[-1]) == (0, "unknown")
    told = json.loads(doctor[1])["cache"]
    assert doctor[0] == kept[0] == 0
    assert told["weights"].startswith("no: this user has no home folder for ~/.cache/huggingface: set HF_HOME to ")
    assert not Path(told["folder"]).exists()  # it ended with the process
    assert download[0] == 1
    assert "set HF_HOME to a folder to write in." in download[1]
    assert variant[0] == 2
    assert variant[2].endswith("~/.cache/huggingface: set HF_HOME to a folder to write in.\n")


def test_caches_that_may_not_be_entered_are_named(as_nobody: Nobody, place: Path) -> None:
    names = ("RESNEST_CACHE", "HF_HOME", "TORCH_HOME")
    environment = {name: str(place / name) for name in names}
    for name in names:
        (place / name).mkdir(mode=0)
    predict, models, doctor, kept, download, variant = as_nobody(*EVERY, **environment)
    assert (predict[0], json.loads(predict[1])["status"]) == (0, "ok")
    assert f"{place}/RESNEST_CACHE: Permission denied: converted models are kept for this run only" in predict[2]
    assert (models[0], models[1].split()[-1]) == (0, "unknown")
    told = json.loads(doctor[1])["cache"]
    assert told["weights"] == f"{place}/HF_HOME/hub (cannot be read: Permission denied)"
    assert told["checkpoints"] == f"{place}/TORCH_HOME/hub/checkpoints (cannot be read: Permission denied)"
    assert kept[0] == 0  # the folder that `predict` has made instead
    why = f"HF_HOME: {place}/HF_HOME/hub cannot be read: Permission denied. Set HF_HOME to a folder that can."
    assert (download[0], why in " ".join(download[1].split())) == (1, True)
    assert (variant[0], variant[2]) == (2, f"error: {why}\n")


def test_our_own_cache_that_may_not_be_read_is_named(as_nobody: Nobody, place: Path) -> None:
    (place / "mine").mkdir(mode=0)
    kept, cleared = as_nobody(("cache", "list"), ("cache", "clear"), RESNEST_CACHE=str(place / "mine"))
    words = f"error: {place}/mine cannot be read: Permission denied. Set RESNEST_CACHE to a folder that can.\n"
    assert kept == cleared == (1, "", words)


# --- our own cache


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Undo what a test, or `cache.writable`, changes of the environment."""
    for name in ("HOME", "RESNEST_CACHE"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    return monkeypatch


def store() -> graphs.Graph:
    def write(folder: Path) -> None:
        for name in graphs.FILES:
            (folder / name).write_text(name)

    return graphs.ensure("name", lambda: graphs.store("name", write, {}))


def test_a_cache_that_is_a_file_is_said_and_another_serves_for_this_run(
    environment: pytest.MonkeyPatch, tmp_path: Path, logged: list[str]
) -> None:
    (tmp_path / "file").touch()
    environment.setenv("RESNEST_CACHE", str(tmp_path / "file"))
    made = store()
    assert store() == made
    assert made.folder.stat().st_mode & 0o077 == 0
    why = f"{tmp_path / 'file'}: File exists"
    assert logged == [f"{why}: converted models are kept for this run only. Set RESNEST_CACHE to a folder to write in"]


def test_what_is_in_a_cache_serves_where_nothing_can_be_added(
    as_nobody: Nobody, environment: pytest.MonkeyPatch, place: Path
) -> None:
    """An image of a container may bring it, read-only."""
    ready = place / "ready"
    environment.setenv("RESNEST_CACHE", str(ready))
    store().folder.chmod(0o755)  # `mkdtemp` makes it for its owner only
    ready.joinpath("graphs").chmod(0o555)
    ready.chmod(0o555)
    (found,) = as_nobody(PREDICT, RESNEST_CACHE=str(ready))
    assert (found[0], json.loads(found[1])["status"]) == (0, "ok")
    assert "for this run only" not in found[2]
    for folder in (ready, ready / "graphs"):  # so that it can be removed
        folder.chmod(0o755)


@pytest.mark.parametrize("name", ["~/mine", "$HOME/mine"])
def test_the_cache_may_be_named_from_the_home(environment: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    environment.setenv("HOME", str(tmp_path))
    environment.setenv("RESNEST_CACHE", name)
    assert cache.folder() == tmp_path / "mine"


def test_what_another_process_removes_meanwhile_stops_no_conversion(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A partial graph is listed, then it gets its name, and then it is looked at: as here, where it leads nowhere."""
    environment.setenv("RESNEST_CACHE", str(tmp_path))
    (tmp_path / "graphs").mkdir()
    (tmp_path / "graphs" / f"{atomic.PREFIX}other").symlink_to("gone")
    assert store().folder == tmp_path / "graphs" / "name"


def test_waiting_for_another_process_that_converts_is_said(
    environment: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "resnest_cli")
    environment.setenv("RESNEST_CACHE", str(tmp_path))
    with ThreadPoolExecutor(1) as pool:
        with graphs.lock(tmp_path / "graphs" / "name"):
            waiting = pool.submit(store)
            while "another process" not in caplog.text:
                assert not waiting.done()
        assert waiting.result().folder == tmp_path / "graphs" / "name"
    assert caplog.messages == ["waiting for another process that converts the same"]


# --- the Hugging Face cache


def test_the_variable_that_is_set_is_the_one_that_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub_cache, "look", lambda _: Look(Kind.UNKNOWN, "Permission denied."))
    with pytest.raises(UsageError, match=rf"^HF_HUB_CACHE: {tmp_path} cannot be read: Permission denied\. Set HF_HOME"):
        hub_cache.find("timm/resnest14d.gluon_in1k", "model.safetensors")
    assert weights.is_cached(find_model("resnest14d")) is None


def test_a_home_of_the_mirror_that_may_not_be_entered_is_no_obstacle(as_nobody: Nobody, place: Path) -> None:
    (place / "torch").mkdir(mode=0)
    (models,) = as_nobody(("list-models", "resnest14d"), TORCH_HOME=str(place / "torch"), HF_HOME=str(place / "hf"))
    assert (models[0], models[1].split()[-1]) == (0, "no")


# --- a library that is there, and cannot be loaded


def test_an_openvino_that_the_system_cannot_load_is_said(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "openvino").mkdir()
    (tmp_path / "openvino" / "__init__.py").write_text(
        "raise ImportError('libtbb.so.12: cannot open shared object file')"
    )
    ended = shell("resnest", *PREDICT, "--device", "cpu", PYTHONPATH=str(tmp_path))
    assert (ended.returncode, ended.stdout) == (1, b"")
    assert ended.stderr.decode() == (
        "error: openvino cannot be loaded: libtbb.so.12: cannot open shared object file. Install it anew "
        "(pip install --force-reinstall openvino), or use --engine torch.\n"
    )


# --- another system

# What Windows has not: modules, and names of those it has. Other libraries are loaded before, and keep theirs.
ON_WINDOWS = """
import importlib, json, os, pkgutil, signal, sys
import resnest_cli
from click.testing import CliRunner
import filelock
modules = [one.name for one in pkgutil.walk_packages(resnest_cli.__path__, "resnest_cli.")]
modules.remove("resnest_cli.__main__")
for name in modules:
    importlib.import_module(name)
for name in [name for name in sys.modules if name.partition(".")[0] == "resnest_cli"]:
    del sys.modules[name]
for name in ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty"):
    sys.modules[name] = None
of_posix = {
    signal: "SIGKILL SIGHUP SIGQUIT SIGALRM SIGUSR1 SIGUSR2 SIGCHLD SIGPIPE SIGSTOP SIGCONT SIGTSTP pthread_kill "
    "pthread_sigmask sigwait alarm setitimer",
    os: "fork forkpty register_at_fork geteuid getuid getegid getgid setuid setgid setgroups setsid killpg getpgid "
    "mkfifo mknod chown lchown nice sched_getaffinity sched_setaffinity getloadavg uname sysconf initgroups "
    "O_NONBLOCK O_CLOEXEC O_NOFOLLOW O_DIRECTORY",
}
hidden = [(module, name) for module, names in of_posix.items() for name in {*names.split()} & {*dir(module)}]
kept = {name: getattr(module, name) for module, name in hidden}
for module, name in hidden:
    delattr(module, name)
for name in modules:
    importlib.import_module(name)
signal.SIGKILL, os.O_NONBLOCK, os.O_CLOEXEC = kept["SIGKILL"], kept["O_NONBLOCK"], kept["O_CLOEXEC"]  # others' need
from resnest_cli.pipeline import decoders
from resnest_cli.cli import cli
from resnest_cli.system import lifetime
class System:  # as one whose processes cannot be given pipes; pathlib asks the real one
    name = "nt"
    def __getattr__(self, name):
        return getattr(os, name)
decoders.os = System()
lifetime.prepare()
ended = [CliRunner().invoke(cli, words, prog_name="resnest") for words in json.loads(sys.argv[1])]
print(json.dumps([(one.exit_code, one.stdout, one.stderr) for one in ended]))
"""


def test_nothing_is_needed_that_windows_has_not() -> None:
    """Every module is imported, a picture is classified, and a benchmark is run, all but what it calls being POSIX."""
    words = [
        [*map(str, (*PREDICT[:-1], "2", "--device", "cpu"))],
        ["bench", "-m", "digits", "--seconds", "0", "-f", "jsonl", "--device", "cpu"],
    ]
    ended = subprocess.run(
        [sys.executable, "-c", ON_WINDOWS, json.dumps(words)], capture_output=True, check=False, timeout=240
    )
    assert ended.returncode == 0, ended.stderr
    predict, bench = json.loads(ended.stdout.splitlines()[-1])
    assert (predict[0], json.loads(predict[1])["predictions"][0]["label"]) == (0, "seven")
    assert "-j 2: this system decodes in one process.\n" in predict[2]
    assert (bench[0], json.loads(bench[1])["steps"]) == (0, 5)
