"""The first seconds of a run: what is wrong is said before torch is loaded, and the check shows how far it is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from class_folders import fill

from resnest_cli.cli.training_screen import Screen
from resnest_cli.cli.view import View
from resnest_cli.inputs.labelled import training_set
from resnest_cli.inputs.labelled.check import Scanning
from resnest_cli.inputs.pool import Pool

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Shell

# The command where neither torch nor timm can be imported, though both are installed.
WITHOUT_TORCH = """
import sys
def refuse(event, args):
    if event == "import" and args[0] in {"torch", "timm"}:
        raise SystemExit("torch is loaded")
sys.addaudithook(refuse)
from resnest_cli.cli import main
main()
"""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nosuch",), "nosuch: no such folder or table."),
        (("empty",), "empty has no class folders: put the images of each class"),
        (("images", "--groups", "animal"), "images has no table with a column 'animal'"),
        (("list.csv", "--groups", "animal"), "list.csv has no column 'animal' for --groups; it has: path, label."),
        (("images", "-o", "images/out"), "images/out lies in "),
        (("images", "-o", "empty/.."), "empty/.. exists: go on with the run in it with --resume"),
        (("images", "--epochs", "0"), "--epochs 0: use a number from 1."),
        (("images", "-m", "resnest5"), "there is no model 'resnest5'."),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else "",
)
def test_what_is_wrong_is_said_before_torch_is_loaded(
    words: tuple[str, ...], said: str, tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "images", {"a": 2, "b": 2})
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.csv").write_text("path,label\nimages/a/0.png,a\nimages/b/0.png,b\n")
    ended = shell(sys.executable, "-c", WITHOUT_TORCH, "finetune", *words)
    assert said in ended.stderr.decode()
    assert ended.returncode in {1, 2}
    assert "loading" not in ended.stderr.decode()


def test_the_check_says_at_once_how_many_files_there_are_and_counts_them(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 2, "b": 1})
    (tmp_path / "b" / "bad.png").write_bytes(b"")
    steps = training_set.load(training_set.find(tmp_path), share=0.2, seed=0)
    assert next(steps) == Scanning(0, 4)  # before a process is started
    assert list(steps) == [Scanning(done, 4) for done in (1, 2, 3, 4)]


def test_where_no_bar_is_drawn_a_line_says_that_files_are_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = [Scanning(0, 3068), Scanning(1, 3068), Scanning(3068, 3068)]
    Screen(View(), tmp_path).show(events)
    assert capsys.readouterr().err == "checking 3,068 files ...\n"
    Screen(View(quiet=True), tmp_path).show(events)
    assert capsys.readouterr().err == ""


def test_a_check_that_is_left_ends_its_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[None] = []
    close = Pool.close
    monkeypatch.setattr(Pool, "close", lambda pool: closed.append(close(pool)))
    steps = training_set.load(training_set.find(fill(tmp_path, {"a": 2, "b": 2})), share=0.2, seed=0)
    assert [next(steps).done for _ in range(2)] == [0, 1]
    steps.close()
    assert len(closed) == 1
