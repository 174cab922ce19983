"""Jobs from Python: one call writes a file, the same call resumes it, and the commands take turns with it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from conftest import SAMPLES, Resnest, Shell

from resnest_cli import Classifier, Embedder, FakeEngine
from resnest_cli.errors import ExitCode, OutputError, TooManyFailures, UsageError
from resnest_cli.models.catalog import DIGITS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# A job whose inputs end with the process: rows are on the disk by then, and the job is not finished.
KILLED = """
import os, signal, sys
from resnest_cli import Classifier, Embedder

def names():
    yield from sys.argv[3:]
    os.kill(os.getpid(), signal.SIGKILL)

with {"Classifier": Classifier, "Embedder": Embedder}[sys.argv[1]]("digits", workers=0, batch=2) as model:
    model.write(names(), sys.argv[2])
"""
COMMANDS = {"Classifier": "predict", "Embedder": "embed"}
BEGUN = 20  # inputs that a job sees before it ends


@pytest.fixture(scope="module")
def inputs() -> list[str]:
    """Name images, and one that is not there."""
    names = [str(path) for path in sorted(SAMPLES.iterdir())] * 3
    names[3] = "lost.png"
    return names


def begin(task: str, path: Path, inputs: list[str]) -> None:
    """Begin a job from Python, and kill its process."""
    words = [sys.executable, "-c", KILLED, task, str(path), *inputs[:BEGUN]]
    assert subprocess.run(words, check=False).returncode == -9
    journal = path if path.suffix in {".csv", ".jsonl"} else path.with_name(f"{path.name}.part")
    assert journal.stat().st_size
    assert path.with_name(f"{path.name}.resume.json").exists()


def written(folder: Path, stem: str) -> dict[str, bytes]:
    """Read what is written under a name, but for the record of the finished job."""
    return {path.suffix: path.read_bytes() for path in folder.glob(f"{stem}*")}


@pytest.mark.parametrize(
    ("task", "name"),
    [("Classifier", "x.csv"), ("Classifier", "x.json"), ("Embedder", "x.npy"), ("Embedder", "x.jsonl")],
)
def test_a_job_that_python_began_is_resumed_by_python_and_by_the_command(
    task: str, name: str, inputs: list[str], resnest: Resnest, tmp_path: Path
) -> None:
    for folder in ("whole", "python", "command"):
        (tmp_path / folder).mkdir()
    model = {"Classifier": Classifier, "Embedder": Embedder}[task]("digits", workers=0, batch=2)
    with model:
        whole = model.write(inputs, tmp_path / "whole" / name)
        begin(task, tmp_path / "python" / name, inputs)
        resumed = model.write(inputs, tmp_path / "python" / name, resume=True)
    assert 0 < resumed.earlier <= BEGUN
    assert (resumed.ok, resumed.failures) == (whole.ok, whole.failures) == (len(inputs) - 1, {"UnreadableInput": 1})
    begin(task, tmp_path / "command" / name, inputs)
    how = ("-m", "digits", "-j", "0", "-b", "2", "--resume")
    ended = resnest(COMMANDS[task], *inputs, "-o", tmp_path / "command" / name, *how)
    assert ended.exit_code == ExitCode.SOME_FAILED
    assert f" done before.\n1 of {len(inputs)} inputs failed" in ended.stderr
    assert written(tmp_path / "python", "x") == written(tmp_path / "command", "x") == written(tmp_path / "whole", "x")


def test_a_job_that_the_command_began_is_resumed_by_python(inputs: list[str], resnest: Resnest, tmp_path: Path) -> None:
    path, whole = tmp_path / "x.csv", tmp_path / "whole.csv"
    how = ("-m", "digits", "-j", "0", "-b", "2")
    assert resnest("predict", *inputs, "-o", path, *how, "--max-failures", "0").exit_code == ExitCode.FAILED
    assert resnest("predict", *inputs, "-o", whole, *how).exit_code == ExitCode.SOME_FAILED
    with Classifier("digits", workers=0, batch=2) as model:
        assert model.write(inputs, path, resume=True).earlier
        assert path.read_bytes() == whole.read_bytes()
        again = model.write(inputs, path, resume=True)
    assert (again.complete, again.earlier, again.failed) == (True, len(inputs), 1)


@pytest.mark.parametrize("task", COMMANDS)
def test_a_model_folder_is_the_same_under_each_of_its_names(
    task: str, resnest: Resnest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(DIGITS, "dir")
    shutil.copytree(DIGITS, "copy")
    words = (COMMANDS[task], str(SAMPLES), "lost.png", "-j", "0", "-o", "x.jsonl", "-m")
    assert resnest(*words, "dir", "--max-failures", "0").exit_code == ExitCode.FAILED
    for name in ("./dir", tmp_path / "dir", "copy"):
        ended = resnest(*words, str(name), "--resume")
        assert (ended.exit_code, "was begun with" in ended.stderr) == (ExitCode.SOME_FAILED, False)
    assert "complete: " in ended.stderr
    ended = resnest(*words, "digits", "--resume")
    assert "x.jsonl was begun with other settings: model resnest" in ended.stderr


@pytest.fixture
def fake() -> Iterator[Classifier]:
    with Classifier("digits", engine=FakeEngine(), workers=0) as model:
        yield model


def test_a_plain_job_imports_nothing_of_those_that_go_on(shell: Shell, tmp_path: Path) -> None:
    code = f"""
import sys
from resnest_cli import Classifier
with Classifier("digits", device="cpu", workers=0) as model:
    model.write({str(SAMPLES / "two_0051.png")!r}, {str(tmp_path / "x.csv")!r})
later = {{"growing", "ledger", "reading", "retrying"}}
print(*(name for name in sys.modules if name.rpartition("outputs.")[2] in later))
"""
    assert shell(sys.executable, "-c", code).stdout == b"\n"


def test_python_is_refused_what_commands_are(fake: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    fake.write(SAMPLES, path)
    with pytest.raises(OutputError, match=r"x\.csv exists; add overwrite=True to replace it"):
        fake.write(SAMPLES, path)
    with pytest.raises(OutputError, match="topk 5, now 2"):
        fake.write(SAMPLES, path, topk=2, resume=True)
    with pytest.raises(UsageError, match="exclude each other"):
        fake.write(SAMPLES, path, resume=True, overwrite=True)
    with pytest.raises(UsageError, match="its suffix names no format"):
        fake.write(SAMPLES, tmp_path / "x.txt")
    with pytest.raises(UsageError, match='format="xml": use one of auto, jsonl'):
        fake.write(SAMPLES, tmp_path / "x.txt", format="xml")
    with pytest.raises(UsageError, match="thumbnails=True"):
        fake.write(SAMPLES, tmp_path / "x.html")
    with pytest.raises(TooManyFailures, match="1 of 1 inputs failed, more than max_failures=0 allows"):
        fake.write("lost.png", tmp_path / "y.csv", max_failures=0)
    assert fake.write([SAMPLES, "lost.png"], path, overwrite=True, max_failures="50%").failed == 1


def test_a_page_has_its_pictures(tmp_path: Path) -> None:
    with Classifier("digits", engine=FakeEngine(), workers=0, thumbnails=True) as model:
        assert model.write(SAMPLES, tmp_path / "x.html").failed == 0
    assert '"thumbnail": "data:image/' in (tmp_path / "x.html").read_text()
