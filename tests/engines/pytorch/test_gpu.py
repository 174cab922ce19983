"""What can be known of the way on a GPU without one: the same numbers, all rows in order, words where there is none.

Copies that overlap, and the numbers of a card, are for scripts/gpu/gpu_check.py on a machine that has one.
"""

from __future__ import annotations

import gc
import itertools
import os
import shutil
import subprocess
import warnings
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from conftest import SAMPLES
from gpu_stub import AsOnGpu, no_pinning
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lively import LAYERS, lively, scenes
from torch import nn

from resnest_cli import find_model, list_models
from resnest_cli.engines import window
from resnest_cli.engines.pytorch import gpu
from resnest_cli.engines.pytorch.engine import TorchEngine
from resnest_cli.engines.pytorch.plain import PlainTimm
from resnest_cli.errors import DeviceError, OutOfMemory
from resnest_cli.models.catalog import DIGITS
from resnest_cli.pipeline.stream import Pixels, Row, infer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Shell
    from numpy.typing import NDArray

__all__ = ["no_pinning"]  # a fixture
pytestmark = pytest.mark.usefixtures("no_pinning")

SPEC = find_model("digits")
WEIGHTS = DIGITS / "model.safetensors"
# Without FULL_DEPTH, blocks that only repeat another are left out.
DEPTH: dict[str, Any] = {} if "FULL_DEPTH" in os.environ else {"layers": LAYERS}
# What torch 2.14 says, word for word, but for the numbers.
CUDA_OOM = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.69 GiB of which 1.15 GiB is "
    "free. Including non-PyTorch memory, this process has 22.53 GiB memory in use."
)
NO_KERNEL = "CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors might be ..."


@pytest.fixture(autouse=True)
def _settings_of_torch() -> Iterator[None]:
    kept = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = kept


def pictures(count: int) -> NDArray[np.uint8]:
    dice = np.random.default_rng(1)
    slope = np.linspace(0, 1, 32)[:, None, None] * dice.uniform(20, 200, (count, 1, 1, 3))
    return (slope + dice.uniform(0, 55, (count, 32, 32, 3))).astype(np.uint8)


def on_gpu(kind: type[AsOnGpu] = AsOnGpu, **changes: str) -> AsOnGpu:
    return kind(SPEC, WEIGHTS, device="cpu", **changes)


# --- the same numbers


@pytest.mark.parametrize("name", [spec.name for spec in list_models()])
def test_folded_norms_change_no_probability_of_any_variant(name: str) -> None:
    network = lively(name, **DEPTH)
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    images = scenes(3, seed=3)
    with torch.inference_mode():
        expected = network(images).softmax(1)
        folded = gpu.fold(network).to(memory_format=torch.channels_last)
        found = folded(images.contiguous(memory_format=torch.channels_last)).softmax(1)
    assert norms > 20
    assert not [module for module in folded.modules() if isinstance(module, nn.BatchNorm2d)]
    assert min(abs(one - other).max() for one, other in itertools.combinations(expected, 2)) > 1e-3
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_only_a_plain_norm_right_after_a_plain_convolution_is_folded() -> None:
    class Other(nn.BatchNorm2d):
        """Does more, for all one knows."""

    network = nn.Sequential(nn.Conv2d(3, 4, 1), Other(4), nn.ReLU(), nn.BatchNorm2d(4)).eval()
    kept = list(network.children())
    assert list(gpu.fold(network).children()) == kept


@pytest.mark.parametrize(("precision", "least", "most"), [("fp32", 0, 1e-5), ("bf16", 1e-4, 0.1), ("fp16", 1e-5, 0.02)])
@pytest.mark.parametrize("want", ["logits", "features"])
def test_the_digits_come_within_what_a_precision_can_hold(want: str, precision: str, least: float, most: float) -> None:
    (expected,) = window.rows(TorchEngine(SPEC, WEIGHTS, device="cpu", want=want), [pictures(6)])
    engine = on_gpu(precision=precision, want=want)
    (found,) = window.rows(engine, [pictures(6)])
    assert found.dtype == np.float32
    assert least <= np.abs(found - expected).max() <= most  # logits span 10; see each precision's digits
    network: Any = engine._network  # noqa: SLF001 - what really computes
    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    assert {value.dtype for value in network.parameters()} == {kinds[precision]}
    assert network.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)


def test_a_gpu_computes_no_fp32_by_halves() -> None:
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    on_gpu()
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == (False, False)


def test_what_is_counted_is_the_network_that_was_asked_for() -> None:
    assert on_gpu()._param_count == TorchEngine(SPEC, WEIGHTS, device="cpu").facts.param_count  # noqa: SLF001


def test_plain_timm_stays_plain_on_a_gpu() -> None:
    class PlainOnGpu(PlainTimm, AsOnGpu):
        pass

    network: Any = PlainOnGpu(SPEC, "cpu", "bf16")._network  # noqa: SLF001 - what really computes
    assert isinstance(network.bn1, nn.BatchNorm2d)
    assert {value.dtype for value in network.parameters()} == {torch.float32}


def test_a_large_card_is_given_large_batches_of_small_images() -> None:
    batches = {}
    for spec in (SPEC, *list_models()):
        engine = on_gpu()
        engine.spec = spec
        batches[spec.name] = engine.best_batch
    assert batches.pop("digits") == 256
    assert list(batches.values()) == [256, 256, 256, 256, 256, 128, 64, 64]
    engine.spec = replace(SPEC, data=replace(SPEC.data, input_size=(3, 8000, 8000)))
    assert engine.best_batch == 1


# --- batches in flight


def test_pixels_travel_on_a_stream_of_their_own_which_the_network_waits_for(
    monkeypatch: pytest.MonkeyPatch, no_pinning: list[str]
) -> None:
    done = no_pinning
    done.clear()
    streams = iter(["copies"])

    class Stream(torch.cpu.Stream):
        def __init__(self, *_: object) -> None:
            super().__init__()
            self.name = next(streams, "computing")

        def wait_stream(self, stream: Any) -> None:  # noqa: ANN401 - as torch declares it
            done.append(f"{self.name} waits for {stream.name}")

    class Event(torch.cpu.Event):
        def record(self, stream: Any = None) -> None:  # noqa: ANN401 - as torch declares it
            done.append(f"event on {stream.name}")

        def synchronize(self) -> None:
            done.append("waited")

    def forward(pixels: torch.Tensor) -> torch.Tensor:
        done.append("forward")
        return pixels.float().mean((1, 2))

    monkeypatch.setattr("torch.cpu.Stream", Stream)
    monkeypatch.setattr("torch.cpu.Event", Event)
    ferry = gpu.Ferry(torch.device("cpu"), forward)
    monkeypatch.setattr("torch.cpu.current_stream", lambda _: Stream())
    batch = pictures(2)
    expected = batch.astype(np.float32).mean((1, 2))
    wait = ferry.begin(batch)
    batch[:] = 0  # it is the caller's again when the rows are there, and was copied before
    order = ["pinned", "computing waits for copies", "recorded", "forward", "event on computing"]
    assert done == order
    np.testing.assert_allclose(wait(), expected, rtol=1e-5)
    assert done == [*order, "waited"]


# --- memory


class Small(AsOnGpu):
    """Has memory for so many images at once, and raises what torch raises."""

    room = 0
    held: weakref.ref[torch.Tensor] | None = None

    def _forward(self, pixels: torch.Tensor) -> torch.Tensor:
        assert self.held is None or self.held() is None, "what the failed batch held must be free"
        if len(pixels) > self.room:
            activations = torch.zeros(len(pixels), 3)
            self.held = weakref.ref(activations)
            raise torch.OutOfMemoryError(CUDA_OOM)
        return super()._forward(pixels)


class SmallOnCpu(Small):
    """The same without batches in flight."""

    _kind = "cpu"


@pytest.mark.parametrize("kind", [Small, SmallOnCpu])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(0, 24), batch=st.integers(1, 24), room=st.integers(1, 8))
def test_out_of_memory_every_row_comes_once_and_in_order(kind: type[Small], count: int, batch: int, room: int) -> None:
    engine = ENGINES.setdefault(kind, on_gpu(kind))
    images = pictures(count)
    (expected,) = window.rows(EXACT, [images])
    engine.room = room
    rows = list(infer([Pixels(str(i), image) for i, image in enumerate(images)], engine, batch))
    assert [row.path for row in rows] == [str(i) for i in range(count)]
    values = [row.values for row in rows if isinstance(row, Row)]
    np.testing.assert_allclose(np.array(values).reshape(-1, 10), expected, rtol=0, atol=1e-4)


ENGINES: dict[type[Small], Any] = {}
EXACT = TorchEngine(SPEC, WEIGHTS, device="cpu")


def test_where_not_even_one_image_fits_torchs_advice_is_left_out() -> None:
    with pytest.raises(OutOfMemory) as caught:
        list(infer([Pixels("a", pictures(1)[0])], on_gpu(Small), 8))
    assert caught.value.message == (
        "there is not enough memory on cpu for one image (CUDA out of memory. Tried to allocate 2.00 GiB): "
        "try a smaller --img-size."
    )


class Full(AsOnGpu):
    error: RuntimeError

    def _placed(self, network: nn.Module) -> nn.Module:  # noqa: ARG002 - as the engine calls it
        raise self.error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            torch.OutOfMemoryError(CUDA_OOM),
            "there is not enough memory on cpu for the network (CUDA out of memory. Tried to allocate 2.00 GiB): end",
        ),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "there is not enough memory"),
        (
            RuntimeError(NO_KERNEL),
            "cpu fails: CUDA error: no kernel image is available for execution on the device. Use another --device,",
        ),
    ],
)
def test_a_card_that_cannot_hold_or_run_the_network_is_told_in_words(error: RuntimeError, expected: str) -> None:
    Full.error = error
    with pytest.raises(DeviceError) as caught:
        on_gpu(Full)
    assert caught.value.message.startswith(expected)
    assert caught.value.__cause__ is not None


def test_what_torch_warns_of_a_card_is_not_shown() -> None:
    class Older(AsOnGpu):
        def _placed(self, network: nn.Module) -> nn.Module:
            warnings.warn(
                "a GPU with CUDA capability sm_61 is not compatible with the current installation", stacklevel=2
            )
            return super()._placed(network)

    on_gpu(Older)  # a warning would be an error here


def test_a_card_that_fails_in_its_work_is_told_in_words_and_a_fault_of_ours_is_not_hidden() -> None:
    class Lost(AsOnGpu):
        def _forward(self, pixels: torch.Tensor) -> torch.Tensor:  # noqa: ARG002 - as the engine calls it
            raise RuntimeError("CUDA error: unspecified launch failure\nmore")

    class LostOnCpu(Lost):
        _kind = "cpu"

    with pytest.raises(DeviceError, match=r"^cpu fails: CUDA error: unspecified launch failure\. Use another"):
        list(window.rows(on_gpu(Lost), [pictures(1)]))
    with pytest.raises(RuntimeError, match="unspecified launch failure"):
        list(window.rows(on_gpu(LostOnCpu), [pictures(1)]))


def test_closing_gives_the_network_back() -> None:
    engine: Any = on_gpu()
    list(window.rows(engine, [pictures(2), pictures(1)]))
    watch = weakref.ref(engine._network)  # noqa: SLF001 - what is to go
    engine.close()
    gc.collect()
    assert watch() is None


# --- no GPU, as processes of their own


def test_without_a_gpu_the_command_says_so_and_no_more(shell: Shell) -> None:
    ended = shell("resnest", "predict", SAMPLES, "-m", "digits", "--device", "cuda")
    said = (
        "loading torch, which takes seconds.\n"
        "error: --device cuda: torch finds no such device (no hardware, or no driver for it, or "
        "CUDA_VISIBLE_DEVICES='' hides it). Use --device cpu.\n"
    )
    assert (ended.returncode, ended.stdout, ended.stderr.decode()) == (1, b"", said)


CUDA = """
int cuInit(unsigned flags) { return 0; }
int cuDriverGetVersion(int *version) { *version = 11040; return 0; }
"""
NVML = """
int nvmlInit(void) { return 0; }
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 1; return 0; }
"""
NEEDS_A_COMPILER = pytest.mark.skipif(
    shutil.which("cc") is None or torch.version.cuda is None, reason="needs a C compiler, and torch for CUDA"
)


@pytest.fixture
def _old_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Build the two libraries of a driver for CUDA 11.4 that lists one card, as far as torch asks them."""
    for name, code in (("libcuda.so.1", CUDA), ("libnvidia-ml.so.1", NVML)):
        command = ["cc", "-shared", "-fPIC", "-x", "c", "-o", str(tmp_path / name), "-"]
        subprocess.run(command, input=code.encode(), check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")


UPDATE = f"update the NVIDIA driver, which is for CUDA 11.4: torch {torch.__version__} is built for CUDA "


@NEEDS_A_COMPILER
@pytest.mark.usefixtures("_old_driver")
def test_an_old_driver_is_named_and_no_warning_of_torch_is_shown(shell: Shell) -> None:
    ended = shell("resnest", "predict", SAMPLES, "-m", "digits", "--device", "cuda")
    said = (
        f"loading torch, which takes seconds.\nerror: --device cuda: {UPDATE}{torch.version.cuda}. Use --device cpu.\n"
    )
    assert (ended.returncode, ended.stdout, ended.stderr.decode()) == (1, b"", said)


@NEEDS_A_COMPILER
@pytest.mark.usefixtures("_old_driver")
def test_with_an_old_driver_auto_runs_on_the_cpu_and_says_why(shell: Shell) -> None:
    ended = shell("resnest", "predict", SAMPLES / "six_0034.png", "-m", "digits", "--engine", "torch")
    assert (ended.returncode, ended.stdout.count(b"\n")) == (0, 1)
    expected = f"digits on cpu (no GPU that works: {UPDATE}{torch.version.cuda}; torch asked for), torch fp32"
    assert ended.stderr.decode().splitlines() == ["loading torch, which takes seconds.", expected]
    assert "Warning" not in ended.stderr.decode()
