"""Folders to calibrate on that are hostile, and runs that are stopped: no half model, and a line for each bad image."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from conftest import SAMPLES
from PIL import Image

from resnest_cli.engines import int8
from resnest_cli.errors import ExitCode
from resnest_cli.models import graphs
from resnest_cli.models.graphs import Graph
from resnest_cli.system import atomic, machine
from resnest_cli.tasks.quantize import quantization as task
from resnest_cli.tasks.quantize import speed
from resnest_cli.tasks.quantize.agreement import Agreement, Exam
from resnest_cli.tasks.quantize.speed import Speed

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Resnest
    from numpy.typing import NDArray

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("nncf") is None, reason="nncf is not installed (extra int8)"),
    pytest.mark.skipif(
        sys.platform == "linux" and not machine.INT8 & set(machine.instruction_sets()),
        reason="this CPU has no instructions for int8",
    ),
]


ANY = ("--min-agreement", "0")  # strange pictures too


def pictures(folder: Path, count: int) -> None:
    """Fill a folder with different pictures of digits."""
    folder.mkdir(parents=True)
    samples = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(SAMPLES.glob("*.png"))]
    for i in range(count):
        Image.fromarray(samples[i % len(samples)] // 16 * 16 + np.uint8(i % 16)).save(folder / f"{i}.png")


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Return a folder with forty pictures among what harms or hangs."""
    folder = tmp_path / "hostile"
    pictures(folder, 40)
    for i in range(8):
        (folder / f"bad{i}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    os.mkfifo(folder / "fifo.png")
    for name, target in (("loop.png", "loop.png"), ("up", "."), ("zero.png", "/dev/zero"), ("gone.png", "nowhere")):
        (folder / name).symlink_to(target)
    Path(os.fsdecode(os.fsencode(folder) + b"/\x1b[2J\xff\n=x.png")).write_bytes(b"junk")
    Image.new("1", (7100, 7100)).save(folder / "large.png")  # 50 megapixels
    return folder


def test_a_hostile_folder_costs_its_bad_images_a_line_each(
    hostile: Path, tmp_path: Path, resnest: Resnest, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def ladder(_: Graph, pixels: NDArray[np.uint8], exam: Exam) -> tuple[Graph, dict[str, Agreement]]:
        seen.extend([len(pixels), len(exam.pixels)])
        return Graph(int8_folder, {"floating": ()}), {"calibrated": Agreement(9, 9, 0, 0)}

    int8_folder = tmp_path / "int8"
    int8_folder.mkdir()
    for name in graphs.FILES:
        (int8_folder / name).write_bytes(b"graph")
    monkeypatch.setattr(int8, "prepare", lambda *_: Graph(int8_folder, {}))
    monkeypatch.setattr(int8, "rows", lambda *_: np.zeros((1, 10), np.float32))
    monkeypatch.setattr(task, "_ladder", ladder)
    monkeypatch.setattr(speed, "measure", lambda *_: Speed(2.0, 1.0, "bf16"))
    ended = resnest("quantize", "digits", "--calibrate", hostile, "-o", tmp_path / "out", "-q", *ANY)
    assert ended.exit_code == ExitCode.SOME_FAILED, ended.output
    assert sum(seen) == 41
    said = ended.stderr.splitlines()
    assert len(said) == 13
    assert all(line.startswith(f"{hostile}/") and line.isprintable() for line in said)
    assert len(json.loads((tmp_path / "out" / "quantize.json").read_text())["unreadable"]) == len(said)


def _fifo(folder: Path) -> None:
    os.mkfifo(folder)


def _unreadable(folder: Path) -> None:
    folder.mkdir()
    for i in range(30):
        (folder / f"{i}.png").write_bytes(bytes(10))


def _alike(folder: Path) -> None:
    folder.mkdir()
    for i in range(40):
        Image.new("RGB", (32, 32)).save(folder / f"{i}.png")


def _looping(folder: Path) -> None:
    folder.mkdir()
    (folder / "a").symlink_to(".")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_unreadable, "0 different images, 30 unreadable ones; 30 are needed."),
        (_alike, "1 different images, 0 unreadable ones; 30 are needed."),
        (lambda folder: pictures(folder, 2), "2 images; 30 are needed, and 800 are better."),
        (_looping, "0 images; 30 are needed, and 800 are better."),
        (_fifo, "no such folder."),
        (lambda folder: folder.symlink_to(folder), "a link that leads back to itself."),
    ],
)
def test_a_folder_that_teaches_nothing_is_refused_and_nothing_is_begun(
    make: Callable[[Path], None], words: str, tmp_path: Path, resnest: Resnest
) -> None:
    make(tmp_path / "data")
    ended = resnest("quantize", "digits", "--calibrate", tmp_path / "data", "-o", tmp_path / "out", "-q")
    assert (ended.exit_code, ended.stderr) == (ExitCode.USAGE, f"error: --calibrate {tmp_path}/data: {words}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("where", ["prepare", "rows", "_ladder", "measure", "_record", "_swap"])
def test_wherever_it_is_stopped_the_old_model_stands_and_no_half_one(
    where: str, tmp_path: Path, resnest: Resnest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    pictures(tmp_path / "data", 40)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text("of before")
    graph = Graph(tmp_path / "data", {"floating": ()})
    monkeypatch.setattr(int8, "prepare", lambda *_: graph)
    monkeypatch.setattr(int8, "rows", lambda *_: np.zeros((1, 10), np.float32))
    monkeypatch.setattr(task, "_ladder", lambda *_: (graph, {"calibrated": Agreement(9, 9, 0, 0)}))
    monkeypatch.setattr(speed, "measure", lambda *_: Speed(2.0, 1.0, "bf16"))
    monkeypatch.setattr("shutil.copyfile", lambda _, to: to.write_bytes(b"graph"))
    monkeypatch.setattr(next(module for module in (int8, atomic, speed, task) if hasattr(module, where)), where, stop)
    ended = resnest(
        "quantize", "digits", "--calibrate", tmp_path / "data", "-o", tmp_path / "out", "--overwrite", "-q", *ANY
    )
    assert ended.exit_code == ExitCode.INTERRUPTED
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out"]
    assert [path.read_text() for path in (tmp_path / "out").iterdir()] == ["of before"]
