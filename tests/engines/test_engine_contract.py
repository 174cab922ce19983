"""One contract that every engine keeps; then what OpenVINO owes to plain timm, and which engine is chosen when."""

from __future__ import annotations

import gc
import itertools
import os
import shutil
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino
import pytest
import timm
import torch
from gpu_stub import AsOnGpu, no_pinning
from lively import EDGE, lively, scenes
from PIL import Image
from safetensors.torch import load_file, save_file

from resnest_cli import FakeEngine, Options, find_model, list_models
from resnest_cli.engines import window
from resnest_cli.engines.choose import open_engine
from resnest_cli.engines.openvino import OpenVinoEngine
from resnest_cli.engines.runtime import native_precisions
from resnest_cli.errors import DeviceError, ExitCode, UsageError
from resnest_cli.models.catalog import DIGITS, resolve
from resnest_cli.system import machine
from resnest_cli.tasks.ranking import softmax
from resnest_cli.types import EngineFacts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from conftest import Shell
    from numpy.typing import NDArray
    from torch import nn

    from resnest_cli import Engine

    Batch = NDArray[np.uint8]
    Rows = NDArray[np.float32]

SPEC = find_model("digits")
NETWORKS = ("openvino", "torch")
ENGINES = (*NETWORKS, "fake")
AS_ON_GPU = "torch as on a GPU"

__all__ = ["no_pinning"]  # a fixture
pytestmark = pytest.mark.usefixtures("no_pinning")


def opened(name: str, want: str = "logits", **changes: Any) -> Engine:  # noqa: ANN401 - fields of Options
    """Open an engine on the digits; their graph is converted once for all tests."""
    if name == "fake":
        return FakeEngine(SPEC)
    if name == AS_ON_GPU:
        return AsOnGpu(SPEC, DIGITS / "model.safetensors", device="cpu", want=want, **changes)
    return open_engine(SPEC, Options("digits", engine=name, device="cpu", **changes), want=want)


@pytest.fixture(params=[*ENGINES, AS_ON_GPU])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    engine = opened(request.param)
    yield engine
    engine.close()


def pictures(count: int) -> Batch:
    """Return pictures, uint8 [N, 32, 32, 3], that differ in what they show and, for FakeEngine, in brightness."""
    paths = sorted((DIGITS / "samples").glob("*.png"))
    shown = np.stack([np.asarray(Image.open(path).convert("RGB").resize((32, 32))) for path in paths])
    light = np.arange(len(shown), dtype=np.uint8)[:, None, None, None]
    return np.resize(shown // 2 + 10 * light, (count, 32, 32, 3))


def cut(images: Batch, sizes: Sequence[int]) -> list[Batch]:
    """Cut images into batches of these sizes, each an array of its own."""
    ends = list(itertools.accumulate(sizes))
    return [images[end - size : end].copy() for end, size in zip(ends, sizes, strict=True)]


def alone(engine: Engine, images: Batch) -> Rows:
    """Return the rows of images that were each asked for alone, so that no order and no neighbour can matter."""
    rows = [row for image in images for row in window.rows(engine, [image[None]])]
    return np.concatenate([np.empty((0, SPEC.num_classes), np.float32), *rows])


def assert_alike(rows: Rows, expected: Rows) -> None:
    """Compare as what they mean: probabilities."""
    assert rows.shape == expected.shape
    np.testing.assert_allclose([*map(softmax, rows)], [*map(softmax, expected)], rtol=0, atol=1e-5)


# --- what every engine promises


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param([1], id="a single image"),
        pytest.param([5], id="a stream of one batch"),
        pytest.param([1] * 12, id="single images"),
        pytest.param([4, 4, 2], id="a ragged last batch"),
        pytest.param([1, 5, 2, 3, 1], id="sizes that vary"),
        pytest.param([2, 0, 3, 0, 0, 1, 0], id="empty ones between"),
        pytest.param([0, 1, 0, 1], id="an empty one first"),
        pytest.param([0, 0], id="nothing but empty ones"),
        pytest.param([], id="no batch at all"),
    ],
)
def test_each_batch_gives_its_own_rows_in_order_however_images_are_batched(engine: Engine, sizes: list[int]) -> None:
    images = pictures(sum(sizes))
    rows = list(window.rows(engine, iter(cut(images, sizes))))
    assert [row.shape for row in rows] == [(size, SPEC.num_classes) for size in sizes]
    assert {row.dtype for row in rows} <= {np.dtype(np.float32)}
    if sum(sizes):
        assert_alike(np.concatenate(rows), alone(engine, images))


def test_the_pictures_of_these_tests_have_answers_that_tell_them_apart(engine: Engine) -> None:
    rows = np.stack([softmax(row) for row in alone(engine, pictures(12))])
    apart = np.abs(rows[:, None] - rows).max(axis=2)[~np.eye(12, dtype=bool)]
    if engine.name == "fake":  # it has ten answers, so that neighbours may share one
        assert len(np.unique(rows.argmax(axis=1))) > 3
    else:
        assert apart.min() > 1e-3


def test_a_callers_array_may_be_reused_once_its_rows_are_there(engine: Engine) -> None:
    images = pictures(8)
    batches = cut(images, [2, 1, 2, 2, 1])
    rows = []
    for batch, row in zip(batches, window.rows(engine, iter(batches)), strict=True):
        np.testing.assert_array_equal(batch, images[: len(batch)])  # and until then it is left as it was
        images = images[len(batch) :]
        rows.append(row)
        batch[:] = 255
    assert_alike(np.concatenate(rows), alone(engine, pictures(8)))


def test_rows_do_not_change_when_later_ones_come_nor_when_the_engine_goes() -> None:
    for name in ENGINES:
        engine = opened(name)
        rows, copies = [], []
        for row in window.rows(engine, cut(pictures(12), [1] * 12)):
            rows.append(row)
            copies.append(row.copy())
        engine.close()
        del engine
        gc.collect()
        np.testing.assert_array_equal(rows, copies)


def test_a_stream_is_taken_as_it_is_answered_with_bounded_look_ahead(engine: Engine) -> None:
    taken = []

    def endless() -> Iterator[Batch]:
        for number in itertools.count():
            taken.append(number)
            yield pictures(1)

    answers = window.rows(engine, endless())
    assert taken == []
    for number in range(1, 20):
        next(answers)
        assert len(taken) <= number + machine.usable_cores() + 1
    answers.close()  # type: ignore[attr-defined] # they are all generators


def test_several_threads_may_submit(engine: Engine) -> None:
    images = pictures(12)
    expected = alone(engine, images)
    engine.prepare(single=False)
    with ThreadPoolExecutor(6) as threads:
        rows = list(threads.map(lambda image: engine.submit(image[None]).result()[0], [*images] * 5))
    assert_alike(np.stack(rows), np.concatenate([expected] * 5))


def test_rows_may_be_asked_for_in_any_order_and_again(engine: Engine) -> None:
    images = pictures(4)
    expected = alone(engine, images)
    futures = [engine.submit(image[None]) for image in images]
    for at in (3, 0, 2, 1, 1):
        assert_alike(futures[at].result(), expected[at : at + 1])
    assert all(future.done() for future in futures)


def test_a_stream_left_in_its_middle_does_not_disturb_the_next(engine: Engine) -> None:
    expected = alone(engine, pictures(6))
    for _ in range(5):
        left = window.rows(engine, cut(pictures(12)[::-1], [1] * 12))
        next(left)
        left.close()  # type: ignore[attr-defined] # they are all generators
        assert_alike(np.concatenate(list(window.rows(engine, cut(pictures(6), [1, 2, 3])))), expected)


def test_a_stream_that_fails_fails_here_too_and_does_not_disturb_the_next(engine: Engine) -> None:
    def failing() -> Iterator[Batch]:
        yield from cut(pictures(4), [1, 1, 2])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(window.rows(engine, failing()))
    (rows,) = window.rows(engine, [pictures(3)])
    assert_alike(rows, alone(engine, pictures(3)))


def test_two_streams_at_once_do_not_mix(engine: Engine) -> None:
    one, other = pictures(8), pictures(12)[4:]
    pairs = list(
        zip(window.rows(engine, cut(one, [1] * 8)), window.rows(engine, cut(other, [2] * 4 + [0] * 4)), strict=True)
    )
    assert_alike(np.concatenate([row for row, _ in pairs]), alone(engine, one))
    assert_alike(np.concatenate([row for _, row in pairs]), alone(engine, other))


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_may_be_closed_twice(name: str) -> None:
    engine = opened(name)
    list(window.rows(engine, [pictures(1)]))
    engine.close()
    engine.close()


@pytest.mark.parametrize("name", NETWORKS)
def test_closing_gives_the_network_back(name: str) -> None:
    engine: Any = opened(name)
    list(window.rows(engine, cut(pictures(4), [1, 3])))
    held = [engine._network] if name == "torch" else list(engine._compiled.values())  # noqa: SLF001 - what is to go
    watched = [weakref.ref(each) for each in held]
    del held
    engine.close()
    gc.collect()
    assert watched
    assert [watch() for watch in watched] == [None] * len(watched)


@pytest.mark.parametrize("name", NETWORKS)
def test_engines_agree_on_what_they_are(name: str) -> None:
    engine = opened(name)
    assert (engine.name, engine.device, engine.precision, engine.shape) == (name, "cpu", "fp32", (32, 32, 3))
    assert engine.spec is SPEC
    assert engine.best_batch >= 1
    facts = EngineFacts.of(engine)
    assert facts.threads >= 1
    assert facts.param_count == sum(p.numel() for p in digits_network().parameters())
    assert facts.versions[name]
    engine.close()


# --- what a network's engine owes to plain timm


def digits_network() -> nn.Module:
    network: nn.Module = timm.create_model(SPEC.architecture, **SPEC.model_args)
    network.load_state_dict(load_file(DIGITS / "model.safetensors"))
    return network.eval()


def timm_rows(network: nn.Module, images: Batch, mean: Sequence[float], std: Sequence[float]) -> Rows:
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous() / 255
    with torch.inference_mode():
        rows: Rows = network((pixels - channels(mean)) / channels(std)).numpy()
    return rows


def channels(values: Sequence[float]) -> torch.Tensor:
    return torch.tensor(values).view(1, 3, 1, 1)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_digits_answer_as_plain_timm_does(name: str) -> None:
    rows = np.concatenate(list(window.rows(opened(name), cut(pictures(12), [1, 4, 7]))))
    assert_alike(rows, timm_rows(digits_network(), pictures(12), SPEC.data.mean, SPEC.data.std))


@pytest.mark.parametrize("name", NETWORKS)
def test_features_are_those_of_timm_without_a_classifier(name: str) -> None:
    network: Any = digits_network()
    network.reset_classifier(0)
    expected = timm_rows(network, pictures(12), SPEC.data.mean, SPEC.data.std)
    rows = list(window.rows(opened(name, want="features"), cut(pictures(12), [1, 0, 4, 7])))
    assert [row.shape for row in rows] == [(size, network.num_features) for size in (1, 0, 4, 7)]
    assert {row.dtype for row in rows} == {np.dtype(np.float32)}
    assert expected.std() > 0.1
    np.testing.assert_allclose(np.concatenate(rows), expected, rtol=0, atol=1e-5)


# Making weights like a trained network's takes seconds for a deep one. So the default variant runs here as it is, and
# those with no fewer blocks run with five: one of each kind that changes a shape, and one that keeps it. With
# FULL_DEPTH=1 in the environment all run as they are, in minutes.
LAYERS = {
    name: (1, 1, 2, 1)
    for name in ("resnest50d_1s4x24d", "resnest50d_4s2x40d", "resnest101e", "resnest200e", "resnest269e")
    if "FULL_DEPTH" not in os.environ
}


@pytest.mark.parametrize("name", [spec.name for spec in list_models()])
def test_every_variant_in_fp32_answers_as_plain_timm_does(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESNEST_CACHE", str(tmp_path / "cache"))
    layers: dict[str, Any] = {"layers": LAYERS[name]} if name in LAYERS else {}
    network = lively(name, **layers)
    save_file(network.state_dict(), tmp_path / "lively.safetensors")
    options = Options(name, weights=tmp_path / "lively.safetensors", img_size=EDGE, engine="openvino", device="cpu")
    spec = replace(resolve(options), model_args=layers)
    images = as_bytes(scenes(3, seed=5), spec.data.mean, spec.data.std)
    expected = timm_rows(network, images, spec.data.mean, spec.data.std)
    assert min(np.abs(softmax(one) - softmax(other)).max() for one, other in itertools.combinations(expected, 2)) > 1e-3
    engine = open_engine(spec, options)
    assert_alike(np.concatenate(list(window.rows(engine, cut(images, [1, 1, 1])))), expected)
    assert_alike(np.concatenate(list(window.rows(engine, [images]))), expected)
    engine.close()
    shutil.rmtree(tmp_path)  # pytest keeps what is in its folders; eight of these are 3 GB


def as_bytes(scene: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> Batch:
    """Turn normalized images [N, 3, H, W] into pixels uint8 [N, H, W, 3]."""
    pixels = (scene * channels(std) + channels(mean)).clamp(0, 1) * 255
    bytes_: Batch = pixels.permute(0, 2, 3, 1).byte().numpy()
    return bytes_


# --- precision


@pytest.mark.parametrize("batch", [1, 3])
def test_fp32_is_fp32_where_the_cpu_has_something_faster_too(batch: int) -> None:
    engine = opened("openvino")
    assert isinstance(engine, OpenVinoEngine)
    list(window.rows(engine, [pictures(batch)]))
    list(window.rows(engine, [pictures(batch)] * 3))
    compiled = list(engine._compiled.values())  # noqa: SLF001 - what it really computes in
    assert len(compiled) >= 1
    assert {each.result().get_property("INFERENCE_PRECISION_HINT") for each in compiled} == {openvino.Type.f32}


@pytest.mark.skipif("BF16" not in native_precisions(), reason="this CPU does not compute bf16 natively")
def test_bf16_is_near_fp32_and_not_the_same_and_neither_takes_what_was_compiled_for_the_other() -> None:
    exact = alone(opened("openvino"), pictures(12))
    for _ in range(2):
        rough = opened("openvino", precision="bf16")
        assert rough.precision == "bf16"
        difference = np.abs(alone(rough, pictures(12)) - exact).max()
        assert 1e-3 < difference < 0.3  # measured 0.04 for logits that span 5
        assert_alike(alone(opened("openvino"), pictures(12)), exact)


def test_bf16_is_refused_with_words_where_the_cpu_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino.Core, "get_property", lambda *_: ["FP32", "INT8"], raising=False)
    with pytest.raises(DeviceError, match=r'^precision="bf16": this CPU .+ Use fp32, or engine="torch"\.$'):
        opened("openvino", precision="bf16")


# --- which engine is chosen


class Chosen:
    """Stands for the torch engine on a device that is not here."""

    name = "torch"
    reason = "as told"

    def __init__(self, *_: object, **how: str) -> None:
        self.device = how["device"]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Say whether the machine shows a sign of a GPU, and what torch finds when it is asked."""

    def say(*, sign: bool, torch_finds: str | None = None) -> None:
        def asked(wanted: str) -> tuple[torch.device, str]:
            assert torch_finds, "torch is not to be asked"
            return torch.device("cpu" if wanted == "cpu" else torch_finds), "as told"

        monkeypatch.setattr(machine, "may_have_accelerator", lambda: sign)
        monkeypatch.setattr("resnest_cli.engines.pytorch.engine.choose_device", asked)
        if torch_finds != "cpu":
            monkeypatch.setattr("resnest_cli.engines.pytorch.engine.TorchEngine", Chosen)

    return say


def chosen(**changes: Any) -> tuple[str, str]:  # noqa: ANN401 - fields of Options
    engine = open_engine(SPEC, Options("digits", **changes))
    return engine.name, engine.reason


def test_without_a_sign_of_a_gpu_openvino_runs_and_torch_is_not_asked(gpu: Callable[..., None]) -> None:
    gpu(sign=False)
    assert chosen() == chosen(engine="openvino") == ("openvino", "no GPU found")


def test_where_torch_finds_no_gpu_behind_the_sign_openvino_runs(gpu: Callable[..., None]) -> None:
    gpu(sign=True, torch_finds="cpu")
    assert chosen() == ("openvino", "as told")  # a driver that is too old, say


def test_where_torch_finds_a_gpu_torch_runs(gpu: Callable[..., None]) -> None:
    gpu(sign=True, torch_finds="cuda")
    assert chosen() == chosen(device="cuda") == ("torch", "as told; GPUs run in torch")


def test_the_cpu_asked_for_is_openvinos_whatever_else_is_there(gpu: Callable[..., None]) -> None:
    gpu(sign=True)
    assert chosen(device="cpu") == ("openvino", "asked for")


def test_what_runs_on_the_cpu_only_takes_it_where_the_device_is_left_open(gpu: Callable[..., None]) -> None:
    """What is left to "auto" suits what is asked for by name, also where a GPU would be taken else."""
    gpu(sign=True, torch_finds="cuda")
    assert chosen(engine="openvino") == ("openvino", "openvino asked for")
    with pytest.raises(UsageError, match=r'^precision="int8": (first make an int8 model: |this CPU has no instr).+'):
        chosen(precision="int8")
    with pytest.raises(UsageError, match=r'^precision="int8": GPUs run in torch\.'):
        chosen(precision="int8", device="cuda")


@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_the_default_precision_is_fp32(precision: str) -> None:
    engine = open_engine(SPEC, Options("digits", precision=precision, device="cpu"))
    assert (engine.name, engine.precision) == ("openvino", "fp32")


def test_torch_runs_if_it_is_asked_for() -> None:
    assert chosen(engine="torch", device="cpu") == ("torch", "asked for; torch asked for")


def test_without_openvino_torch_runs_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnest_cli.engines.choose.find_spec", lambda _: None)
    assert chosen(device="cpu") == ("torch", "asked for; openvino is not installed")
    with pytest.raises(
        UsageError, match=r'^engine="openvino": openvino is not installed\. Use engine="auto" or torch\.$'
    ):
        chosen(engine="openvino", device="cpu")


def test_torch_instead_of_openvino_is_said(monkeypatch: pytest.MonkeyPatch, logged: list[str]) -> None:
    def refuse(*_: object) -> None:
        message = "disk quota exceeded"
        raise OSError(message)

    monkeypatch.setattr("resnest_cli.models.graphs.find", lambda _: None)
    monkeypatch.setattr("resnest_cli.models.graphs.ensure", refuse)
    why = "its graph cannot be kept (disk quota exceeded)"
    assert chosen(device="cpu") == ("torch", f"asked for; {why}")
    assert f"{why}, so that torch runs instead of openvino" in logged


def test_fp16_runs_in_torch_and_openvino_refuses_it_with_a_way_out() -> None:
    assert chosen(precision="fp16", device="cpu") == ("torch", "asked for; fp16 runs in torch")
    with pytest.raises(
        UsageError, match=r'^engine="openvino": fp16 runs in torch\. Use engine="auto" or torch\.$'
    ) as caught:
        chosen(engine="openvino", precision="fp16", device="cpu")
    assert caught.value.exit_code is ExitCode.USAGE


def test_openvino_refuses_a_gpu_with_a_way_out(gpu: Callable[..., None]) -> None:
    gpu(sign=True, torch_finds="cuda")
    with pytest.raises(UsageError, match=r'^engine="openvino": GPUs run in torch\. Use engine="auto" or torch\.$'):
        chosen(engine="openvino", device="cuda")


AT_ONCE = """
import sys, threading
sys.setswitchinterval(1e-6)
from resnest_cli.engines.runtime import openvino
together = threading.Barrier(8)
def look():
    together.wait()
    openvino.Type.u8.to_dtype()
threads = [threading.Thread(target=look) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("all")
"""


def test_threads_that_are_the_first_to_use_it_do_not_wait_for_one_another(shell: Shell) -> None:
    assert shell("timeout", "60", sys.executable, "-c", AT_ONCE).stdout == b"all\n"


SIGNALLED = """
import gc, os, signal, sys
from resnest_cli import Classifier
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
first, second = (Classifier("digits", engine="openvino") for _ in range(2))
for model in (first, second):
    model.explain(sys.argv[1])
first.close(); del first; gc.collect()
second.close(); del second, model; gc.collect()
os.kill(os.getpid(), signal.SIGUSR1)
"""


@pytest.mark.skipif(os.name != "posix", reason="no such signal there")
def test_a_signal_is_handled_after_models_have_come_and_gone(shell: Shell) -> None:
    ended = shell(sys.executable, "-c", SIGNALLED, DIGITS / "samples" / "two_0051.png")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"handled\n", b"")
