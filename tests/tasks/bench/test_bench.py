"""`resnest bench`: what is timed and how, on a clock that the tests turn; and whole runs of the digits model."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from conftest import SAMPLES
from loads import ByName
from PIL import Image

from resnest_cli import FakeEngine, Options
from resnest_cli.engines import window
from resnest_cli.errors import ExitCode
from resnest_cli.models.catalog import find_model, list_models
from resnest_cli.tasks.bench import measure, sweep
from resnest_cli.tasks.bench.rows import row as make_row
from resnest_cli.types import EngineFacts, Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import torch
    from conftest import Resnest, Shell
    from numpy.typing import NDArray

CONTRACT = [
    *("model", "engine", "device", "precision", "batch", "img_size", "threads", "samples_per_sec", "step_time_ms"),
    *("steps", "warmup_steps", "gmacs", "achieved_tflops", "peak_tflops", "utilisation", "param_count"),
    *("peak_memory_mb", "load_time_s", "first_result_s", "versions"),
]


class Clocked(FakeEngine):
    """An engine whose batches take as long as it is told, by a clock of its own; it notes what it was given."""

    def __init__(self, durations: Iterable[float], streams: int = 1) -> None:
        super().__init__()
        self.now = 0.0
        self.runs: list[int] = []
        self._durations = iter(durations)
        self.facts = EngineFacts(streams=streams)

    def prepare(self, *, single: bool) -> None:  # noqa: ARG002 - as the protocol; each job begins with it
        self.runs.append(0)

    def answer(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.runs[-1] += 1
        if len(batch):
            self.now += next(self._durations)
        return super().answer(batch)


@pytest.fixture
def clocked(monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401 - makes an engine
    def make(durations: Iterable[float], streams: int = 1) -> Clocked:
        engine = Clocked(durations, streams)
        monkeypatch.setattr("resnest_cli.tasks.bench.measure.time.perf_counter", lambda: engine.now)
        return engine

    return make


def always(seconds: float) -> Iterator[float]:
    while True:
        yield seconds


def noisy(seconds: float) -> Iterator[float]:
    random = np.random.default_rng(0)
    while True:
        yield seconds * random.uniform(0.5, 1.5)


PIXELS = np.zeros((4, 32, 32, 3), np.uint8)


def test_steps_are_run_one_at_a_time_after_a_warm_up(clocked: Any) -> None:  # noqa: ANN401
    engine = clocked([3.0, *[0.5] * 100])
    steps = measure.run_steps(engine, PIXELS, 40)
    # A tenth of 40 s to warm up (3 s and two steps), then until the median is known to 1%: 20 equal steps.
    assert (steps.first, steps.warmups, steps.timed) == (3, 3, [0.5] * 20)
    assert set(engine.runs) == {1}


def test_steps_go_on_until_the_budget_ends_where_times_vary(clocked: Any) -> None:  # noqa: ANN401
    steps = measure.run_steps(clocked(noisy(0.2)), PIXELS, 50)
    assert 20 <= sum(steps.timed) < 20.3


def test_slow_steps_are_at_least_five(clocked: Any) -> None:  # noqa: ANN401
    assert len(measure.run_steps(clocked(noisy(10)), PIXELS, 1).timed) == 5
    assert len(measure.run_steps(clocked(always(100)), PIXELS, 20).timed) == 5
    assert len(measure.run_steps(clocked(always(0.001)), PIXELS, 0).timed) == 5


def test_the_median_is_stable_when_its_interval_is_narrow() -> None:
    assert measure.is_stable([1.0] * 20)
    assert not measure.is_stable([1.0] * 19)
    # n = 100: ranks 40 to 60 must lie within 2% of each other; the rest may be anything.
    assert measure.is_stable([0.0] * 40 + [1.0] * 21 + [9.0] * 39)
    assert not measure.is_stable([0.0] * 41 + [1.0] * 20 + [9.0] * 39)


def test_a_stream_is_timed_from_the_first_batch_in_to_the_last_result(clocked: Any) -> None:  # noqa: ANN401
    engine = clocked(always(0.5))
    stream = measure.run_stream(engine, PIXELS, 10, 0.5)
    assert (stream.batches, stream.images, stream.seconds, stream.rate) == (20, 80, 10, 8)
    assert engine.runs[-1] == 20


def test_every_stream_gets_equally_many_batches(clocked: Any) -> None:  # noqa: ANN401
    engine = clocked(always(1), streams=4)
    assert measure.run_stream(engine, PIXELS, 9, 0.1).batches == 12
    assert measure.run_stream(clocked(always(0.5), streams=3), PIXELS, 0, 0.001).batches == 6


def test_a_slow_stream_ends_after_five_batches_equally_many_for_each(clocked: Any) -> None:  # noqa: ANN401
    engine = clocked(always(40), streams=2)
    stream = measure.run_stream(engine, PIXELS, 8, 40)
    assert (stream.batches, stream.seconds) == (6, 240)
    assert engine.now == 240  # its first use is an empty batch, which takes no time


def test_percentiles_by_hand() -> None:
    found = measure.summarize([0.001 * value for value in range(101)])
    assert found == pytest.approx({"min": 0, "p50": 50, "p90": 90, "p99": 99, "max": 100, "mean": 50})


def test_the_arithmetic_of_a_row() -> None:
    facts = find_model("resnest50d").facts
    found: dict[str, Any] = dict.fromkeys(("device", "precision", "threads"))
    found |= {"engine": "torch", "batch": 8, "samples_per_sec": 20.0, "step_time_ms": {"mean": 412.34567}}
    found |= {"peak_flops": 4e11, "param_count": 27_483_240, "versions": {}}
    row = make_row(Options("resnest50d"), found)
    assert row["achieved_tflops"] == 2 * facts["gmacs"] * 20 / 1000
    assert row["utilisation"] == row["achieved_tflops"] / 0.4
    assert {name: value for name, value in row.items() if name.startswith("infer_")} == {
        "infer_samples_per_sec": 20,
        "infer_step_time": 412.346,
        "infer_batch_size": 8,
        "infer_img_size": 224,
        "infer_gmacs": 5.37,
        "infer_macts": 14.36,
    }
    assert (row["param_count"], row["published_top1"]) == (27.48, facts["top1_timm"])
    other = make_row(Options("resnest50d", img_size=64), found)
    assert (other["gmacs"], other["achieved_tflops"], other["utilisation"]) == (None, None, None)


@pytest.mark.slow
def test_json_has_the_contracts_keys(resnest: Resnest) -> None:
    ended = resnest("bench", "-m", "resnest14d", "--img-size", "64", "-b", "2", "--seconds", "0", "-f", "json")
    assert ended.exit_code == ExitCode.OK, ended.stderr
    (row,) = json.loads(ended.stdout)
    assert set(CONTRACT) <= set(row)
    assert (row["model"], row["engine"], row["device"], row["precision"]) == ("resnest14d", "openvino", "cpu", "fp32")
    assert (row["batch"], row["img_size"], row["steps"], row["warmup_steps"]) == (2, 64, 5, 1)
    assert row["param_count"] == round(next(iter(list_models("14d"))).facts["params"] / 1e6, 2)
    assert (row["gmacs"], row["utilisation"], row["weights"]) == (None, None, "random")  # counted at 224 only
    times = row["step_time_ms"]
    assert times["min"] <= times["p50"] <= times["p90"] <= times["p99"] <= times["max"]
    assert 50 < row["peak_memory_mb"] < 1000
    assert 0.001 < row["peak_tflops"] < 100
    assert 0 < row["load_time_s"] < row["first_result_s"]
    assert set(row["versions"]) == {"openvino", "python", "resnest-cli"}
    assert "with random weights" in ended.stderr


@pytest.mark.slow
def test_a_sweep_measures_every_combination(resnest: Resnest, tmp_path: Path) -> None:
    to = tmp_path / "speed.csv"
    words = ("bench", "-m", "digits", "-b", "1,2", "--engine", "all", "--seconds", "0", "-o", to)
    ended = resnest(*words)
    assert ended.exit_code == ExitCode.OK
    rows = list(csv.DictReader(io.StringIO(to.read_text())))
    every = [("openvino", "1"), ("openvino", "2"), ("torch", "1"), ("torch", "2")]
    assert [(row["engine"], row["batch"]) for row in rows] == every
    assert all(float(row["infer_samples_per_sec"]) > 0 for row in rows)
    assert rows[2]["versions_torch"].partition("+")[0] == version("torch")
    assert resnest(*words).stderr.startswith(f"error: {to} exists; add --overwrite")


def test_a_batch_that_no_memory_holds_has_a_row_that_says_so(resnest: Resnest) -> None:
    """The pixels alone would take 206 GB."""
    words = ("-m", "digits", "--engine", "torch", "-b", "4096", "--img-size", "4096", "--seconds", "0", "-f", "json")
    ended = resnest("bench", *words, "--device", "cpu")
    (row,) = json.loads(ended.stdout)
    assert (ended.exit_code, row["error"]["type"]) == (ExitCode.SOME_FAILED, "OutOfMemory")
    assert "Unable to allocate" in row["error"]["message"]


@pytest.mark.slow
def test_a_configuration_that_is_refused_has_a_row_beside_the_others(resnest: Resnest) -> None:
    ended = resnest(
        "bench", "-m", "digits", "--precision", "fp32,fp16", "--engine", "openvino", "--seconds", "0", "-f", "jsonl"
    )
    first, second = map(json.loads, ended.stdout.splitlines())
    assert ended.exit_code == ExitCode.SOME_FAILED
    assert first["samples_per_sec"] > 0
    assert second["error"]["type"] == "UsageError"
    assert "fp16 runs in torch" in second["error"]["message"]


@pytest.mark.usefixtures("_rates")
def test_a_table_has_what_differs_in_its_columns_and_what_does_not_below(resnest: Resnest) -> None:
    shown = resnest("bench", "-m", "digits", "-b", "1,2", "--precision", "fp32", "--seconds", "0").stdout
    lines = [line.split() for line in shown.splitlines()]
    assert lines[0] == ["batch", "images/s", "p50", "ms", "MB"]
    assert [line[0] for line in lines[1:3]] == ["1", "2"]
    assert lines[3:] == [["model", "digits"], ["engine", "openvino"], ["precision", "fp32"]]


@pytest.mark.slow
def test_an_image_that_ends_its_decoder_or_stalls_it_has_no_times() -> None:
    sources = [Source(word) for word in ("3", "crash", "slow", "bad", "5")]
    load: Any = ByName()
    found = list(measure._loaded(load, sources, 2))  # noqa: SLF001 - what has no name outside
    assert [int(each.values[0, 0, 0]) for each in found] == [26 * 3, 26 * 5]


@pytest.mark.slow
def test_for_a_person_with_files_and_plain_timm_beside(resnest: Resnest, tmp_path: Path) -> None:
    for sample in SAMPLES.iterdir():
        (tmp_path / sample.name).write_bytes(sample.read_bytes())
    (tmp_path / "bad.png").write_bytes(b"no image")
    ended = resnest("bench", "-m", "digits", "-b", "4", "--seconds", "0", "--images", tmp_path, "--baseline")
    assert ended.exit_code == ExitCode.OK, ended.stderr
    lines = {line[:11].strip(): line[12:] for line in ended.stdout.splitlines()}
    assert "images/s, a stream of" in lines["throughput"]
    assert "12 images, 1 could not be read" in lines["from files"] + ended.stdout
    assert "ms an image alone: read" in " ".join(ended.stdout.split())
    assert "plain eager timm" in lines["beside"]
    assert "median of 5 rounds in turn" in " ".join(ended.stdout.split())


def test_the_baseline_is_plain_timm() -> None:
    import timm
    import torch

    from resnest_cli.engines.pytorch.plain import PlainTimm
    from resnest_cli.models import architecture, random_weights

    spec = find_model("resnest14d")
    engine = PlainTimm(spec, "cpu", "fp32")
    (rows,) = window.rows(engine, [np.zeros((2, 224, 224, 3), np.uint8)])
    network = timm.create_model(spec.architecture).eval()
    state = random_weights.make(architecture.of(spec).shapes, spec)
    network.load_state_dict({name: torch.from_numpy(values) for name, values in state.items()})
    with torch.inference_mode():
        assert np.array_equal(rows, network(engine.images).numpy())
    assert engine.images.shape == (2, 3, 224, 224)
    assert [len(rows) for rows in window.rows(engine, [np.zeros((0, 224, 224, 3), np.uint8)])] == [0]


@pytest.mark.parametrize(("rate", "sizes"), [(5e10, [512, 1024, 2048]), (1e9, [512, 1024]), (1e8, [512])])
def test_a_cpu_that_is_slow_in_a_precision_multiplies_small_matrices_only(
    rate: float, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from resnest_cli.tasks.bench import peak_torch

    seen: list[int] = []

    def measured(matrix: torch.Tensor, _: float) -> float:
        seen.append(len(matrix))
        return rate

    monkeypatch.setattr(peak_torch, "_rate", measured)
    assert peak_torch.peak_flops("cpu", "bf16", 0.01) == rate
    assert seen == sizes


def test_a_worker_that_the_system_kills_was_out_of_memory() -> None:
    with sweep.Worker(Options("digits", random_weights=True, batch=1), 0) as worker:
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(sweep.ConfigurationFailed, match="signal 9") as failed:
            worker.ask("measure")
    assert failed.value.kind == "OutOfMemory"
    with (
        sweep.Worker(Options("digits", random_weights=True, batch=1), 0) as worker,
        pytest.raises(sweep.ConfigurationFailed, match="its process ended with code 1: AttributeError"),
    ):
        worker.ask("no such thing")


@pytest.mark.slow
def test_an_interrupted_sweep_leaves_its_rows(tmp_path: Path) -> None:
    to = tmp_path / "speed.jsonl"
    words = [sys.executable, "-m", "resnest_cli", "bench", "-m", "digits", "--seconds", "0", "-o", str(to)]
    running = subprocess.Popen([*words, "-b", ",".join(map(str, range(1, 99)))], stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    while "batch 1:" not in running.stderr.readline():
        assert running.poll() is None
    running.send_signal(signal.SIGTERM)  # a shell may have us ignore SIGINT
    running.stderr.read()
    assert running.wait() == ExitCode.TERMINATED
    running.stderr.close()
    assert [json.loads(line)["batch"] for line in to.read_text().splitlines()][:1] == [1]
    assert not [*tmp_path.glob("*.part")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-m", "digits,resnet50"), "Did you mean resnest50d?"),
        (("-b", "0"), "--batch 0: use a whole number from 1"),
        (("-b", "1,x"), "'x' is neither a whole number nor auto"),
        (("--engine", "tf"), "'tf' is not one of"),
        (("--images", "no folder"), "--images no folder: no such folder."),
        (("-o", "x.txt"), "its suffix names no format"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(words: tuple[str, ...], message: str, resnest: Resnest) -> None:
    ended = resnest("bench", *words)
    assert (ended.exit_code, ended.stdout) == (ExitCode.USAGE, "")
    assert message in ended.stderr


@pytest.mark.usefixtures("_rates")
def test_a_picture_of_speed(resnest: Resnest, tmp_path: Path) -> None:
    to = tmp_path / "speed.png"
    assert resnest("bench", "-m", "digits", "-b", "1,4", "--seconds", "0", "--plot", to).exit_code == ExitCode.OK
    with Image.open(to) as image:
        assert image.format == "PNG"
    ended = resnest("bench", "-m", "digits", "-b", "1", "--seconds", "0", "--plot", to, "--overwrite")
    assert ended.exit_code == ExitCode.USAGE
    assert "nothing to draw" in ended.stderr


@pytest.mark.slow
def test_measuring_loads_no_framework_in_the_command_itself(shell: Shell) -> None:
    code = (
        "import sys; from resnest_cli.cli import cli\n"
        "cli(['bench', '-m', 'digits', '--seconds', '0', '-q'], standalone_mode=False)\n"
        "print(*({'torch', 'timm', 'openvino', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    ended = shell(sys.executable, "-c", code)
    assert (ended.returncode, ended.stderr.decode().strip()) == (0, "")
