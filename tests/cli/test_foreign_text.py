"""Text that others wrote, on a terminal: it moves no cursor, makes no link, hides nothing and floods no screen."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import tarfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from conftest import SAMPLES
from hub_stub import Page, Stub
from safetensors.numpy import save_file

from resnest_cli.cli.output import DownloadBar, bar, console, status
from resnest_cli.errors import ExitCode
from resnest_cli.outputs.rows import read_json, to_json
from resnest_cli.text.terminal import MAX_ERROR

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Resnest, Shell

SEVEN = SAMPLES / "seven_0081.png"
DIGITS = ("-m", "digits", "-j", "0")
LINK = "\x1b]8;;http://127.0.0.1/\x07[link=http://127.0.0.1/]x[/link][/]\x1b]8;;\x1b\\"
EVIL = f"{LINK}\x1b[2J\x9b31m\x9d0;t\x9c\u202e\u2066\u200b\u2028\u2029\x7f\x85\x08\r\ud800x\udcff\U000e0041"
IN_BYTES = EVIL.encode("utf-8", "surrogatepass")
IN_A_NAME = EVIL.replace("/", "").replace("\ud800", "")  # of a file


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make lines long enough that nothing is cut, or wrapped in the middle of what is looked for."""
    monkeypatch.setenv("COLUMNS", "2000")


def is_harmless(text: str) -> bool:
    return text.replace("\n", "").isprintable() and "[2J" in text


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Make a model folder whose every name is hostile."""
    folder = tmp_path / "model"
    shutil.copytree(SAMPLES.parent, folder, ignore=shutil.ignore_patterns("samples"))
    config = json.loads((folder / "config.json").read_text())
    config["label_names"] = [f"{EVIL}{i}" for i in range(10)]
    config["wnids"] = [f"{EVIL}{i}" for i in range(10)]
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ("show",),
        ("show", "-f", "csv"),
        *(("predict", str(SEVEN), "-j", "0", "-f", "table", "-k", k, "-m") for k in "12"),
        ("validate", str(SAMPLES.parent), "-j", "0", "-m"),
    ],
    ids=" ".join,
)
def test_names_in_a_model(resnest: Resnest, model: Path, words: tuple[str, ...]) -> None:
    if words[0] == "validate":
        (model / "list.csv").write_text(f"path,label\n{SEVEN},3\n")
        words = ("validate", str(model / "list.csv"), *words[2:])
    ended = resnest(*words[:1], model, *words[1:]) if words[0] == "show" else resnest(*words, model)
    assert ended.exit_code == 0, ended.output
    assert is_harmless(ended.stdout) or words[-1] == "csv"
    assert ended.stderr.replace("\n", "").isprintable()


@pytest.mark.parametrize("key", ["model_args", "architecture", "pretrained_cfg"])
def test_keys_and_values_of_a_config(resnest: Resnest, model: Path, key: str) -> None:
    config = json.loads((model / "config.json").read_text())
    config[key] = EVIL if key == "architecture" else {**config[key], EVIL: EVIL}
    (model / "config.json").write_text(json.dumps(config))
    for words in (("show", model), ("predict", SEVEN, "-j", "0", "-m", model, "-v")):
        ended = resnest(*words)
        assert ended.output.replace("\n", "").isprintable()


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_names_of_tensors(resnest: Resnest, tmp_path: Path, suffix: str) -> None:
    path, name = tmp_path / f"x.{suffix}", EVIL.replace("\ud800", "").replace("\udcff", "")
    if suffix == "pth":
        import torch

        torch.save({name: torch.zeros(2)}, path)
    else:
        save_file({name: np.zeros(2, np.float32)}, path, metadata={EVIL[:20]: name})
    for more in ((), ("-v",)):
        ended = resnest("predict", SEVEN, *DIGITS, "--weights", path, "-q", *more)
        assert ended.exit_code == ExitCode.FAILED
        assert is_harmless(ended.stderr), ended.stderr


@pytest.mark.slow
def test_what_a_hub_says(resnest: Resnest, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = "\x1b]8;;http://127.0.0.1/\x07\x1b[2J\x9b31m\x7f" + 60_000 * "x"
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    for status_ in (403, 503):
        headers = {"X-Error-Message": evil, "X-Error-Code": evil, "Retry-After": "9", "Location": evil}
        page = Page(b"", status_, headers)
        with Stub({f"/timm/x/resolve/main/{name}": page for name in ("config.json", "model.safetensors")}) as hub:
            monkeypatch.setenv("HF_ENDPOINT", hub.url)
            ended = resnest("predict", SEVEN, "-m", "hf-hub:timm/x", "-v")
        assert ended.exit_code == ExitCode.FAILED
        assert is_harmless(ended.stderr)
        assert len(ended.stderr) < 20_000


@pytest.mark.parametrize(
    "words",
    [
        (EVIL,),
        (f"--{EVIL}",),
        ("predict", f"--{EVIL}"),
        ("predict", EVIL, "-b", EVIL, "-m", "digits"),
        ("predict", EVIL, "-m", EVIL),
        ("predict", EVIL, "-f", EVIL),
        ("show", EVIL),
        ("list-models", EVIL),
        ("cache", EVIL),
        ("download", f"hf-hub:{EVIL}/x"),
        ("validate", EVIL, "-m", "digits"),
        ("calibrate", "digits", EVIL, "-o", EVIL),
        ("predict", str(SEVEN), "-m", "digits", "--calibration", EVIL),
        ("similar", EVIL, "--index", f"{EVIL}.npy"),
        ("sort", f"{EVIL}.jsonl", "--to", EVIL),
        ("sort", "--undo", EVIL),
        ("convert", f"{EVIL}.jsonl"),
        ("tag", f"{EVIL}.jsonl"),
        ("check", f"{EVIL}.jsonl"),
        ("predict", "--files-from", EVIL),
        ("quantize", "digits", "--calibrate", EVIL, "-o", EVIL),
        ("export", EVIL, "--to", "onnx", "-o", "x"),
        ("finetune", EVIL, "-o", EVIL),
        ("bench", "-m", EVIL, "-b", "1"),
        ("explain", "x", "-o", EVIL, "--class", EVIL, "-m", EVIL),
        ("predict", str(SEVEN), "-m", "digits", "-o", f"{EVIL}/x.csv"),
        ("predict", str(SEVEN), "-m", "digits", "--labels", EVIL),
    ],
    ids=range(27),
)
def test_what_is_typed_is_repeated_in_words(resnest: Resnest, words: tuple[str, ...]) -> None:
    ended = resnest(*words)
    assert ended.exit_code in {ExitCode.FAILED, ExitCode.USAGE, ExitCode.SOME_FAILED}
    assert ended.stderr.replace("\n", "").isprintable()


def test_what_the_environment_says(resnest: Resnest, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = EVIL.replace("\ud800", "")
    for name in ("HF_ENDPOINT", "HF_HOME", "RESNEST_CACHE", "TORCH_HOME", "HTTPS_PROXY", "CUDA_VISIBLE_DEVICES"):
        with monkeypatch.context() as patch:
            patch.setenv(name, evil)
            patch.setattr("resnest_cli.tasks.doctor._torch", lambda: evil)
            for words in (("doctor",), ("cache", "list"), ("predict", SEVEN, "-m", "resnest50d")):
                ended = resnest(*words)
                assert ended.stderr.replace("\n", "").isprintable()
                assert ended.stdout.replace("\n", "").isprintable()
    monkeypatch.setenv("RESNEST_PREDICT_BATCH", evil)
    assert is_harmless(resnest("predict", SEVEN, *DIGITS).stderr)


def test_names_of_files_classes_and_members(resnest: Resnest, tmp_path: Path) -> None:
    folder = tmp_path / "data" / IN_A_NAME
    folder.mkdir(parents=True)
    (folder / f"{IN_A_NAME}.png").write_bytes(b"\x89PNG")
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        member = tarfile.TarInfo(f"{IN_A_NAME}/{IN_A_NAME}.png")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"\x89PNG"))
    for words in (
        ("predict", tmp_path / "data", "-f", "table", *DIGITS),
        ("predict", tmp_path / "data", "-f", "table", "-k", "1", *DIGITS, "-v"),
        ("validate", tmp_path / "data", *DIGITS),
        ("validate", tmp_path / "x.tar", *DIGITS),
        ("finetune", tmp_path / "data", "-m", "digits", "-o", tmp_path / "out"),
    ):
        ended = resnest(*words)
        assert is_harmless(ended.stderr + ended.stdout), words
        assert ended.output.replace("\n", "").isprintable(), words


# What others write by themselves

OTHERS = """
import logging, sys, threading, warnings
from resnest_cli.system import lifetime
lifetime.prepare()
evil = sys.argv[1]
warnings.warn(evil)
logging.getLogger("urllib3.connectionpool").warning("Failed to parse headers: %s", evil)
thread = threading.Thread(target=lambda: int(evil))
thread.start()
thread.join()
class Odd:
    def __del__(self):
        raise ValueError(evil)
Odd()
raise RuntimeError(evil)
"""


def test_warnings_logs_and_failures_of_others(shell: Shell) -> None:
    ended = shell(sys.executable, "-c", OTHERS, EVIL.replace("\ud800", ""))
    said = ended.stderr.decode()
    assert said.replace("\n", "").isprintable()
    assert said.count(r"\x1b[2J") >= 5
    assert [line.partition(":")[0] for line in said.splitlines()[:2]] == ["UserWarning", "Failed to parse headers"]


def test_whatever_rich_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")  # no colors
    for width in ("24", "80"):
        monkeypatch.setenv("COLUMNS", width)
        out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict")
        screen = console(out)
        screen.print(EVIL)
        with status(EVIL.replace("[/]", ""), screen):
            screen.print("done")
        for _ in bar([1], lambda: 1, EVIL, screen):
            pass
        download = DownloadBar(screen)
        download.follow(EVIL)(1, 2)
        download.stop()
        screen.file.flush()
        assert out.buffer.getvalue().decode().replace("\n", "").isprintable()
        console.cache_clear()


def test_an_error_floods_no_screen(resnest: Resnest) -> None:
    ended = resnest("predict", SEVEN, "-m", "x" * 100_000)
    assert ended.exit_code == ExitCode.USAGE
    assert len(ended.stderr) < MAX_ERROR + 100
    assert "list-models" in ended.stderr[-200:]


def test_json_stays_json_in_a_pipe(resnest: Resnest, model: Path) -> None:
    assert json.loads(resnest("show", model, "-f", "json").stdout)["label_names"][3] == f"{EVIL}3"
    row: dict[str, Any] = {"path": EVIL, "status": "ok", "predictions": []}
    assert read_json(to_json(row)) == row
    assert to_json(row).decode().isprintable()


@pytest.mark.parametrize("style", ["bash", "zsh", "fish"])
def test_what_a_shell_completes(shell: Shell, tmp_path: Path, style: str) -> None:
    (tmp_path / IN_A_NAME).touch()
    ended = shell(
        *(sys.executable, "-c", "from resnest_cli.cli import main; main()"),
        _RESNEST_COMPLETE=f"{style}_complete",
        COMP_WORDS="resnest predict --mo",
        COMP_CWORD="2",
    )
    assert ended.stdout.decode().replace("\n", "").isprintable()
    assert os.fsencode(IN_A_NAME) not in ended.stdout
