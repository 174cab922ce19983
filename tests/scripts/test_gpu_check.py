"""The script that checks a GPU counts right, finds what is wrong, and runs from end to end on a tiny network."""

from __future__ import annotations

import json
import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from resnest_cli import list_models
from resnest_cli.engines.base import Fetched
from resnest_cli.engines.pytorch.engine import TorchEngine
from resnest_cli.models.catalog import resolve

if TYPE_CHECKING:
    from concurrent.futures import Future

    from conftest import Shell
    from numpy.typing import NDArray

SCRIPTS = Path(__file__).parents[2] / "scripts" / "gpu"
sys.path.insert(0, str(SCRIPTS))  # as where a script is run
pytest.importorskip("triton")

import gpu_check  # noqa: E402 - from there
import gpu_correct  # noqa: E402
import gpu_counts  # noqa: E402
import gpu_report  # noqa: E402
import gpu_trial  # noqa: E402 - it loads them


@pytest.fixture
def check(tmp_path: Path) -> gpu_report.Check:
    """Return a check that has not run."""
    return gpu_trial.check(tmp_path / "rows.json")


# --- counts


@pytest.mark.parametrize("spec", list_models(), ids=lambda spec: spec.name)
def test_as_much_is_counted_as_timm_publishes(spec: Any) -> None:  # noqa: ANN401 - a ModelSpec
    counts = gpu_counts.count(gpu_counts.make(spec.name), spec.data.input_size)
    assert counts.macs / 1e9 == pytest.approx(spec.facts["gmacs"], rel=0.02)
    assert counts.floor_bytes < counts.step_bytes
    # timm counts what convolutions write, in millions; each of them is read by another, pooled, weighed or added.
    assert 2 < counts.floor_bytes / 2 / (spec.facts["macts"] * 1e6) < 4


def test_what_is_counted_of_two_layers_is_what_a_hand_counts() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.ReLU()).to("meta", torch.bfloat16)
    counts = gpu_counts.count(network, (3, 4, 4))
    least, relu = 2 * (3 * 16 + 8 * 16), 2 * (8 * 16 + 8 * 16)
    assert counts == gpu_counts.Counts(8 * 16 * 27, least, least + relu, 2)


def test_a_fold_leaves_fewer_bytes_and_steps_and_the_same_products() -> None:
    folded = gpu_counts.count(gpu_counts.make("resnest14d"), (3, 64, 64))
    plain = gpu_counts.count(gpu_counts.make("resnest14d", lambda network: network), (3, 64, 64))
    assert (folded.macs, folded.floor_bytes) == (plain.macs, plain.floor_bytes)
    assert folded.step_bytes < 0.8 * plain.step_bytes
    assert folded.steps < plain.steps


def test_the_limit_is_that_of_the_scarcer() -> None:
    counts = gpu_counts.Counts(macs=50, floor_bytes=200, step_bytes=0, steps=0)
    assert (counts.limit(1000, 1000), counts.bound(1000, 1000)) == (5, "memory")
    assert (counts.limit(300, 1000), counts.bound(300, 1000)) == (3, "matrix")


# --- candidates


def test_each_form_of_the_split_attention_gives_timms_answers_kernels_too(shell: Shell) -> None:
    models = "resnest14d,resnest50d_4s2x40d"  # a radix of 2 and of 4; the kernels are tried with one of 1, too
    ended = shell(sys.executable, SCRIPTS / "gpu_candidates.py", "--models", models, TRITON_INTERPRET="1")
    lines = ended.stdout.decode().splitlines()
    assert (ended.returncode, ended.stderr.decode(), len(lines)) == (0, "", 3 + 2 * 3)
    assert all(0 < float(line.split()[-1]) < 1e-5 for line in lines)


# --- the check itself


def test_a_trial_finds_everything_and_writes_the_table(shell: Shell, tmp_path: Path) -> None:
    ended = shell(sys.executable, gpu_trial.__file__, tmp_path / "rows.json")
    assert ended.returncode == 0, ended.stderr.decode()
    found = json.loads((tmp_path / "rows.json").read_text())["found"]
    assert set(found) == {"correct", "limits", "tried", "forms", "speed", "files", "decode"}
    exact = found["correct"]["digits fp32"]
    assert (exact["max"], exact["top1_agreement"]) == (0, 1)
    assert 0 < found["correct"]["digits fp16"]["max"] < found["correct"]["digits bf16"]["max"] < 0.1
    assert found["correct"]["out of memory"] == {
        "ok": True,
        "rows": 65,
        "max": pytest.approx(0, abs=1e-4),
        "says": [f"out of memory: continuing with batches of {batch}" for batch in (32, 16)],
    }
    assert "torch finds no such device" in found["correct"]["an index too many"]["says"]
    assert "CUDA" in found["tried"]["digits bf16: graph"]["error"]  # and the others went on
    forms = ["ours", "timm", "timm, compiled", "timm, cast, compiled"]
    assert list(found["forms"]) == [f"digits bf16: {name}" for name in forms]
    row, files = found["speed"]["digits bf16"], found["files"]["digits bf16"]
    assert row["rate"] > 0
    assert row["best_of_timm"] in forms[1:]
    assert (files["images"], files["rounds"]) == (4, 2)
    assert 0 <= found["decode"]["on the device"]["mean"] < 1
    cells = f"| digits | bf16 | {row['rate']:.0f} | {row['of_limit']:.0%} ({row['bound']}) | {row['x_timm']:.2f} "
    assert ended.stdout.decode().splitlines()[-1] == f"{cells}| {files['rate']:.0f} | {files['x_timm']:.2f} |"


def test_answers_that_are_wrong_are_found(check: gpu_report.Check, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(TorchEngine):
        """Is off by a little, but in bf16."""

        def submit(self, batch: NDArray[np.uint8]) -> Future[NDArray[np.float32]]:
            off = 0.01 * np.arange(10, dtype=np.float32) * (self.precision == "fp32" and opened.pop())
            return Fetched(lambda: super(Wrong, self).submit(batch).result() + off)

    opened = [True, True, False, False]  # the first, of two batches, is the CPU that is compared with
    monkeypatch.setattr(gpu_correct, "TorchEngine", Wrong)
    spec = resolve(check.options("digits"))
    with gpu_correct.lively_weights(spec) as file:
        gpu_correct.compare(check, spec, file)
    found = check.report.found["correct"]
    assert (found["digits fp32"]["ok"], found["digits bf16"]["ok"], check.report.ok) == (False, True, False)


def test_what_there_is_no_time_for_is_said(check: gpu_report.Check) -> None:
    gpu_check.run(check, ("correct", "speed", "files"), -1)
    found = check.report.found
    late = {"error": "not done: out of time"}
    assert (found["correct"]["digits"], found["tried"]["digits bf16"], found["files"]["digits bf16"]) == (late,) * 3
    assert "speed" not in found


def test_findings_stay_for_the_same_card_and_no_other(tmp_path: Path) -> None:
    report = partial(gpu_report.Report, tmp_path / "rows.json")
    report(gpu_trial.ABOUT).add("speed", "a", rate=1.0)
    report(gpu_trial.ABOUT).add("speed", "b", rate=2.0)
    assert report(gpu_trial.ABOUT).found == {"speed": {"a": {"rate": 1.0}, "b": {"rate": 2.0}}}
    assert report({"device": "other"}).found == {}


def test_the_page_of_speed_has_the_place_for_the_table(tmp_path: Path) -> None:
    page = tmp_path / "speed.md"
    page.write_text(gpu_check.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    gpu_check.write_table(gpu_report.Report(tmp_path / "rows.json", gpu_trial.ABOUT), page)
    begin, end = map(re.escape, gpu_check.MARKS)
    assert len(re.findall(f"{begin}\nnone; measured .*\n\n\\| .*\n\\| --- .*\n{end}", page.read_text("utf-8"))) == 1


def test_without_a_card_the_script_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["gpu_check.py"])
    assert gpu_check.main() == 2
    said = capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    assert said.startswith("--device cuda: torch finds no such device")
    assert "Nothing was checked: no NVIDIA card." in said
