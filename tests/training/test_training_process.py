"""What only real processes show of training: kills, signals, full disks, and several processes that train together."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import loads
import numpy as np
import pytest
from odd_files import bare_png, many_scans
from PIL import Image
from planted import Planted

if TYPE_CHECKING:
    import subprocess

    from conftest import Resnest, Shell

LIMIT_S = 200.0
NETWORK = ["-m", "resnest14d", "--arch", "channels=8,8,8,8", "--arch", "stem_width=4", "--img-size", "32", "-j", "0"]
RECIPE = ["--epochs", "3", "-b", "8", "--lr", "0.05", "--ema", "0.9", "--warmup-epochs", "1", "--device", "cpu"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "resnest_cli"]
# The command, with something that happens to it after its fifth step, in the middle of its second epoch.
WITH_FAULT = """
import os, resource, signal, sys
from resnest_cli.training import loop
done = loop.Loop._optimize
def optimize(self, feed):
    if self.step == 5 and not os.environ.get("FAULT_OVER"):
        {fault}
    return done(self, feed)
loop.Loop._optimize = optimize
from resnest_cli.cli import main
main()
"""

# The command on a machine that says it has GPUs; what it launches finds none, and takes the CPU.
WITH_GPUS = """
from resnest_cli.system.imports import TorchAside
TorchAside.install()  # as the command does before it imports torch
from resnest_cli.training import distributed
distributed.torch.cuda.device_count = lambda: 2
from resnest_cli.cli import main
main()
"""

# The command, with a decoder that ends its process on the files crash.png and killed.png, and less time per file.
WITH_CRASHES = f"""
import sys
sys.path.append({str(Path(loads.__file__).parent)!r})
import loads
from resnest_cli.inputs.labelled import check
check.Check, check.TIMEOUT_S = loads.Moody, 2.0
from resnest_cli.cli import main
main()
"""


@pytest.fixture(scope="module")
def colored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw two classes of noisy colors, 12 and 5 images each."""
    root = tmp_path_factory.mktemp("colored")
    rng = np.random.default_rng(0)
    for side, count in (("train", 16), ("val", 5)):
        for name, color in {"red": (200, 40, 40), "green": (40, 200, 40)}.items():
            (root / side / name).mkdir(parents=True)
            for i in range(count):
                pixels = (np.array(color) + rng.integers(-40, 40, (24, 24, 3))).astype(np.uint8)
                Image.fromarray(pixels).save(root / side / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def whole(colored: Path, tmp_path_factory: pytest.TempPathFactory, resnest: Resnest) -> Path:
    """Return the folder of a run that nothing disturbed, in this process."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert resnest("train", colored, "-o", out, *NETWORK, *RECIPE).exit_code == 0
    return out


def history(out: Path) -> list[tuple[str, ...]]:
    """Read the history but for the seconds."""
    return [tuple(row.values())[:-1] for row in csv.DictReader((out / "history.csv").read_text().splitlines())]


def sha256(out: Path) -> str:
    return str(json.loads((out / "metrics.json").read_text())["sha256"])


def faulty(shell: Shell, fault: str, *words: str | Path) -> subprocess.CompletedProcess[bytes]:
    """Run the command with a fault in the middle of its second epoch."""
    return shell(sys.executable, "-c", WITH_FAULT.format(fault=fault), *words)


def test_killed_and_resumed_it_ends_with_the_same_weights(
    whole: Path, colored: Path, tmp_path: Path, shell: Shell
) -> None:
    out = tmp_path / "out"
    kill = "os.kill(os.getpid(), signal.SIGKILL)"
    assert faulty(shell, kill, "train", colored, "-o", out, *NETWORK, *RECIPE).returncode == -signal.SIGKILL
    assert not (out / "metrics.json").exists()
    ended = shell("resnest", "train", colored, "-o", out, "--resume")
    assert ended.returncode == 0, ended.stderr.decode()
    assert "goes on from step 4" in ended.stderr.decode()
    assert (history(out), sha256(out)) == (history(whole), sha256(whole))


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_it_with_a_checkpoint_and_words(  # noqa: PLR0913, PLR0917 - fixtures
    whole: Path, colored: Path, tmp_path: Path, shell: Shell, resnest: Resnest, name: str
) -> None:
    out = tmp_path / "out"
    code = {"SIGINT": 130, "SIGTERM": 143}[name]
    ended = faulty(shell, f"os.kill(os.getpid(), signal.{name})", "train", colored, "-o", out, *NETWORK, *RECIPE)
    assert ended.returncode == code
    said = ended.stderr.decode().splitlines()[-2:]
    assert said == [
        f"error: stopped by {name} at step 6 of 12; a checkpoint of it is written.",
        f"To go on: resnest train {colored} -o {out} --resume",
    ]
    assert "goes on from step 6" in resnest(*said[1].split()[4:]).stderr
    assert (history(out), sha256(out)) == (history(whole), sha256(whole))


def test_a_full_disk_leaves_the_last_good_checkpoint(
    whole: Path, colored: Path, tmp_path: Path, shell: Shell, resnest: Resnest
) -> None:
    out = tmp_path / "out"
    fault = "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))"
    ended = faulty(shell, fault, "train", colored, "-o", out, *NETWORK, *RECIPE)
    assert ended.returncode == 1
    lines = ended.stderr.decode().splitlines()
    said = next(i for i, line in enumerate(lines) if "error: " in line)  # after it, coverage cannot write either
    assert re.search(r"error: .*step-000000008-\w+\.pt cannot be written \(File too large\)\.", lines[said])
    assert lines[said + 1] == f"To go on: resnest train {colored} -o {out} --resume"
    assert [path.name[:14] for path in (out / "checkpoints").iterdir()] == ["step-000000004"]
    assert resnest("train", colored, "-o", out, "--resume").exit_code == 0
    assert (history(out), sha256(out)) == (history(whole), sha256(whole))


def test_two_processes_validate_every_image_once_and_agree_with_one(
    colored: Path, tmp_path: Path, shell: Shell, resnest: Resnest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has half of every batch, and so other statistics in its norms: the weights differ by that only.

    The images stay as they are, so that the colors are learned on any CPU, whatever it rounds.
    """
    plain = ["--augment", "none", "--crop-scale", "1", "--mixup", "0", "--drop-block", "0", "--ema", "0"]
    longer = [*NETWORK, *RECIPE, *plain, "-b", "16", "--epochs", "12"]
    out = {name: tmp_path / name for name in ("one", "two")}
    assert resnest("train", colored, "-o", out["one"], *longer).exit_code == 0
    words = ["train", str(colored), "-o", str(out["two"]), *longer, "--gpus", "all"]
    (tmp_path / "run.py").write_text(WITH_GPUS)
    planted = Planted(tmp_path)
    monkeypatch.chdir(planted.folder)  # from which none of them imports anything
    ended = shell(sys.executable, tmp_path / "run.py", *words)
    assert planted.imported() == []
    assert ended.returncode == 0, ended.stderr.decode()
    monkeypatch.chdir(tmp_path)
    one, two = (json.loads((folder / "metrics.json").read_text()) for folder in out.values())
    assert one["val_images"] == two["val_images"] == 10
    assert [row["images"] for row in two["per_class"]] == [5, 5]
    assert one["top1"] == two["top1"] == 1
    assert ended.stdout.decode().count("accuracy") == 1
    # What they found is what one process finds with the same weights.
    found = resnest("predict", colored / "val", "-m", out["two"], "--engine", "torch", "-f", "jsonl")
    rows = [json.loads(line) for line in found.stdout.splitlines()]
    right = [Path(row["path"]).parent.name == row["predictions"][0]["label"] for row in rows]
    assert two["top1"] == sum(right) / len(right)


def test_several_processes_say_once_what_is_wrong_with_the_data(tmp_path: Path, shell: Shell) -> None:
    data = tmp_path / "data"
    data.mkdir()
    ended = shell(*TORCHRUN, "train", data, "-o", tmp_path / "out", *NETWORK, *RECIPE)
    said = ended.stderr.decode()
    wrong = f"error: {data} has no class folders: put the images of each class into a subfolder of its name."
    assert said.count(wrong) == 1
    assert "[rank" not in said  # a traceback of ours
    assert not (tmp_path / "out").exists()


def test_files_that_hang_or_crash_a_decoder_are_named_and_training_goes_on(
    colored: Path, tmp_path: Path, shell: Shell
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(colored, data)
    bad = {
        "bomb.png": (bare_png(65_536, 65_536, zlib.compress(bytes(1 << 20))), "ImageTooLarge: the image has 65536 x"),
        "crash.png": (b"crash", "WorkerDied: it crashed the process that decoded it, 2 times (signal 11)."),
        "killed.png": (b"killed", "WorkerDied: it crashed the process that decoded it, 2 times (signal 9)."),
        "scans.jpg": (many_scans(2000, 20_000), "DecodeTimeout: not decoded within 2 s."),
    }
    for name, (content, _) in bad.items():
        (data / "train" / "red" / name).write_bytes(content)
    ended = shell(sys.executable, "-c", WITH_CRASHES, "finetune", data, "-m", "digits", "-o", out, "--epochs", "1")
    assert ended.returncode == 0, ended.stderr.decode()
    said = "".join(ended.stderr.decode().split())  # lines are wrapped anywhere
    assert "4filesareleftout,eachwithitsreasoninsplit.csv:" in said
    for name, (_, reason) in bad.items():
        assert f"{data}/train/red/{name}:{reason}".replace(" ", "") in said
    metrics = json.loads((out / "metrics.json").read_text())
    assert (metrics["left_out"], metrics["train_images"], metrics["val_images"]) == (4, 32, 10)
