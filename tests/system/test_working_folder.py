"""The working folder may be a stranger's: no process of ours imports from it, nor reads there how to behave."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from planted import USUAL, Planted

from resnest_cli.system import processes

if TYPE_CHECKING:
    from conftest import Resnest, Shell

CONSOLE_SCRIPT = Path(sys.executable).with_name("resnest")
PACKAGES = Path(processes.__file__).parents[2]
# What starts as every command does, and then starts as torch does where processes are not forked: those that decode.
STARTING = """
import multiprocessing
from resnest_cli.system import lifetime
if __name__ == "__main__":
    lifetime.prepare()
    for method in ("spawn", "forkserver"):
        process = multiprocessing.get_context(method).Process(target=print, args=(method,))
        process.start()
        process.join()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """Make such a folder once; nothing in it may run, so no test leaves a trace for the next."""
    return Planted(tmp_path_factory.mktemp("planted"))


@pytest.fixture
def planted(folder: Planted, monkeypatch: pytest.MonkeyPatch) -> Planted:
    """Stand in that folder."""
    monkeypatch.chdir(folder.folder)
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ("predict", ".", "-m", "digits", "-j", "2"),
        ("bench", "-m", "digits", "--seconds", "0", "--engine", "torch", "--images", "."),
    ],
    ids=lambda words: words[0],
)
def test_a_command_and_its_processes_import_nothing_from_it(
    words: tuple[str, ...], planted: Planted, resnest: Resnest
) -> None:
    ended = resnest(*words, "-f", "jsonl")
    assert planted.imported() == []
    assert ended.exit_code == 0, ended.stderr
    assert all("error" not in json.loads(line) for line in ended.stdout.splitlines())


def test_no_library_that_torch_loads_comes_from_it(planted: Planted, shell: Shell) -> None:
    """NVIDIA's libcusparseLt looks for libcuda.so.1 there first, before the system's folders."""
    ended = shell(CONSOLE_SCRIPT, "predict", "a", "-m", "digits", "-j", "0", "--engine", "torch", "-f", "jsonl")
    assert (ended.returncode, ended.stdout.count(b'"status": "ok"')) == (0, 6), ended.stderr
    assert planted.imported() == []


def test_it_is_not_searched_for_python_m_either(tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = Planted(tmp_path, *USUAL)
    monkeypatch.chdir(planted.folder)
    ended = shell("resnest", "predict", ".", "-m", "digits", "-j", "2", "-f", "jsonl")
    assert planted.imported() == []
    assert (ended.returncode, ended.stdout.count(b'"status": "ok"')) == (0, 12)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="before 3.11 Python cannot be told to")
def test_processes_that_a_library_starts_import_nothing_from_it(planted: Planted, tmp_path: Path, shell: Shell) -> None:
    (tmp_path / "run.py").write_text(STARTING)
    ended = shell(sys.executable, tmp_path / "run.py")
    assert planted.imported() == []
    assert (ended.stdout.split(), ended.stderr) == ([b"spawn", b"forkserver"], b"")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="before 3.11 Python cannot be told to")
def test_python_itself_is_told_not_to_look_there(planted: Planted, shell: Shell) -> None:
    """From 3.13 on it imports linecache for `-c`; with -E, no environment variable tells it not to."""
    first, *rest = processes.command("platform", "machine")
    assert shell(first, "-E", *rest).returncode == 0
    assert "-P" in rest
    assert planted.imported() == []


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stand in an empty folder, with a search path of one folder elsewhere; return the path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["/elsewhere"])
    return sys.path


@pytest.mark.parametrize("first", ["", ".", "{here}", "{here}/."])
def test_what_python_puts_first_is_not_passed_on(first: str, search: list[str], tmp_path: Path) -> None:
    search.insert(0, first.format(here=tmp_path))
    assert processes.search_path() == ["/elsewhere"]


def test_folders_that_move_with_the_working_folder_are_not_passed_on(search: list[str], tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    search.extend(("lib", "", "__editable__.a_hook_and_no_folder"))
    assert processes.search_path() == ["/elsewhere", "__editable__.a_hook_and_no_folder"]


def test_what_the_user_names_is_passed_on(search: list[str], tmp_path: Path) -> None:
    search.append(str(tmp_path))  # as Python puts there what PYTHONPATH or an installed package names
    assert processes.search_path() == ["/elsewhere", str(tmp_path)]


@pytest.mark.parametrize("first", ["", str(PACKAGES)])
def test_where_the_package_lies_is_passed_on(first: str, search: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PACKAGES)
    search.insert(0, first)
    assert processes.search_path() == [str(PACKAGES), "/elsewhere"]


def test_a_folder_that_is_no_more_is_no_obstacle(search: list[str], tmp_path: Path) -> None:
    search.insert(0, "")
    tmp_path.rmdir()
    assert processes.search_path() == ["/elsewhere"]


def test_what_an_interpreter_was_told_not_to_look_at_its_processes_do_not(tmp_path: Path, shell: Shell) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('imported')")
    program = "from resnest_cli.system import processes; processes.start('platform', 'machine').wait()"
    told = shell(sys.executable, "-I", "-c", program, PYTHONPATH=str(tmp_path))
    assert (told.returncode, told.stdout, told.stderr) == (0, b"", b"")
