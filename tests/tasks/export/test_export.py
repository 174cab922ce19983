"""Exports answer as plain timm does, for any batch, where there is no torch; and none is left behind half written."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import openvino
import pyarrow.parquet as pq
import pytest
import timm
import torch
from conftest import SAMPLES
from lively import CLASSES, finetuned, save_pictures, to_input
from PIL import ExifTags, Image, ImageOps
from safetensors.torch import load_file
from timm.layers import SplitAttn
from torch import nn

from resnest_cli import Classifier, Options, find_model
from resnest_cli.engines import onnx_file
from resnest_cli.engines.runtime import core
from resnest_cli.errors import ExitCode, ModelError, OutputError, UsageError
from resnest_cli.inputs.decode.images import load
from resnest_cli.models import folders
from resnest_cli.models.catalog import DIGITS
from resnest_cli.system import imports
from resnest_cli.tasks.export import to_torch
from resnest_cli.tasks.export.exporter import export
from resnest_cli.tasks.export.parity import Parity, check
from resnest_cli.tasks.export.snippet import snippet
from resnest_cli.types import Result

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Resnest, Shell
    from numpy.typing import NDArray

    Rows = NDArray[np.float32]

pytestmark = pytest.mark.usefixtures("decode_here")

PATHS = sorted(SAMPLES.glob("*.png"))
NARROW = {"channels": (16, 32, 64, 128), "stem_width": 8, "base_width": 32}
# An export takes seconds, so that tests share these.
EXPORTS = {"onnx": False, "openvino": True, "torch": False}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Any:  # noqa: ANN401 - a cached function
    """Return the folder of a digits export, made once for all tests; they leave it as it is."""
    base = tmp_path_factory.mktemp("exports")

    @cache
    def made(to: str) -> Path:
        return export("digits", to, out=str(base / to), raw_uint8=EXPORTS[to]).folder

    return made


@cache
def digits() -> nn.Module:
    spec = find_model("digits")
    network: nn.Module = timm.create_model(spec.architecture, **spec.model_args)
    network.load_state_dict(load_file(DIGITS / "model.safetensors"))
    return network.eval()


def pixels() -> NDArray[np.uint8]:
    return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in PATHS])


def images(batch: NDArray[np.uint8]) -> Rows:
    return np.asarray((batch.transpose(0, 3, 1, 2) / 255 - 0.5) / 0.5, np.float32)


def logits(batch: NDArray[np.uint8]) -> Rows:
    with torch.inference_mode():
        return np.asarray(digits()(torch.from_numpy(images(batch))))


# --- the files


@pytest.mark.parametrize("size", [1, 3, 8])
@pytest.mark.parametrize("to", EXPORTS)
def test_each_format_gives_timms_answers_to_any_batch(to: str, size: int, exported: Any) -> None:  # noqa: ANN401
    batch = pixels()[:size]
    given = batch if EXPORTS[to] else images(batch)
    found: Rows
    if to == "onnx":
        session = onnxruntime.InferenceSession(exported(to) / "model.onnx")
        found = session.run(["logits"], {"images": given})[0]
    elif to == "openvino":
        found = core().compile_model(exported(to) / "model.xml", "CPU")({"pixels": given})["logits"]
    else:
        found = torch.export.load(exported(to) / "model.pt2").module()(torch.from_numpy(given)).detach().numpy()
    tolerance = (
        1e-4 if to != "openvino" or "BF16" not in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else 0.3
    )  # as it is opened here, OpenVINO takes bf16 where that is native
    np.testing.assert_allclose(found, logits(batch), rtol=0, atol=tolerance)


def test_onnx_is_valid_and_says_what_it_is(exported: Any) -> None:  # noqa: ANN401
    path = exported("onnx") / "model.onnx"
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(path)
    (given,), (answer,) = model.graph.input, model.graph.output
    assert onnx.helper.printable_value_info(given) == "%images[FLOAT, batchx3x32x32]"
    assert onnx.helper.printable_value_info(answer) == "%logits[FLOAT, batchx10]"
    said = {item.key: json.loads(item.value) for item in model.metadata_props}
    check_metadata(said)
    assert said["input"]["range"] == "RGB, (pixels / 255 - mean) / std"


def test_openvino_says_what_it_is(exported: Any) -> None:  # noqa: ANN401
    graph = core().read_model(exported("openvino") / "model.xml")
    assert [str(end.get_partial_shape()) for end in (*graph.inputs, *graph.outputs)] == ["[?,32,32,3]", "[?,10]"]
    assert graph.inputs[0].get_element_type() == openvino.Type.u8
    said = {key: json.loads(graph.get_rt_info(["resnest", key]).astype(str)) for key in ("labels", *METADATA)}
    check_metadata(said)
    assert said["input"]["range"] == "RGB, 0..255"


def test_openvino_has_its_splits_parted(exported: Any) -> None:  # noqa: ANN401
    kinds = [node.get_type_name() for node in core().read_model(exported("openvino") / "model.xml").get_ops()]
    assert "GroupConvolution" not in kinds  # they are slower on CPUs
    splits = [module for module in digits().modules() if isinstance(module, SplitAttn)]
    dense = [module for module in digits().modules() if isinstance(module, nn.Conv2d)]
    assert kinds.count("Convolution") == len(dense) + len(splits)  # two for each block's one


def test_torch_says_what_it_is(exported: Any) -> None:  # noqa: ANN401
    said = dict.fromkeys(("labels", *METADATA), "")
    torch.export.load(exported("torch") / "model.pt2", extra_files=said)
    check_metadata({key: json.loads(value) for key, value in said.items()})


METADATA = ("model", "wnids", "preprocessing", "input", "output", "weights_sha256", "versions")


def check_metadata(said: dict[str, Any]) -> None:
    assert said["labels"][:3] == ["zero", "one", "two"]
    assert (said["model"], said["wnids"]) == ("digits", None)
    assert said["preprocessing"]["input_size"] == [3, 32, 32]
    assert (said["preprocessing"]["mean"], said["preprocessing"]["crop_pct"]) == ([0.5] * 3, 1.0)
    assert said["weights_sha256"] == hashlib.sha256((DIGITS / "model.safetensors").read_bytes()).hexdigest()


def test_the_config_beside_it_says_it_all(exported: Any) -> None:  # noqa: ANN401
    config = json.loads((exported("openvino") / "config.json").read_text())
    block = config["export"]
    assert sorted(block["files"]) == ["model.bin", "model.xml"]
    assert block["input"]["shape"] == ["batch", 32, 32, 3]
    parity = block["parity"]
    assert (parity["images"], parity["batches"], parity["same_class"]) == (12, [8, 3, 1], 12)
    assert 0 <= parity["max_logit_difference"] < 1e-4
    assert 0 <= parity["max_probability_difference"] < 1e-4
    assert config["label_names"][7] == "seven"
    assert sorted(path.name for path in exported("openvino").iterdir()) == [
        *("config.json", "example.py", "model.bin", "model.xml")
    ]


# --- running them


@pytest.mark.parametrize("to", EXPORTS)
def test_predict_gives_the_same_answers_from_an_export(to: str, exported: Any) -> None:  # noqa: ANN401
    with Classifier("digits") as model, Classifier(str(exported(to)), device="cpu") as again:
        for one, other in zip(model.predict([SAMPLES]), again.predict([SAMPLES]), strict=True):
            assert isinstance(one, Result)
            assert isinstance(other, Result)
            assert [p.label for p in one.predictions] == [p.label for p in other.predictions]
            for left, right in zip(one.predictions, other.predictions, strict=True):
                assert left.probability == pytest.approx(right.probability, abs=1e-5)


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_an_export_runs_without_torch_timm_or_onnx(to: str, exported: Any, shell: Shell) -> None:  # noqa: ANN401
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'timm', 'onnx', 'onnxruntime')))\n"
        f"sys.argv[1:] = ['predict', {str(PATHS[0])!r}, '-m', {str(exported(to))!r}, '-f', 'csv', '-k', '1']\n"
        "from resnest_cli.cli import main; main()"
    )
    ended = shell(sys.executable, "-c", code)
    assert ended.returncode == 0
    assert ended.stdout.decode().splitlines()[1].split(",")[4] == "eight"


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_a_job_from_an_export_is_known_by_its_file(to: str, exported: Any, resnest: Resnest, tmp_path: Path) -> None:  # noqa: ANN401
    """There are no weights beside it, by whose hash other jobs are known."""
    ended = resnest("predict", SAMPLES, "-m", exported(to), "-o", tmp_path / "rows.parquet", "-q")
    assert (ended.exit_code, ended.stderr) == (0, "")
    facts = json.loads(pq.read_schema(tmp_path / "rows.parquet").metadata[b"resnest"])
    assert facts["weights"] == folders.read_files(find_model(str(exported(to)))).sha256


@pytest.mark.parametrize("to", EXPORTS)
def test_the_example_gives_the_answer_of_predict(to: str, exported: Any, shell: Shell, tmp_path: Path) -> None:  # noqa: ANN401
    wide = tmp_path / "wide.png"  # to be resized and cropped
    Image.open(PATHS[0]).resize((101, 67)).save(wide)
    with Classifier("digits") as model:
        (record,) = model.predict([wide])
    ended = shell(sys.executable, "-I", exported(to) / "example.py", wide)
    assert ended.stdout.decode() == f"{record.top1.label} {record.top1.probability:.4f}\n", ended.stderr
    assert len((exported(to) / "example.py").read_text().splitlines()) <= 45


@pytest.fixture
def odd_pictures(tmp_path: Path) -> dict[str, Path]:
    """Save a seven that is turned, a transparent one, and three with 16 bits."""
    seven = Image.open(PATHS[0]).convert("L").resize((80, 96))
    deep = np.asarray(seven).astype("u2")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    hidden = Image.merge("LA", (seven, Image.new("L", seven.size, 255)))
    hidden.paste((0, 0), (0, 0, 80, 20))
    paths = {name: tmp_path / f"{name}.png" for name in ("turned", "transparent", "sixteen", "twelve")}
    seven.transpose(Image.Transpose.ROTATE_90).save(paths["turned"], exif=exif)
    hidden.save(paths["transparent"])
    Image.fromarray(deep * 257).save(paths["sixteen"])
    Image.fromarray(deep * 16).save(paths["twelve"])
    paths["tiff"] = tmp_path / "sixteen.tif"
    Image.fromarray((deep * 257).astype(">u2")).save(paths["tiff"], compression="tiff_lzw")
    return paths


def prepared(text: str, path: Path) -> NDArray[np.uint8]:
    """Run the example's function that prepares a picture, alone."""
    begin, end = text.index("def prepare"), text.index("folder =")
    names: dict[str, Any] = {"np": np, "Image": Image, "ImageOps": ImageOps, "sys": sys}
    exec(text[begin:end], names)  # noqa: S102 - our own text
    pixels: NDArray[np.uint8] = names["prepare"](path)[0]
    return pixels


def test_the_example_gives_the_answer_of_predict_to_odd_pictures(
    exported: Any,  # noqa: ANN401 - a function of the fixture
    shell: Shell,
    odd_pictures: dict[str, Path],
) -> None:
    text = (exported("openvino") / "example.py").read_text()
    with Classifier("digits") as model:
        records = dict(zip(odd_pictures, model.predict([*odd_pictures.values()], topk=1), strict=True))
    for path in odd_pictures.values():
        difference = prepared(text, path).astype(int) - load(path.read_bytes(), find_model("digits").data)
        assert np.abs(difference).max() <= 1, path  # 12 bits are scaled by 4095 in both, rounded at another place
    assert len({record.top1.label for name, record in records.items() if name != "transparent"}) == 1
    for name in ("turned", "transparent", "twelve"):
        ended = shell(sys.executable, "-I", exported("openvino") / "example.py", odd_pictures[name])
        label, probability = ended.stdout.decode().split()
        assert label == records[name].top1.label, ended.stderr
        assert float(probability) == pytest.approx(records[name].top1.probability, abs=0.01)


def test_the_example_says_what_it_leaves_out(exported: Any, tmp_path: Path) -> None:  # noqa: ANN401 - as above
    text = (exported("openvino") / "example.py").read_text()
    assert text.startswith("# Prepares a picture as `resnest predict` does, but for what is rare: floats")
    Image.new("F", (9, 9)).save(tmp_path / "float.tif")
    with pytest.raises(
        SystemExit, match=r"float\.tif: numbers of this kind are not scaled here; `resnest predict` does"
    ):
        prepared(text, tmp_path / "float.tif")


def test_the_example_says_in_words_that_it_cannot_read_a_picture(
    exported: Any,  # noqa: ANN401 - as above
    shell: Shell,
    tmp_path: Path,
) -> None:
    (tmp_path / "page.png").write_text("<html>")
    for name in ("page.png", "lost.png"):
        ended = shell(sys.executable, "-I", exported("openvino") / "example.py", tmp_path / name)
        assert (ended.returncode, ended.stdout) == (1, b"")
        assert ended.stderr.decode().startswith(f"{tmp_path / name}: Pillow does not read this picture (")
        assert "Traceback" not in ended.stderr.decode()


@pytest.mark.parametrize("size", [(3, 32, 32), (3, 32, 48)])
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_the_examples_preprocessing_is_that_of_predict(mode: str, size: tuple[int, int, int], tmp_path: Path) -> None:
    data = replace(find_model("digits").data, crop_pct=0.9, crop_mode=mode, input_size=size)
    block = {"format": "onnx", "input": {"name": "pixels", "dtype": "uint8"}}
    text = snippet({"export": block, "pretrained_cfg": vars(data)})
    dice = np.random.default_rng(0)
    for shape in ((50, 80), (81, 50), (33, 33), (500, 375), (7, 9)):
        path = tmp_path / "picture.png"
        Image.fromarray(dice.integers(0, 256, (*shape, 3), dtype=np.uint8)).save(path)
        np.testing.assert_array_equal(prepared(text, path), load(path.read_bytes(), data))


def test_imagenet_names_and_wnids_come_from_the_folder(tmp_path: Path) -> None:
    finetuned("resnest14d", tmp_path / "model", num_classes=1000, label_names=(), **NARROW)
    with Classifier(str(tmp_path / "model"), engine="torch", device="cpu") as model:
        (known,) = model.predict([PATHS[0]])
    export(Options(str(tmp_path / "model")), "openvino", tmp_path / "out", raw_uint8=True)
    with Classifier(str(tmp_path / "out")) as model:
        (found,) = model.predict([PATHS[0]])
        assert model.labels.source == "the model's own"
    for one, other in zip(found.predictions, known.predictions, strict=True):
        assert (one.index, one.wnid, one.label) == (other.index, other.wnid, other.label)
        assert str(one.wnid).startswith("n")
        assert one.probability == pytest.approx(other.probability, abs=1e-5)


def test_a_finetuned_folder_with_four_splits_is_exported_on_its_own_pictures(tmp_path: Path) -> None:
    network = finetuned("resnest50d_4s2x40d", tmp_path / "model", layers=(1, 1, 1, 1))
    pictures = save_pictures(tmp_path / "pictures", 12)
    said = export(
        Options(str(tmp_path / "model"), crop_pct=1.0),
        "onnx",
        tmp_path / "onnx",
        pictures=[str(tmp_path / "pictures")],
    )
    assert said.parity.same_class == said.parity.images == 12
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "model.onnx")
    given = to_input(pictures)
    with torch.inference_mode():
        expected = network(given).numpy()
    assert np.ptp(expected, axis=0).max() > 1e-1
    for size in (1, 3, 8):
        (found,) = session.run(None, {"images": given[:size].numpy()})
        np.testing.assert_allclose(found, expected[:size], rtol=0, atol=1e-4)
    with Classifier(str(tmp_path / "onnx")) as model:
        (record,) = model.predict([pictures[0]])
    assert record.top1.label == CLASSES[int(expected[0].argmax())]


# --- whole or not at all


KILLED = """
import os, signal
from pathlib import Path
from resnest_cli import Options
from resnest_cli.tasks.export import exporter, parity
def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
parity.compare = kill
exporter.export(Options("digits"), "torch", Path("out"))
"""


def test_a_killed_export_leaves_nothing_under_its_name(tmp_path: Path) -> None:
    """It is killed when its files are written and not compared yet."""
    ended = subprocess.run([sys.executable, "-c", KILLED], cwd=tmp_path, capture_output=True, check=False, timeout=300)
    assert ended.returncode == -9
    assert not (tmp_path / "out").exists()
    assert any(tmp_path.glob(".resnest-*/new/model.pt2"))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Make a model folder that an export is to replace."""
    shutil.copytree(DIGITS, tmp_path / "old")
    return tmp_path / "old"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_file_that_answers_otherwise_is_not_kept(tmp_path: Path, old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = to_torch.FORMATS["torch"]._replace(load=lambda _: lambda batch: np.zeros((len(batch), 10), np.float32))
    monkeypatch.setitem(to_torch.FORMATS, "torch", wrong)
    before = contents(tmp_path)
    with pytest.raises(ModelError, match=r"^the torch file does not give torch's answers: logits differ by \d\.\d"):
        export(Options("digits"), "torch", old, overwrite=True)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(("logit", "probability"), [(5e-4, 0.0), (0.0, 2e-4), (float("nan"), 0.0)])
def test_the_tolerance_is_of_logits_and_of_probabilities(logit: float, probability: float) -> None:
    check(Parity("torch", 1, (1,), 4.0, 3e-4, 9e-5, 1), "onnx")
    with pytest.raises(ModelError):
        check(Parity("torch", 1, (1,), 4.0, logit, probability, 1), "onnx")


def test_overwrite_replaces_a_model_folder_and_nothing_else(tmp_path: Path, old: Path) -> None:
    with pytest.raises(OutputError, match=r"exists; add overwrite=True to replace it\.$"):
        export(Options("digits"), "torch", old)
    photographs = tmp_path / "photographs"
    shutil.copytree(SAMPLES, photographs)
    with pytest.raises(OutputError, match="is not a model folder"):
        export(Options("digits"), "torch", photographs, overwrite=True)
    export(Options("digits"), "torch", old, overwrite=True)
    assert (old / "model.pt2").is_file()
    assert not (old / "samples").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old", "photographs"]


def test_an_output_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot be written: "):
        export(Options("digits"), "torch", tmp_path / "file" / "out")


# --- what is refused


def test_without_the_extra_the_pip_line_is_named(monkeypatch: pytest.MonkeyPatch, resnest: Resnest) -> None:
    monkeypatch.setattr(imports, "find_spec", lambda name: None if name.startswith("onnx") else True)
    ended = resnest("export", "digits", "--to", "onnx", "-o", "out")
    assert ended.exit_code == 2
    assert ended.stderr == (
        "error: --to onnx needs onnx and onnxscript and onnxruntime: pip install 'resnest-cli[onnx]'\n"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"img_size": 64}, "img_size is fixed in it"),
        ({"mean": (0.1, 0.1, 0.1)}, "mean is fixed in it"),
        ({"random_weights": True}, "it has its weights inside"),
        ({"engine": "torch"}, "it runs on OpenVINO, and torch asked for"),
        ({"precision": "fp16"}, "it runs on OpenVINO, and fp16 runs in torch"),
        ({"precision": "int8"}, '^precision="int8": '),  # it would have run in fp32, and been called int8
    ],
)
def test_what_an_export_cannot_do_is_refused(changes: dict[str, Any], words: str, exported: Any) -> None:  # noqa: ANN401
    with pytest.raises(UsageError, match=words):
        Classifier(Options(str(exported("openvino")), device="cpu", **changes))


def test_an_export_runs_on_the_cpu_of_a_machine_with_a_gpu(exported: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401
    monkeypatch.setattr("resnest_cli.system.machine.may_have_accelerator", lambda: True)
    monkeypatch.setattr(
        "resnest_cli.engines.pytorch.engine.choose_device", lambda _: (torch.device("cuda"), "cuda found")
    )
    with Classifier(str(exported("openvino"))) as model:
        assert (model.engine.name, model.engine.device, model.engine.reason) == ("openvino", "cpu", "an exported model")


def test_an_export_gives_no_features_and_no_export(exported: Any, resnest: Resnest, tmp_path: Path) -> None:  # noqa: ANN401
    ended = resnest("embed", PATHS[0], "-m", exported("onnx"))
    assert "it gives classes only, no features. Use the model that it was made from." in ended.stderr
    ended = resnest("export", exported("onnx"), "--to", "torch", "-o", tmp_path / "again")
    assert (ended.exit_code, ended.stderr.splitlines()[-1]) == (
        2,
        f"error: {exported('onnx')} is an exported model: export the model that it was made from.",
    )


def test_a_damaged_export_is_refused(exported: Any, tmp_path: Path) -> None:  # noqa: ANN401
    damaged = tmp_path / "damaged"
    shutil.copytree(exported("onnx"), damaged)
    content = bytearray((damaged / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (damaged / "model.onnx").write_bytes(content)
    with pytest.raises(ModelError, match="is not the file that was exported: export it anew"):
        Classifier(str(damaged))


def test_files_outside_the_folder_are_refused(exported: Any, tmp_path: Path) -> None:  # noqa: ANN401
    folder = tmp_path / "hostile"
    shutil.copytree(exported("onnx"), folder)
    config = json.loads((folder / "config.json").read_text())
    config["export"]["files"] = {"../model.onnx": "0" * 64}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="would not"):
        find_model(str(folder))


def into_a_file(model: Any, place: Path, location: str) -> None:  # noqa: ANN401 - onnx has no types
    """Put the first weights of a graph into a file of their own, which the graph names."""
    weight = model.graph.initializer[0]
    place.write_bytes(weight.raw_data)
    length = str(len(weight.raw_data))
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", length)):
        weight.external_data.add(key=key, value=value)


def hold_a_graph(model: Any) -> None:  # noqa: ANN401
    model.graph.node[0].attribute.append(onnx.helper.make_attribute("body", model.graph))


def hold_a_function(model: Any) -> None:  # noqa: ANN401
    imports = [onnx.helper.make_opsetid("", 20)]
    model.functions.append(onnx.helper.make_function("own", "f", ["x"], ["y"], [], imports))


def hold_sparse_weights(model: Any) -> None:  # noqa: ANN401
    sparse = onnx.SparseTensorProto()
    sparse.values.CopyFrom(onnx.numpy_helper.from_array(np.ones(1, np.float32), "sparse"))
    model.graph.sparse_initializer.append(sparse)


HOSTILE: dict[str, Callable[[Any, Path], None]] = {
    "weights in other files: up": lambda model, folder: into_a_file(model, folder.parent / "data", "../data"),
    "weights in other files: beside": lambda model, folder: into_a_file(model, folder / "data", "data"),
    "weights in other files: here": lambda model, folder: into_a_file(model, folder.parent / "data", "data"),
    "graphs inside of nodes": lambda model, _: hold_a_graph(model),
    "functions": lambda model, _: hold_a_function(model),
    "sparse weights": lambda model, _: hold_sparse_weights(model),
    "ops of another domain": lambda model, _: setattr(model.graph.node[0], "domain", "com.example"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_an_onnx_graph_of_more_than_ops_and_weights_is_refused_before_it_is_read(
    what: str,
    exported: Any,  # noqa: ANN401
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The config has the right hash of the graph."""
    folder = tmp_path / "hostile"
    shutil.copytree(exported("onnx"), folder)
    monkeypatch.chdir(tmp_path)
    model = onnx.load(folder / "model.onnx")
    HOSTILE[what](model, folder)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    config = json.loads((folder / "config.json").read_text())
    config["export"]["files"]["model.onnx"] = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError) as caught:
        Classifier(str(folder))
    why = f"is not a graph that takes what its config says ({what.partition(':')[0]}). Export it anew."
    assert str(caught.value) == f"{folder}/model.onnx {why}"


@pytest.mark.parametrize("content", [b"\x3a\xff\xff\xff\xff\x0f", b"\x0b", b"\xff" * 20, b"\x39\0"])
def test_an_onnx_graph_whose_fields_do_not_add_up_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="damaged fields"):
        onnx_file.check(content)


def test_pictures_that_cannot_be_read_end_it_before_it_begins(resnest: Resnest, tmp_path: Path) -> None:
    words = ("export", "digits", "--to", "torch", "-o", tmp_path / "out", "--pictures", "lost.png")
    ended = resnest(*words)
    assert ended.exit_code == ExitCode.USAGE
    assert ended.stderr == "error: --pictures lost.png: no such file.\n"
    assert not list(tmp_path.iterdir())


# --- what a person sees


def test_the_report_is_printed_and_the_example_named(resnest: Resnest, tmp_path: Path) -> None:
    ended = resnest("export", "digits", "--to", "torch", "--raw-uint8", "-o", tmp_path / "out")
    lines = [line.rstrip() for line in ended.stdout.splitlines()]
    assert ended.exit_code == 0
    names = [line.split()[0] for line in lines]
    assert {"folder", "input", "output", "takes", "compared", "logits", "probabilities", "first"} <= set(names)
    assert "compared       12 pictures with torch, in batches of 8, 3, 1" in lines
    assert "first class    the same for 12 of 12" in lines
    assert ended.stderr.endswith(f"without resnest: python {tmp_path / 'out' / 'example.py'} IMAGE\n")
