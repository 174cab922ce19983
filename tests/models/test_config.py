"""Files that say what a model is, or how a job stands, and say what cannot be meant: refused in words, at once."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
import torch
from conftest import SAMPLES

from resnest_cli import Options, find_model
from resnest_cli.cluster.spans import Span, read_span
from resnest_cli.engines import build, graph
from resnest_cli.engines.pytorch import network
from resnest_cli.errors import BadCheckpoint, ModelError, OutputError, TrainingStopped, UsageError
from resnest_cli.models.catalog import DIGITS
from resnest_cli.models.provenance import options_of
from resnest_cli.outputs import index as index_file
from resnest_cli.outputs import records
from resnest_cli.outputs.rows import About, read_json
from resnest_cli.text import json_input
from resnest_cli.training import checkpoints, job
from resnest_cli.training.recipe import Recipe

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Resnest

DIGITS_CONFIG = json.loads((DIGITS / "config.json").read_text())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(DIGITS, tmp_path / "model", ignore=lambda *_: ["samples"])
    return tmp_path / "model"


def each(*values: Any) -> tuple[Any, ...]:  # noqa: ANN401 - whatever JSON holds
    return values


def export(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever JSON holds
    block = {"format": "onnx", "files": {}, "input": {"dtype": "uint8"}, "weights_sha256": "0" * 64, "param_count": 1}
    return {"export": block | changes}


def args(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever JSON holds
    return {"model_args": DIGITS_CONFIG["model_args"] | changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 10**9}, "num_classes is 1000000000: it must be a whole number from 1 to 1000000"),
        ({"num_classes": -5}, "num_classes is -5: it must be"),
        ({"num_classes": True}, "num_classes is true: it must be"),
        ({"num_classes": 1.5}, "num_classes is 1.5: it must be"),
        ({"num_classes": "10"}, "num_classes is 10: it must be"),
        ({"num_classes": None}, "num_classes is null: it must be"),
        ({"num_classes": 10**4000}, f"num_classes is 1{'0' * 59}...: it must be"),
        (args(layers=[10**6] * 4), "model_args.layers.0 is 1000000: it must be a whole number from 1 to 64"),
        (args(layers=[1, 1, 1]), "model_args.layers is a list: it must be a list of 4 whole numbers from 1 to 64"),
        (args(layers=[1, 1, True, 1]), "model_args.layers.2 is true: it must be"),
        (args(channels=[10**9] * 4), "model_args.channels.0 is 1000000000: it must be"),
        (args(stem_width=10**9), "model_args.stem_width is 1000000000: it must be"),
        (args(block_args={"radix": 10**9}), "model_args.block_args.radix is 1000000000: it must be"),
        (args(block_args={"evil": 1}), "model_args.block_args holds 'evil', which timm does not take: remove it"),
        (args(block_args=[1]), "model_args.block_args is no object: a list"),
        (args(wings=2), "model_args holds 'wings', which timm does not take: remove it"),
        (args(act_layer="x" * 10**6), f"model_args.act_layer is {'x' * 60}...: it must be a text of at most 1000"),
        (args(drop_rate=7), "model_args.drop_rate is 7: it must be a number from 0 to 1"),
        (args(num_classes=9), "model_args.num_classes is 9, and num_classes is 10: they must be the same"),
        (args(features_only=True), "model_args holds 'features_only', which timm does not take"),
        (args(in_chans=10**6), "model_args.in_chans is 1000000: it must be a whole number from 3 to 3"),
        ({"model_args": 5}, "model_args is no object: 5"),
        ({"model_args": [["layers", [1] * 4]]}, "model_args is no object: a list"),
        ({"export": 5}, "export is no object: 5"),
        (export(files=5), "export.files is no object: 5"),
        (export(files={"model.onnx": 5}), "export.files.model.onnx is 5: it must be a text"),
        (export(files={"../model.onnx": "0"}), "the files of an export lie beside it; '../model.onnx' would not"),
        (export(files={"..": "0"}), "the files of an export lie beside it; '..' would not"),
        (export(format=["onnx"]), "export.format is a list: it must be a text"),
        (export(input=[]), "export.input is no object: a list"),
        (export(input={"dtype": 5}), "export.input.dtype is 5: it must be"),
        (export(param_count=-1), "export.param_count is -1: it must be"),
        (export(weights_sha256=None), "export.weights_sha256 is null: it must be"),
        ({"architecture": ["resnest14d"]}, "architecture is a list: it must be a text"),
        ({"architecture": None}, "architecture is null: it must be a text"),
        ({"label_names": {"a": 1}}, "label_names is an object: it must be a list of texts"),
        ({"label_names": "zero to nine"}, "label_names is zero to nine: it must be a list of texts"),
        ({"label_names": [["zero"]] * 10}, "label_names is a list: it must be a list of texts of at most 1000"),
        ({"label_names": ["x" * 10**6] * 10}, "label_names is a list: it must be a list of texts of at most 1000"),
        ({"label_names": [None] * 10}, "label_names is a list: it must be a list of texts"),
        ({"label_names": ["a"] * 9}, "9 label_names for 10 classes"),
        ({"wnids": 5}, "wnids is 5: it must be a list of texts"),
        ({"wnids": [5] * 10}, "wnids is a list: it must be a list of texts"),
        ({"wnids": ["n1"] * 11}, "11 wnids for 10 classes"),
        ({"pretrained_cfg": None}, "num_classes"),
        ({"pretrained_cfg": {"crop_mode": ["center"]}}, "crop_mode is a list: it must be a text"),
        ({"pretrained_cfg": {"interpolation": 5}}, "interpolation is 5: it must be a text"),
        ({"pretrained_cfg": {"input_size": [3.0, 32, 32]}}, "only three-channel"),
        ({"pretrained_cfg": {"input_size": [3, 32, True]}}, "input_size True: use a whole number"),
        ({"pretrained_cfg": {"input_size": [3, [32], 32]}}, "input_size [32]: use a whole number"),
        ({"pretrained_cfg": {"crop_pct": True}}, "crop_pct True: use a number"),
        ({"pretrained_cfg": {"crop_pct": "x" * 10**6}}, f"crop_pct {'x' * 60}...: use a number"),
        ({"pretrained_cfg": {"mean": [True] * 3}}, "mean True: use a number"),
        ({"pretrained_cfg": {"std": ["0.5"] * 3}}, "std 0.5: use a number"),
        ({"pretrained_cfg": {"std": {"r": 1}}}, "are three numbers each"),
    ],
)
def test_a_config_that_cannot_be_meant_is_refused_with_its_entry(
    changes: dict[str, Any], message: str, folder: Path, resnest: Resnest
) -> None:
    if changes.get("pretrained_cfg") is None and "pretrained_cfg" in changes:
        changes, message = {"pretrained_cfg": None, "num_classes": None}, "num_classes is null"
    (folder / "config.json").write_text(json.dumps(DIGITS_CONFIG | changes))
    done = resnest("predict", SAMPLES, "-m", folder, "-j", "0")
    told = " ".join(done.stderr.split())
    assert (done.exit_code, done.stdout) == (1, "")
    assert told.startswith(f"error: {folder}/config.json")
    assert message in told
    assert len(told) < 600


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 200_000, "it is nested too deeply"),
        (b'{"a":' * 200_000, "it is nested too deeply"),
        (b'{"num_classes": Infinity}', "Infinity is no number in JSON"),
        (b'{"num_classes": NaN}', "NaN is no number in JSON"),
        (b'{"num_classes": 10, "num_classes": 1000}', "the key 'num_classes' is there twice"),
        (b'{"num_classes": ' + b"9" * 5000 + b"}", "is not the config of a timm model"),
        (b'{"architecture": "\xff"}', "it is not text in UTF-8"),
        ('{"architecture": "resnest14d"}'.encode("utf-16"), "it is not text in UTF-8"),
        (b"", "Expecting value"),
        (b"null", "it is no object: null"),
        (b"[]", "it is no object: a list"),
        (b'"text"', "it is no object: text"),
        (b'{"architecture": "resnest14d"}' + b" " * (16 << 20), "16,777,246 bytes are too many"),
    ],
    ids=lambda value: value[:20] if isinstance(value, bytes) else "",
)
def test_a_config_that_is_no_plain_json_is_refused(content: bytes, message: str, folder: Path) -> None:
    (folder / "config.json").write_bytes(content)
    with pytest.raises(ModelError) as caught:
        find_model(str(folder))
    assert message in str(caught.value)
    assert str(caught.value).endswith("Correct the file.")


def test_a_pipe_in_place_of_a_config_is_refused_and_not_waited_for(folder: Path) -> None:
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    with pytest.raises(ModelError, match=r"config\.json is not the config of a timm model: not a regular file\."):
        find_model(str(folder))


def test_names_that_are_numbers_are_names(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(DIGITS_CONFIG | {"label_names": [*range(10)]}))
    assert find_model(str(folder)).label_names == tuple("0123456789")


@pytest.mark.parametrize(
    "changes",
    [
        {"num_classes": 10**6, "label_names": None, "model_args": {}},
        args(channels=[8192] * 4),
        args(base_width=8192),
    ],
    ids=["classes", "channels", "width"],
)
def test_a_network_that_the_weights_cannot_fill_is_refused_before_it_is_made(
    changes: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "config.json").write_text(json.dumps(DIGITS_CONFIG | changes))

    monkeypatch.setattr(torch.nn.Module, "to_empty", lambda *_, **__: pytest.fail("memory was taken for it"))
    monkeypatch.setattr(build, "build", lambda *_, **__: pytest.fail("memory was taken for it"))
    spec, file = find_model(str(folder)), folder / "model.safetensors"
    for take in (lambda: network.build(spec, file), lambda: graph.ensure(spec, file, "", "logits")):
        with pytest.raises(BadCheckpoint, match=r"model\.safetensors does not fit .*: tensors [^.]* of another shape"):
            take()


@pytest.mark.parametrize(
    "changes",
    [
        {"global_pool": "evil"},
        {"output_stride": 9},
        {"block_reduce_first": 2},
        {"act_layer": "evil"},
        {"stem_width": 1},
    ],
    ids=str,
)
def test_arguments_that_timm_makes_nothing_of_are_named(changes: dict[str, Any], folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(DIGITS_CONFIG | args(**changes)))
    with pytest.raises(ModelError, match=r"correct its config\.json\.|does not fit"):
        network.build(find_model(str(folder)), folder / "model.safetensors")


def test_a_network_that_nobody_has_memory_for_is_not_made_of_random_weights(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(DIGITS_CONFIG | args(channels=[8192] * 4, base_width=1024)))
    with pytest.raises(ModelError, match="million numbers"):
        network.build(find_model(str(folder)), None)


@pytest.mark.parametrize("text", ['{"a": 1, "b": [1.5, null, true, "x"], "c": {}}', "5", '"\\ud800"'])
def test_plain_json_is_read_as_the_standard_library_does(text: str) -> None:
    assert json_input.parse(text) == json_input.parse(text.encode()) == json.loads(text)


# --- what stands beside results


def done(**changes: Any) -> bytes:  # noqa: ANN401 - whatever JSON holds
    record = {"settings": {}, "rows": 2, "failures": {}, "inputs": "0", "checksums": {"out.jsonl": 0}}
    return json.dumps(record | changes).encode()


def test_a_record_of_a_finished_job_is_read(tmp_path: Path) -> None:
    records.place(tmp_path / "out.jsonl").write_bytes(done(failures={"NotAnImage": 1}))
    expected = records.Finished({}, 2, {"NotAnImage": 1}, "0", {"out.jsonl": 0})
    assert records.read(tmp_path / "out.jsonl") == expected


def test_a_record_says_what_holds_for_all_rows(tmp_path: Path) -> None:
    about = {"topk": 5, "facts": {"model": "x"}, "is_calibrated": True}
    records.place(tmp_path / "out.jsonl").write_bytes(done(about=about))
    expected = records.Finished({}, 2, {}, "0", {"out.jsonl": 0}, About(5, {"model": "x"}, is_calibrated=True))
    assert records.read(tmp_path / "out.jsonl") == expected


@pytest.mark.parametrize(
    "content",
    [
        *(done(rows=value) for value in each(-1, 1.5, "2", None, 10**30)),
        done(rows=True),
        *(done(failures=value) for value in each({"x": 10**12}, {"x": -1}, {"x": "1"}, [["x", 1]], 5)),
        *(done(checksums=value) for value in each({"other": 0}, {"out.jsonl": "0"}, [])),
        *(done(checksums={"out.jsonl": 0, name: 0}) for name in each("../other", "/etc/passwd", "")),
        *(done(about=value) for value in each(5, {"topk": -1}, {"topk": 1, "facts": []}, {"topk": 1, "facts": {}})),
        *(done(settings=[]), done(inputs=5), b"[" * 100_000, b"\xff", b"{}", b"null", b'{"rows": NaN}'),
    ],
    ids=lambda content: content[-60:].strip() if isinstance(content, bytes) else "",
)
def test_a_record_of_a_finished_job_that_no_job_wrote_is_none(content: bytes, tmp_path: Path) -> None:
    records.place(tmp_path / "out.jsonl").write_bytes(content)
    assert records.read(tmp_path / "out.jsonl") is None


def test_a_record_that_counts_more_rows_than_there_are_is_refused_and_not_counted_through(
    tmp_path: Path, resnest: Resnest
) -> None:
    out = tmp_path / "out.jsonl"
    words = ("predict", SAMPLES / "seven_0081.png", "-m", "digits", "-j", "0", "-o", out)
    assert resnest(*words).exit_code == 0
    record = json.loads(records.place(out).read_text())
    records.place(out).write_text(json.dumps(record | {"rows": 10**12, "failures": {"NotAnImage": 10**11}}))
    ended = resnest(*words, "--resume")
    assert (ended.exit_code, "the inputs are others" in ended.stderr) == (1, True)


@pytest.mark.parametrize("content", [b"[" * 100_000, b"[]", b'{"a": Infinity}', b'{"a": 1, "a": 2}', b"\xff"])
def test_a_beginning_that_no_job_wrote_is_damaged(content: bytes) -> None:
    with pytest.raises(OutputError, match=r"out\.resume\.json is damaged: add overwrite=True"):
        records.begun_with("out.resume.json", content)


@pytest.mark.parametrize(
    "content", [b'{"path": "a", "b": ' + b"[" * 100_000, b'{"path": 5}', b'{"path": "a", "x": NaN}']
)
def test_a_row_that_no_job_wrote_is_the_end_of_the_rows(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"nested too deeply|not a row|NaN is no number"):
        read_json(content)


# --- features


def npy(shape: str, *, kind: str = "<f4", data: bytes = b"") -> bytes:
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Return the rest of an index of two rows: its paths, and how it was made."""
    (tmp_path / "index.paths.jsonl").write_bytes(b'{"path": "a"}\n{"path": "b"}\n')
    (tmp_path / "index.npy.json").write_text('{"width": 2}')
    (tmp_path / "index.npy").write_bytes(npy("(2, 2)", data=bytes(16)))
    return tmp_path / "index.npy"


def test_an_index_is_read(index: Path) -> None:
    assert index_file.read(index).paths == ["a", "b"]


@pytest.mark.parametrize(
    "content",
    [
        npy("(1000000000000, 2)"),
        npy(f"({2**62}, {2**62})"),
        npy("(-1, 2)", data=bytes(16)),
        npy("(True, 2)", data=bytes(16)),
        npy("(2,)", data=bytes(8)),
        npy("()", data=bytes(4)),
        npy("(2, 2)", kind="|O", data=bytes(32)),
        npy("(2, 2)", kind="<f8", data=bytes(32)),
        npy("(2, 2)", kind="<U1000000", data=bytes(99)),
        npy("(" * 3000, data=bytes(16)),
        npy("__import__('os').abort()", data=bytes(16)),
        b"PK\x03\x04" + bytes(60),
        b"\x80\x04K\x05.",
        b"",
    ],
    ids=lambda content: content[10:90].strip() if isinstance(content, bytes) else "",
)
def test_an_array_that_no_job_wrote_is_refused(content: bytes, index: Path) -> None:
    index.write_bytes(content)
    with pytest.raises(UsageError, match=r"index\.npy"):
        index_file.read(index)


@pytest.mark.parametrize("paths", [b'{"path": 5}\n' * 2, b"[" * 100_000, b'{"path": "a"}\n', b"\xff\n\n", b"5\n5\n"])
def test_paths_that_no_job_wrote_are_refused(paths: bytes, index: Path) -> None:
    index.with_suffix(".paths.jsonl").write_bytes(paths)
    with pytest.raises(UsageError, match=r"index\.npy"):
        index_file.read(index)


@pytest.mark.parametrize("width", [b"1e12", b"1000000000000", b"-1", b"true", b'"2"', b"[" * 100_000, b"NaN"])
def test_facts_that_no_job_wrote_are_refused(width: bytes, tmp_path: Path) -> None:
    (tmp_path / "index.jsonl").write_bytes(b'{"path": "a", "embedding": null}\n')
    (tmp_path / "index.jsonl.json").write_bytes(b'{"width": ' + width + b"}")
    with pytest.raises(UsageError, match=r"index\.jsonl cannot be read"):
        index_file.read(tmp_path / "index.jsonl")


PREPROCESSING: dict[str, Any] = {
    "input_size": [3, 32, 32],
    "crop_pct": 1.0,
    "interpolation": "bilinear",
    "mean": [0, 0, 0],
    "std": [1, 1, 1],
    "exif": True,
}
MADE: dict[str, Any] = {
    "model": "digits",
    "weights": None,
    "weights_sha256": "0",
    "precision": "fp32",
    "preprocessing": PREPROCESSING,
}


def preprocessed(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever JSON holds
    return {"preprocessing": PREPROCESSING | changes}


@pytest.mark.parametrize(
    "changes",
    [
        *({"model": value} for value in each(5, ["digits"], None, "x" * 10**6)),
        *({"weights": value} for value in each(5, [])),
        {"weights": True},
        *({"precision": value} for value in each(5, [], "fp7")),
        *({"weights_sha256": 5}, {"preprocessing": 5}, {"preprocessing": None}),
        *(preprocessed(**{key: "x"}) for key in PREPROCESSING),
        *(preprocessed(input_size=[3, 10**9, 1]), preprocessed(crop_pct=0), preprocessed(std=[0, 0, 0])),
    ],
    ids=str,
)
def test_an_index_that_names_no_model_is_refused(changes: dict[str, Any]) -> None:
    asked = Options(model="")
    assert options_of(MADE, asked).img_size == 32
    with pytest.raises(UsageError):
        options_of(MADE | changes, asked)


# --- a cluster's folder, and a training's


def test_what_a_file_of_a_cluster_says_of_itself_is_checked() -> None:
    assert read_span(b'[0, 1, "a", "b", {"X": 1}]', "file") == Span(0, 1, "a", "b", {"X": 1})


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"[]", b"5", b"[" * 100_000, b'[0, 1, "a", "b"]', b'[1, 0, "a", "b", {}]', b'[-1, 0, "a", "b", {}]'),
        *(b'[0, 1e400, "a", "b", {}]', b'[0, 1, 5, "b", {}]', b'[0, 1, "a", "b", {"X": 3}]', b'[0, 1, "a", "b", []]'),
    ],
)
def test_what_no_cluster_wrote_is_refused(text: bytes) -> None:
    with pytest.raises(OutputError, match="file is not a file that this job wrote"):
        read_span(text, "file")


JOB: dict[str, Any] = {"command": "train", "data": "photos", "recipe": {"epochs": 3, "lr": "auto", "balance": True}}


STRANGE: list[tuple[str, Any]] = [
    *(("command", value) for value in each(5, [], None)),
    *(("recipe", value) for value in each(5, [], {"epochs": 0}, {"epochs": 1.5}, {"epochs": True}, {"lr": []})),
    *(("recipe", value) for value in each({"seed": 2**40}, {"evil": 1}, {"mixup": "x"})),
    *(("arch", value) for value in each(5, {"layers": [10**6] * 4}, {"checkpoint_path": "x"})),
    *(("model", value) for value in each(5, {"model": 5}, {"weights": []}, {"evil": "x"})),
    *(("val", 2), ("full", 1), ("exclude", [5]), ("exclude", "x"), ("groups", 5), ("x", 1)),
]


def test_a_job_is_read(tmp_path: Path) -> None:
    (tmp_path / job.FILENAME).write_text(
        json.dumps(JOB | {"arch": {"stem_width": 8}, "full": False, "groups": "animal"})
    )
    expected = job.Job(
        "train", "photos", Recipe(epochs=3, balance=True), arch={"stem_width": 8}, full=False, groups="animal"
    )
    assert job.read(tmp_path) == expected


@pytest.mark.parametrize(
    "content",
    [
        *map(json.dumps, ({**JOB, key: value} for key, value in STRANGE)),
        *("[" * 3000, "5", "", "a: &a [*a]", "!!python/object/apply:os.abort []", "a: b: c", "\0", "x" * (1 << 19)),
        "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b]\nexclude: [*c,*c,*c]",
        "command: .inf\ndata: x\nrecipe: {}",
    ],
    ids=lambda content: content[-50:],
)
def test_a_job_that_no_run_wrote_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / job.FILENAME).write_text(content)
    with pytest.raises(UsageError, match=r"run\.yaml is not what a run wrote"):
        job.read(tmp_path)


STATE: dict[str, Any] = {"step": 1, "lr": 0.1, "earlier": []}


def test_a_state_is_read(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, 1, STATE)
    assert checkpoints.newest(tmp_path) == STATE


@pytest.mark.parametrize("state", [{}, [1], {"step": 1}, {"lr": 0.1}, STATE | {"lr": "x"}, None, "deflated"])
def test_a_state_that_no_run_wrote_is_refused_though_its_hash_is_right(state: object, tmp_path: Path) -> None:
    out = BytesIO()
    torch.save(STATE if state == "deflated" else state, out)
    content = out.getvalue()
    if state == "deflated":
        out = BytesIO()
        with zipfile.ZipFile(BytesIO(content)) as stored, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
            for name in stored.namelist():
                packed.writestr(name, stored.read(name))
        content = out.getvalue()
    (tmp_path / f"step-000000001-{hashlib.sha256(content).hexdigest()[:16]}.pt").write_bytes(content)
    with pytest.raises(TrainingStopped, match="is not a state that a run wrote"):
        checkpoints.newest(tmp_path)
