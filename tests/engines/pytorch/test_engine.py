"""The torch engine answers as plain timm does, for every variant; a checkpoint fits or is refused by name."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import warnings
import zipfile
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import timm
import torch
from lively import EDGE, lively, scenes
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform
from torch import nn

from resnest_cli import Classifier, Options, find_model, list_models
from resnest_cli.engines import window
from resnest_cli.engines.choose import open_engine
from resnest_cli.engines.pytorch import engine as pytorch
from resnest_cli.engines.pytorch.engine import TorchEngine, choose_device
from resnest_cli.engines.pytorch.network import build
from resnest_cli.errors import BadCheckpoint, DeviceError
from resnest_cli.inputs.decode import images
from resnest_cli.models import weights
from resnest_cli.models.catalog import DIGITS
from resnest_cli.types import EngineFacts, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Pair:
    """Plain timm with lively weights, and a classifier opened with the file of them."""

    timm: nn.Module
    ours: Classifier


@pytest.fixture(scope="module", params=[spec.name for spec in list_models()])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    network = lively(request.param)
    file = tmp_path_factory.mktemp("lively") / f"{request.param}.safetensors"
    save_file(network.state_dict(), file)
    with Classifier(
        Options(request.param, weights=file, img_size=EDGE, exif=False, device="cpu", engine="torch", workers=0)
    ) as classifier:
        file.unlink()  # pytest keeps what is in its folders; eight of these are 1.4 GB
        yield Pair(network, classifier)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    dice = np.random.default_rng(0)
    paths = []
    for number, (width, height) in enumerate([(97, 64), (50, 120), (64, 64)]):
        slope = np.linspace(0, 120, width)[None, :, None] + np.linspace(0, 60, height)[:, None, None]
        pixels = slope * np.roll((1.0, 0.4, 0.0), number) + dice.integers(0, 75, (height, width, 3))
        paths.append(folder / f"{number}.png")
        Image.fromarray(pixels.astype(np.uint8)).save(paths[-1])
    return paths


def test_a_fresh_network_ignores_its_blocks_and_a_lively_one_does_not() -> None:
    fresh, alive = timm.create_model("resnest14d").eval(), lively("resnest14d")
    scene = scenes(2, seed=3)
    changes = []
    for network in (fresh, alive):
        with torch.inference_mode():
            before = network(scene)
            network.get_parameter("layer2.0.conv2.fc2.weight").neg_()
            changes.append((network(scene) - before).abs().max().item())
    assert changes[0] == 0
    assert changes[1] > 1e-2


# --- the engine against plain timm


def timm_logits(network: nn.Module, pictures: list[Path], batch: int) -> torch.Tensor:
    data = resolve_data_config({"input_size": (3, EDGE, EDGE)}, model=network)  # type: ignore[no-untyped-call]
    transform: Callable[[Image.Image], torch.Tensor] = create_transform(**data)
    inputs = torch.stack([transform(Image.open(path).convert("RGB")) for path in pictures])
    with torch.inference_mode():
        return torch.cat([network(inputs[start : start + batch]) for start in range(0, len(inputs), batch)])


@pytest.mark.parametrize("batch", [1, 3])
def test_every_variant_answers_as_plain_timm_does(pair: Pair, pictures: list[Path], batch: int) -> None:
    top = timm_logits(pair.timm, pictures, batch).softmax(dim=1).topk(5)
    assert len({tuple(row) for row in top.indices.tolist()}) == 3  # or any order of images would do
    results = list(Classifier(pair.ours.options, engine=pair.ours.engine, batch=batch).predict(pictures))
    assert [result.path for result in results] == [str(path) for path in pictures]
    assert [[answer.index for answer in result.predictions] for result in results] == top.indices.tolist()
    probabilities = [[answer.probability for answer in result.predictions] for result in results]
    np.testing.assert_allclose(probabilities, top.values, rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3])
def test_every_variants_logits_are_those_of_plain_timm_bit_for_bit(
    pair: Pair, pictures: list[Path], batch: int
) -> None:
    pixels = np.stack([images.load(path.read_bytes(), pair.ours.spec.data, exif=False) for path in pictures])
    logits = window.rows(pair.ours.engine, [pixels[start : start + batch] for start in range(0, 3, batch)])
    np.testing.assert_array_equal(np.concatenate(list(logits)), timm_logits(pair.timm, pictures, batch))


def test_every_variant_has_the_parameters_it_is_published_with(pair: Pair) -> None:
    assert EngineFacts.of(pair.ours.engine).param_count == pair.ours.spec.facts["params"]


def test_the_embedded_digits_answer_as_plain_timm_does() -> None:
    spec = find_model("digits")
    network = timm.create_model(spec.architecture, **spec.model_args)
    network.load_state_dict(load_file(DIGITS / "model.safetensors"))
    with torch.inference_mode():
        expected = network.eval()((torch.from_numpy(digits()).permute(0, 3, 1, 2).contiguous() / 255 - 0.5) / 0.5)
    np.testing.assert_array_equal(logits(digits_engine()), expected)
    assert expected.std() > 1


# --- what an engine promises


@cache
def digits() -> NDArray[np.uint8]:
    """Five of the bundled samples."""
    paths = sorted((DIGITS / "samples").glob("*.png"))[:5]
    return np.stack([np.asarray(Image.open(path).convert("RGB").resize((32, 32))) for path in paths])


def digits_engine(file: Path | None = None, precision: str = "fp32") -> TorchEngine:
    return TorchEngine(find_model("digits"), file or DIGITS / "model.safetensors", device="cpu", precision=precision)


def logits(engine: TorchEngine) -> NDArray[np.float32]:
    (answer,) = window.rows(engine, [digits()])
    return answer


def test_a_batch_of_none_gives_logits_of_none() -> None:
    engine = digits_engine()
    (answer,) = window.rows(engine, [np.zeros((0, *engine.shape), np.uint8)])
    assert answer.shape == (0, 10)
    assert answer.dtype == np.float32


def test_a_stream_of_batches_is_answered_in_order_and_as_it_comes() -> None:
    taken = []

    def stream() -> Iterator[NDArray[np.uint8]]:
        for piece in (digits()[:2], digits()[2:2], digits()[2:3], digits()[3:]):
            taken.append(len(piece))
            yield piece

    engine = digits_engine()
    answers = window.rows(engine, stream())
    first = next(answers)
    assert len(taken) < 4
    rest = list(answers)
    assert [len(answer) for answer in (first, *rest)] == taken == [2, 0, 1, 2]
    assert all(answer.dtype == np.float32 for answer in rest)
    np.testing.assert_allclose(np.concatenate([first, *rest]), logits(engine), rtol=0, atol=1e-5)


def test_the_pixels_are_left_as_they_were() -> None:
    batch = digits().copy()
    list(window.rows(digits_engine(), [batch]))
    np.testing.assert_array_equal(batch, digits())


def test_bfloat16_is_near_float32_and_is_named() -> None:
    exact, rough = digits_engine(), digits_engine(precision="bf16")
    assert (exact.precision, rough.precision) == ("fp32", "bf16")
    difference = np.abs(logits(rough) - logits(exact)).max()
    assert logits(rough).dtype == np.float32
    assert 1e-4 < difference < 0.1  # measured 0.013 for logits that span 5; batch sizes alone differ by 1e-6


def test_on_the_cpu_the_layout_is_timms_own_and_nothing_is_kept_for_training(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, bool] = {}

    def watch(network: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        seen["contiguous"] = all(value.is_contiguous() for value in (*inputs, *network.parameters()))
        seen["inference"] = torch.is_inference_mode_enabled() and output.is_inference()
        seen["training"] = network.training or output.requires_grad

    def watched(*args: Any) -> nn.Module:  # noqa: ANN401 - whatever the engine passes
        network = build(*args)
        network.register_forward_hook(watch)
        return network

    monkeypatch.setattr(pytorch, "build", watched)
    logits(digits_engine())
    assert seen == {"contiguous": True, "inference": True, "training": False}


def test_random_weights_are_the_same_each_time_and_leave_the_callers_dice_alone() -> None:
    spec = find_model("digits")
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = build(spec, None).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    second = build(spec, None).state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_random_weights_take_no_file() -> None:
    engine = open_engine(find_model("resnest14d"), Options("resnest14d", random_weights=True, engine="torch"))
    assert EngineFacts.of(engine).param_count == find_model("resnest14d").facts["params"]


# --- checkpoints that fit


def digits_state() -> State:
    return load_file(DIGITS / "model.safetensors")


def other_state() -> State:
    """Fit for the digits model, with other answers."""
    return {name: value * 2 if value.is_floating_point() else value for name, value in digits_state().items()}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plain.pth", digits_state()),
        ("legacy.pt", digits_state()),
        ("ddp.pth.tar", {"state_dict": {f"module.{key}": value for key, value in digits_state().items()}, "epoch": 9}),
        ("compiled.bin", {f"_orig_mod.{key}": value for key, value in digits_state().items()}),
        ("nested.pth", {"model": digits_state(), "epoch": 9}),
        ("ema.pth", {"state_dict_ema": digits_state(), "state_dict": other_state()}),
        ("model_ema.pth", {"model_ema": digits_state(), "model": other_state()}),
    ],
)
def test_every_shape_of_torch_checkpoint_gives_the_same_logits(name: str, content: State, tmp_path: Path) -> None:
    torch.save(content, tmp_path / name, _use_new_zipfile_serialization=name != "legacy.pt")
    expected = logits(digits_engine())
    np.testing.assert_array_equal(logits(digits_engine(tmp_path / name)), expected)


def test_other_weights_give_other_logits(tmp_path: Path) -> None:
    save_file(other_state(), tmp_path / "other.safetensors")
    assert np.abs(logits(digits_engine(tmp_path / "other.safetensors")) - logits(digits_engine())).max() > 1


def test_half_precision_weights_run_in_float32(tmp_path: Path) -> None:
    half = {name: value.half() if value.is_floating_point() else value for name, value in digits_state().items()}
    save_file(half, tmp_path / "half.safetensors")
    network = build(find_model("digits"), tmp_path / "half.safetensors")
    assert {value.dtype for value in network.parameters()} == {torch.float32}
    assert np.abs(logits(digits_engine(tmp_path / "half.safetensors")) - logits(digits_engine())).max() < 0.05


def test_counters_that_only_training_uses_may_be_missing(tmp_path: Path) -> None:
    file = tmp_path / "old.safetensors"
    save_file({name: value for name, value in digits_state().items() if "num_batches" not in name}, file)
    spec = find_model("digits")
    timm.create_model(spec.architecture, checkpoint_path=str(file), **spec.model_args)
    np.testing.assert_array_equal(logits(digits_engine(file)), logits(digits_engine()))


# --- checkpoints that are refused


def refusal(file: Path, model: str = "digits") -> str:
    with pytest.raises(BadCheckpoint) as caught:
        build(find_model(model), file)
    message = str(caught.value)
    assert str(file) in message
    assert "weights_only" not in message  # torch advises to switch it off, which is how a file gets to run code
    assert message.endswith(".")
    return message


def without_some(state: State) -> State:
    del state["fc.weight"], state["bn1.weight"]
    return state


def with_five_classes(state: State) -> State:
    return state | {"fc.weight": state["fc.weight"][:5].clone(), "fc.bias": state["fc.bias"][:5].clone()}


def with_more(state: State) -> State:
    return state | {"extra.weight": torch.ones(1)}


def with_one(value: float) -> Callable[[State], State]:
    def spoil(state: State) -> State:
        state["layer1.0.conv1.weight"].view(-1)[3] = value
        return state

    return spoil


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without_some, "2 missing (first: bn1.weight)"),
        (with_five_classes, "2 of another shape (first: fc.bias)"),
        (with_more, "1 unexpected (first: extra.weight)"),
        (with_one(float("nan")), "1 tensors hold NaN or infinite values, first layer1.0.conv1.weight"),
        (with_one(float("inf")), "1 tensors hold NaN or infinite values, first layer1.0.conv1.weight"),
    ],
    ids=["missing", "classes", "surplus", "nan", "inf"],
)
def test_weights_that_do_not_fit_are_refused(change: Callable[[State], State], words: str, tmp_path: Path) -> None:
    save_file(change(digits_state()), tmp_path / "changed.safetensors")
    assert words in refusal(tmp_path / "changed.safetensors")


def test_another_variants_weights_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "resnest14d.safetensors"
    save_file(build(find_model("resnest14d"), None).state_dict(), file)
    message = refusal(file, "resnest26d")
    assert "does not fit resnest26d with 1000 classes" in message
    assert 'It is a resnest14d: use model="resnest14d".' in message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("page.pth", b"<!DOCTYPE html><html><body>404</body></html>"),
        ("page.safetensors", b"<!DOCTYPE html><html><body>404</body></html>"),
        ("empty.pth", b""),
        ("empty.safetensors", b""),
        ("cut.safetensors", (DIGITS / "model.safetensors").read_bytes()[:50_000]),
        ("pointer.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"),
        ("archive.pth", b"PK\x05\x06" + bytes(18)),
        ("noise.bin", random.Random(0).randbytes(4096)),  # noqa: S311 - not a secret
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert refusal(tmp_path / name)


@pytest.mark.parametrize("content", [[1, 2], torch.ones(2), None, {"state_dict": None}, {1: torch.ones(2)}, {}])
def test_a_torch_file_of_something_else_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pth")
    refusal(tmp_path / "other.pth")


class Trap:
    """Runs code when it is unpickled: makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        """Be called by pickle."""
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_a_checkpoint_never_runs_code(form: str, tmp_path: Path) -> None:
    file, marker = tmp_path / "trap.pth", tmp_path / "it ran"
    content = {"state_dict": digits_state(), "args": Trap(marker)}
    if form == "pickle":
        file.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=form == "zip")
    with contextlib.suppress(RuntimeError):  # a bare pickle is no torch file, which is noticed after it ran
        torch.load(file, weights_only=False)
    assert marker.is_dir()  # the trap works where one walks into it
    marker.rmdir()
    refusal(file)
    assert not marker.exists()


@pytest.mark.parametrize("form", ["zip", "bare"])
@pytest.mark.parametrize("content", [b"\x80\x02abc", b"\x80\x02M", b"\x80\x02h"], ids=["stack", "short", "memo"])
def test_a_broken_pickle_is_refused(content: bytes, form: str, tmp_path: Path) -> None:
    file = tmp_path / "broken.pth"
    file.write_bytes(content)
    if form == "zip":
        torch.save({}, file)
        with zipfile.ZipFile(file) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(file, "w") as archive:
            for name, member in members.items():
                archive.writestr(name, content if name.endswith("data.pkl") else member)
    refusal(file)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")  # said of damaged ones
def test_a_damaged_torch_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "damaged.pth"
    torch.save({"weight": torch.ones(3)}, file, _use_new_zipfile_serialization=False)
    whole = file.read_bytes()
    dice = random.Random(0)  # noqa: S311 - not a secret
    for turn in range(150):
        content = bytearray(whole)
        content[dice.randrange(len(content))] = dice.randrange(256)
        file.write_bytes(content[: dice.randrange(len(content))] if turn % 2 else content)
        refusal(file)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.complex64], ids=str)
def test_nothing_that_is_not_finite_gets_in_as_another_type(dtype: torch.dtype, tmp_path: Path) -> None:
    strange = torch.full((10,), float("nan")).to(dtype)
    torch.save(digits_state() | {"fc.bias": strange}, tmp_path / "strange.pth")
    refusal(tmp_path / "strange.pth")


# --- devices


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Say how many devices of each kind this machine is to have, and what torch warns of when it looks for CUDA's."""

    def plug(*, cuda: int = 0, xpu: int = 0, mps: int = 0, warning: str = "") -> None:
        def is_available() -> bool:
            if warning and not warned:
                warned.append(warning)  # torch says it once in a process
                warnings.warn(warning, stacklevel=2)
            return cuda > 0 and not warning

        warned: list[str] = []
        for kind, count in (("cuda", cuda), ("xpu", xpu), ("mps", mps)):
            monkeypatch.setattr(f"torch.{kind}.device_count", lambda count=count: count)
        monkeypatch.setattr("torch.cuda.is_available", is_available)
        pytorch._cuda.cache_clear()  # noqa: SLF001 - the machine has changed

    plug()
    yield plug
    pytorch._cuda.cache_clear()  # noqa: SLF001


@pytest.mark.usefixtures("devices")
def test_without_a_gpu_auto_means_the_cpu() -> None:
    assert choose_device("auto") == (torch.device("cpu"), "no GPU found")
    assert choose_device("cpu") == (torch.device("cpu"), "asked for")


def test_auto_takes_the_gpu_that_is_there_and_says_so(devices: Callable[..., None]) -> None:
    for kind in ("cuda", "xpu", "mps"):
        devices(**{kind: 1})
        assert choose_device("auto") == (torch.device(kind), f"{kind} found")
        assert choose_device(kind) == (torch.device(kind), "asked for")
        assert choose_device("cpu") == (torch.device("cpu"), "asked for")


@pytest.mark.usefixtures("devices")
@pytest.mark.parametrize("wanted", ["cuda", "cuda:0", "xpu", "mps"])
def test_a_gpu_that_is_not_there_is_refused_with_a_way_out(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.version.cuda", "13.0")
    with pytest.raises(DeviceError, match=rf'^device="{wanted}": torch finds no such device .*Use device="cpu"\.$'):
        choose_device(wanted)


@pytest.mark.usefixtures("devices")
def test_a_torch_without_cuda_is_named_as_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.version.cuda", None)
    with pytest.raises(DeviceError, match=r'^device="cuda": this torch .+ is built without CUDA\. Use device="cpu"\.$'):
        choose_device("cuda")


def test_a_gpu_beyond_the_last_is_refused_with_the_name_of_the_last(devices: Callable[..., None]) -> None:
    devices(cuda=2)
    assert choose_device("cuda:1") == (torch.device("cuda:1"), "asked for")
    for wanted in ("cuda:2", "cuda:5", "cuda:300"):  # of the last, torch itself makes cuda:44
        with pytest.raises(DeviceError, match=rf'^device="{wanted}": there are 2 cuda devices here.* is cuda:1\.$'):
            choose_device(wanted)


def test_of_a_single_gpu_the_name_is_said(devices: Callable[..., None]) -> None:
    devices(cuda=1)
    with pytest.raises(DeviceError, match=r'^device="cuda:1": there is one cuda device here, cuda:0\.$'):
        choose_device("cuda:1")


@pytest.mark.usefixtures("devices")
@pytest.mark.parametrize("visible", ["", "-1", "7"])
def test_what_may_hide_a_gpu_is_named(visible: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(DeviceError, match=rf", or CUDA_VISIBLE_DEVICES='{visible}' hides it\)\. Use device=\"cpu\"\.$"):
        choose_device("cuda")
    with pytest.raises(
        DeviceError, match=r'^device="xpu": torch finds no such device \(no hardware, or no driver for it'
    ):
        choose_device("xpu")


@pytest.mark.parametrize(
    ("warning", "words"),
    [
        (
            "CUDA initialization: The NVIDIA driver on your system is too old (found version 12040). Please (Tr",
            "update the NVIDIA driver, which is for CUDA 12.4: torch {torch} is built for CUDA 13.0.",
        ),
        (
            "CUDA initialization: CUDA unknown error - setting the available devices to be zero. (Triggered internally",
            "CUDA unknown error - setting the available devices to be zero.",
        ),
    ],
)
def test_a_card_that_is_listed_and_cannot_be_used_is_told_with_torchs_reason(
    warning: str, words: str, devices: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.version.cuda", "13.0")
    devices(cuda=1, warning=warning)
    words = words.format(torch=torch.__version__)
    for _ in range(2):  # torch warns but once
        assert choose_device("auto") == (torch.device("cpu"), f"no GPU that works: {words.rstrip('.')}")
        with pytest.raises(DeviceError) as caught:
            choose_device("cuda")
        assert caught.value.message == f"--device cuda: {words} Use --device cpu."
    assert pytorch.devices() == ["cpu", f"no cuda: {words}"]


@pytest.mark.usefixtures("devices")
def test_a_missing_device_is_found_out_before_the_weights_are_read(tmp_path: Path) -> None:
    with pytest.raises(DeviceError):
        TorchEngine(find_model("digits"), tmp_path / "none.safetensors", device="cuda")


# --- where weights are


def test_a_weights_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none.safetensors", "no such file."), (tmp_path, "a folder. A model folder goes to")):
        with pytest.raises(BadCheckpoint) as caught:
            weights.locate(find_model("digits"), path)
        assert caught.value.message.startswith(f"--weights {path}: {why}")


def test_a_model_folder_without_weights_says_what_was_expected(tmp_path: Path) -> None:
    spec = replace(find_model("digits"), folder=tmp_path)
    with pytest.raises(BadCheckpoint, match=r"expected model\.safetensors or pytorch_model\.bin") as caught:
        weights.locate(spec)
    assert str(tmp_path) in str(caught.value)


def test_of_a_folders_two_files_safetensors_is_taken(tmp_path: Path) -> None:
    spec = replace(find_model("digits"), folder=tmp_path)
    for name in ("pytorch_model.bin", "model.safetensors"):
        (tmp_path / name).touch()
        assert weights.locate(spec) == tmp_path / name
    assert weights.locate(spec, tmp_path / "pytorch_model.bin") == tmp_path / "pytorch_model.bin"


def test_a_classifier_with_its_own_weights_file_uses_it(tmp_path: Path) -> None:
    save_file(other_state(), tmp_path / "other.safetensors")
    sample = DIGITS / "samples" / "three_0045.png"
    answers = []
    for file in (None, tmp_path / "other.safetensors"):
        with Classifier("digits", weights=file, device="cpu") as classifier:
            (result,) = classifier.predict([sample])
        assert isinstance(result, Result)
        answers.append(result.top1.probability)
    assert answers[0] != answers[1]
