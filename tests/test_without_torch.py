"""Every command but training, where only the base is installed: neither torch nor timm, in no process of it."""

from __future__ import annotations

import csv
import json
import pickle
import shutil
from collections import Counter
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from conftest import SAMPLES
from PIL import Image, ImageChops

from resnest_cli.errors import ExitCode

if TYPE_CHECKING:
    from pathlib import Path
    from subprocess import CompletedProcess

    from bare import Bare

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIGITS = ("-m", "digits")
TWO = SAMPLES / "two_0051.png"
NOT_HERE = """
from importlib.util import find_spec
print([name for name in ("torch", "torchvision", "timm", "captum", "yaml", "matplotlib") if find_spec(name)])
"""
# The command on a CPU that is said to compute int8 natively, so that one without the instructions tries it too.
WITH_INT8 = """
from resnest_cli.engines import runtime
runtime.has_int8 = lambda: True
from resnest_cli.cli import main
main()
"""
LIBRARY = """
import sys
from resnest_cli import Classifier
with Classifier("digits") as model:
    print(*(result.top1.label for result in model.predict(sys.argv[1])))
"""


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the samples in a folder per class."""
    root = tmp_path_factory.mktemp("folders")
    for image in SAMPLES.iterdir():
        folder = root / image.name.partition("_")[0]
        folder.mkdir(exist_ok=True)
        shutil.copy(image, folder)
    return root


def done(ended: CompletedProcess[bytes], code: int = ExitCode.OK) -> str:
    """Return what a command printed, which ended with this code."""
    assert ended.returncode == code, ended.stderr.decode()
    return ended.stdout.decode()


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_neither_torch_nor_an_extra_is_there(bare: Bare) -> None:
    assert done(bare.run("-c", NOT_HERE)) == "[]\n", "the installation is older than pyproject.toml: pip install -e ."


def test_predict_of_one_file(bare: Bare) -> None:
    (row,) = rows(done(bare("predict", TWO, *DIGITS, "-k", "1", "-f", "jsonl")))
    (answer,) = row["predictions"]
    assert (answer["label"], answer["probability"]) == ("two", pytest.approx(0.8315453, abs=1e-5))
    assert " 1  two " in done(bare("predict", TWO, *DIGITS, "-f", "table"))


@pytest.mark.slow
def test_predict_of_a_folder_that_is_stopped_and_resumed(bare: Bare, folders: Path, tmp_path: Path) -> None:
    broken = tmp_path / "pictures" / "five" / "a.png"
    shutil.copytree(folders, tmp_path / "pictures")
    broken.write_bytes(b"")
    job = ("predict", broken.parents[1], *DIGITS, "-b", "2", "-o", tmp_path / "rows.csv")
    done(bare(*job, "--max-failures", "0"), ExitCode.FAILED)
    done(bare(*job, "--resume"), ExitCode.SOME_FAILED)
    with (tmp_path / "rows.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert Counter(row["status"] for row in found) == {"ok": 12, "error": 1}
    assert all(row["label_1"] in row["path"] for row in found if row["status"] == "ok")


def test_predict_as_a_page(bare: Bare, tmp_path: Path) -> None:
    done(bare("predict", SAMPLES, *DIGITS, "-o", tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert all(image.name in page for image in SAMPLES.iterdir())


def test_predict_with_a_variant_and_the_names_of_imagenet(bare: Bare) -> None:
    (row,) = rows(done(bare("predict", TWO, "-m", "resnest14d", "--random-weights", "-k", "1000", "-f", "jsonl")))
    named = {answer["index"]: (answer["wnid"], answer["label"]) for answer in row["predictions"]}
    assert len(named) == 1000
    assert named[258] == ("n02111889", "Samoyed")


def test_predict_with_options_of_every_kind(bare: Bare) -> None:
    options = ("--device", "cpu", "--engine", "openvino", "--precision", "fp32", "-j", "1", "--img-size", "48")
    (row,) = rows(done(bare("predict", TWO, *DIGITS, *options, "-f", "jsonl")))
    assert row["predictions"][0]["label"] == "two"


def test_models_are_listed_and_shown(bare: Bare) -> None:
    assert done(bare("list-models")).count("resnest") == 8
    assert "resnest269e" in done(bare("show", "resnest269e"))
    assert "digits" in done(bare("show", "digits"))


@pytest.mark.slow
def test_bench(bare: Bare) -> None:
    (row,) = json.loads(done(bare("bench", *DIGITS, "--seconds", "0", "-f", "json")))
    assert (row["engine"], row["device"], row["param_count"]) == ("openvino", "cpu", 0.31)
    assert row["samples_per_sec"] > 0
    assert "torch" not in row["versions"]


def test_validate(bare: Bare, folders: Path) -> None:
    found = json.loads(done(bare("validate", folders, *DIGITS, "-f", "json")))
    assert (found["top1"], found["n"], found["errors"]) == (100.0, 12, 0)


def test_calibrate_and_predict_with_it(bare: Bare, tmp_path: Path) -> None:
    for image, shift in product(SAMPLES.iterdir(), (0, 1)):
        place = tmp_path / "data" / image.stem.split("_")[0] / f"{image.stem}{shift}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        ImageChops.offset(Image.open(image), shift, 0).save(place)
    done(bare("calibrate", "digits", tmp_path / "data", "-o", tmp_path / "c.json"))
    (row,) = rows(done(bare("predict", TWO, *DIGITS, "--calibration", tmp_path / "c.json", "-f", "jsonl")))
    assert row["set"] == [2]


def test_sort_and_undo(bare: Bare, tmp_path: Path) -> None:
    done(bare("predict", TWO, *DIGITS, "-o", tmp_path / "rows.csv"))
    done(bare("sort", tmp_path / "rows.csv", "--to", tmp_path / "to", "--apply"))
    assert (tmp_path / "to" / "two" / TWO.name).read_bytes() == TWO.read_bytes()
    (journal,) = tmp_path.glob(".resnest-sort-*")
    done(bare("sort", "--undo", journal))
    assert not (tmp_path / "to").exists()


def test_what_is_done_with_answers(bare: Bare, tmp_path: Path) -> None:
    done(bare("predict", TWO, *DIGITS, "-o", tmp_path / "rows.csv"))
    done(bare("convert", tmp_path / "rows.csv", "-o", tmp_path / "rows.html"))
    assert json.loads(done(bare("check", tmp_path / "rows.html", "-f", "json")))["holds"]
    assert "two" in done(bare("tag", tmp_path / "rows.html"))


@pytest.mark.slow
def test_embed_and_similar(bare: Bare, tmp_path: Path) -> None:
    done(bare("embed", SAMPLES, *DIGITS, "-o", tmp_path / "f.npy"))
    assert np.load(tmp_path / "f.npy").shape[0] == 12
    (found,) = json.loads(done(bare("similar", TWO, "--index", tmp_path / "f.npy", "-f", "json", "--include-self")))
    assert found["neighbours"][0]["path"] == str(TWO)


def test_explain(bare: Bare, tmp_path: Path) -> None:
    done(bare("explain", TWO, *DIGITS, "-o", tmp_path / "out"))
    (row,) = rows((tmp_path / "out" / "explain.jsonl").read_text())
    assert row["class"]["label"] == "two"


@pytest.mark.slow
def test_export_to_openvino(bare: Bare, tmp_path: Path) -> None:
    ended = bare("export", "digits", "--to", "openvino", "-o", tmp_path / "out")
    done(ended)
    assert b"torch" not in ended.stderr
    (row,) = rows(done(bare("predict", TWO, "-m", tmp_path / "out", "-k", "1", "-f", "jsonl")))
    assert row["predictions"][0]["probability"] == pytest.approx(0.8315453, abs=1e-5)


def test_quantize(bare_int8: Bare, bare: Bare, tmp_path: Path) -> None:
    for image, shift in product(SAMPLES.iterdir(), (-2, 0, 2)):
        ImageChops.offset(Image.open(image), shift, 0).save(tmp_path / f"{image.stem}{shift}.png")
    options = ("--calibrate", tmp_path, "-o", tmp_path / "out", "--min-agreement", "0.9", "--samples", "20")
    ended = bare_int8.run("-c", WITH_INT8, "quantize", "digits", *options)
    done(ended)
    assert b"torch" not in ended.stderr
    (row,) = rows(done(bare.run("-c", WITH_INT8, "predict", TWO, "-m", tmp_path / "out", "-f", "jsonl")))
    assert row["predictions"][0]["label"] == "two"


def test_quantize_names_its_extra(bare: Bare, folders: Path) -> None:
    ended = bare("quantize", "digits", "--calibrate", folders, "-o", "out")
    done(ended, ExitCode.USAGE)
    assert ended.stderr.decode() == "error: int8 needs nncf: pip install 'resnest-cli[int8]'\n"


def test_doctor_says_that_torch_is_not_installed(bare: Bare) -> None:
    found = json.loads(done(bare("doctor", "-f", "json")))
    assert found["versions"]["torch"] == "not installed"
    assert found["engines"]["torch"] == "not installed: pip install 'resnest-cli[torch]'"
    assert found["engines"]["openvino"].startswith("cpu, native ")
    assert "FP32" in found["engines"]["openvino"]


def test_the_cache_is_listed_and_cleared(bare: Bare, tmp_path: Path) -> None:
    own = bare._replace(cache=tmp_path / "own")
    assert done(own("cache", "path")).strip() == str(tmp_path / "own")
    done(own("predict", TWO, *DIGITS))
    assert json.loads(done(own("cache", "list", "-f", "json")))
    done(own("cache", "clear"))
    assert json.loads(done(own("cache", "list", "-f", "json"))) == []


def test_from_python(bare: Bare) -> None:
    assert done(bare.run("-c", LIBRARY, TWO)) == "two\n"


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("finetune", "nowhere"), "finetune"),
        (("train", "nowhere", "-m", "nothing"), "train"),
        (("predict", "lost.png", *DIGITS, "--engine", "torch"), "--engine torch"),
        (("predict", "lost.png", *DIGITS, "--precision", "fp16", "-o", "out.csv"), "--precision fp16"),
        (("predict", "lost.png", "-m", "resnest50d", "--device", "cuda"), "--device cuda"),
        (("embed", "lost.png", *DIGITS, "-o", "out.npy", "--device", "cuda:1"), "--device cuda:1"),
        (("validate", ".", *DIGITS, "--engine", "torch"), "--engine torch"),
        (("explain", "lost.png", *DIGITS, "-o", "out", "--device", "mps"), "--device mps"),
        (("export", "digits", "--to", "torch", "-o", "out"), "--to torch"),
        (("bench", *DIGITS, "--engine", "all"), "--engine torch"),
        (("bench", *DIGITS, "--precision", "fp16"), "--precision fp16"),
        (("bench", *DIGITS, "--baseline"), "--baseline"),
    ],
    ids=lambda value: " ".join(value[:1]) if isinstance(value, tuple) else value,
)
def test_what_needs_torch_says_so_before_anything_else(
    words: tuple[str, ...], what: str, bare: Bare, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = bare(*words)
    done(ended, ExitCode.USAGE)
    expected = f"error: {what} needs torch and timm: pip install 'resnest-cli[torch]'"
    assert ended.stderr.decode().splitlines()[-1] == expected
    assert not [*tmp_path.iterdir()]


def test_a_checkpoint_in_torchs_format_names_the_pip_line(bare: Bare, tmp_path: Path) -> None:
    (tmp_path / "mine.pth").write_bytes(pickle.dumps({}, protocol=2))
    ended = bare("predict", TWO, *DIGITS, "--weights", tmp_path / "mine.pth")
    done(ended, ExitCode.USAGE)
    said = f"{tmp_path / 'mine.pth'}, a checkpoint in torch's own format, needs torch and timm"
    assert ended.stderr.decode().splitlines()[-1] == f"error: {said}: pip install 'resnest-cli[torch]'"


def test_what_needs_torch_and_an_extra_names_one_pip_line(bare: Bare, tmp_path: Path) -> None:
    ended = bare("export", "digits", "--to", "onnx", "-o", tmp_path / "out")
    done(ended, ExitCode.USAGE)
    needed = "torch and timm and onnx and onnxscript and onnxruntime"
    assert ended.stderr.decode() == f"error: --to onnx needs {needed}: pip install 'resnest-cli[onnx]'\n"
