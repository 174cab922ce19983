"""What a weights file is, is said in words; nothing in it is run, and nothing is allocated that it does not justify."""

from __future__ import annotations

import io
import json
import os
import pickle
import pickletools
import struct
import tarfile
import tracemalloc
import zipfile
from collections import OrderedDict
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import timm
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from resnest_cli.engines.checkpoints import read
from resnest_cli.engines.pytorch import network
from resnest_cli.errors import BadCheckpoint, ModelError
from resnest_cli.models import checkpoint, state
from resnest_cli.models.catalog import DIGITS, find_model, list_models

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Resnest

State = dict[str, torch.Tensor]


@cache
def small() -> State:
    return {"fc.weight": torch.ones(3, 2), "fc.bias": torch.zeros(3)}


def saved(content: object, *, legacy: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def zipped(entries: dict[str, bytes], kind: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("sys_info"))
    return file.getvalue()


def refusal(path: Path, content: bytes) -> str:
    """Read a file that must be refused; the message names it, ends well, and never advises to run it."""
    path.write_bytes(content)
    with pytest.raises(BadCheckpoint) as caught:
        read(path.read_bytes(), path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert message.endswith(".")
    assert "weights_only" not in f"{message}{caught.value.__cause__}"
    return message


# What it is, in words


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty: it has 0 bytes"),
        (b"\n <!DOCTYPE html><html>login</html>", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git lfs pull"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5 file (Keras)"),
        (b"\x08\x01\x12\x00\x1a\x00" + bytes(99), "TensorFlow SavedModel"),
        (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0" + bytes(99), "an ONNX model"),
        (b"\x1c\x00\x00\x00TFL3" + bytes(99), "TensorFlow Lite"),
        (b"\x12\x01\x00\x00\x00\x00\x00\x00" + bytes(99), "MXNet"),
        (b"GGUF\x03\x00", "GGUF"),
        (b"<?xml version='1.0'?><net name='x'/>", "OpenVINO"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "an image (PNG)"),
        (b"\x1f\x8b\x08" + bytes(99), "a gzip archive: unpack it first"),
        (b'{"architecture": "resnest50d"}', "JSON"),
        (b"import torch\n" * 50, "text"),
        (bytes(4096), "an unfinished download"),
        (bytes(range(128, 256)) * 9, "of an unknown kind"),
        (tarred(), "a tar archive"),
        (b"PK\x05\x06" + bytes(18), "an empty zip archive"),
        (saved(small())[:-20], "cut short"),
        (saved(small(), legacy=True)[:-20], "damaged"),
        (save(small())[:40], "cut short"),
        (save(small())[:-4], "damaged"),
        (zipped({"a.npy": b"\x93NUMPY"}), "NumPy archive"),
        (zipped({"x/code/a.py": b"", "x/constants.pkl": b"", "x/data.pkl": b""}), "TorchScript archive"),
        (zipped({"word/document.xml": b"<xml/>"}), "word/document.xml"),
        (pickle.dumps([1, 2, 3]), "damaged"),
    ],
)
def test_what_a_file_is_is_said(content: bytes, words: str, tmp_path: Path) -> None:
    for name in ("file.pth", "file.safetensors"):
        assert words in refusal(tmp_path / name, content)


@pytest.mark.parametrize("name", ["model.pth", "model.safetensors", "model", "model.jpg"])
@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy"])
def test_the_suffix_does_not_matter(name: str, form: str, tmp_path: Path) -> None:
    content = save(small()) if form == "safetensors" else saved(small(), legacy=form == "legacy")
    (tmp_path / name).write_bytes(content)
    found = read((tmp_path / name).read_bytes(), tmp_path / name)
    assert {key: value.tolist() for key, value in found.items()} == {
        key: value.tolist() for key, value in small().items()
    }


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": {"module.fc.weight": 1}, "args": None},
        {"model_state_dict": {"_orig_mod.module.fc.weight": 1}},
        {"model": {"state_dict": {"module._orig_mod.fc.weight": 1}}},
        {"model_ema": None, "model": {"model.fc.weight": 1}},
        {"state_dict_ema": {"module.fc.weight": 1}, "state_dict": {"fc.weight": 2}},
        OrderedDict({"n_averaged": 5, "module.fc.weight": 1}),
    ],
    ids=str,
)
def test_nests_and_wrappers_are_undone(content: dict[str, Any], tmp_path: Path) -> None:
    def tensors(value: Any) -> Any:  # noqa: ANN401 - a tree
        if isinstance(value, dict):
            return type(value)((key, tensors(item)) for key, item in value.items())
        return value if value is None else torch.tensor(value)

    torch.save(tensors(content), tmp_path / "file.pth")
    assert read((tmp_path / "file.pth").read_bytes(), tmp_path / "file.pth") == {"fc.weight": torch.tensor(1)}


def test_the_same_name_twice_is_refused(tmp_path: Path) -> None:
    content = saved({"fc.weight": torch.ones(1), "module.fc.weight": torch.zeros(1)})
    assert "the same names twice" in refusal(tmp_path / "file.pth", content)


# Nothing in it is run


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        """Be called by pickle."""
        return os.mkdir, (self.folder,)


def by_hand(folder: Path) -> dict[str, bytes]:
    """Return pickles that call os.mkdir by each opcode that can call or find something."""
    name = str(folder).encode()
    posix = os.mkdir.__module__.encode()
    return {
        "INST": b"\x80\x02(V%s\ni%s\nmkdir\n." % (name, posix),
        "OBJ": b"\x80\x02(c%s\nmkdir\nV%s\no." % (posix, name),
        "REDUCE": b"\x80\x02c%s\nmkdir\n(V%s\ntR." % (posix, name),
        "NEWOBJ": b"\x80\x02c%s\nmkdir\n(V%s\nt\x81." % (posix, name),
        "STACK_GLOBAL": pickle.dumps(Trap(folder), protocol=4),
        "eval": b"\x80\x02cbuiltins\neval\n(V__import__('os').mkdir('%s')\ntR." % name,
        "getattr": b"\x80\x02cbuiltins\ngetattr\n(cos\nsys\nVmodules\ntR.",
        "numpy load": b"\x80\x02cnumpy\nload\n(V%s\ntR." % name,
        "torch load": b"\x80\x02ctorch\nload\n(V%s\ntR." % name,
        "hub load": b"\x80\x02ctorch.hub\nload\n(V%s\nV%s\ntR." % (name, name),
        "BUILD": b"\x80\x02ccollections\nOrderedDict\n)R(V__class__\nc%s\nmkdir\ndb." % posix,
    }


def legacy_with(payload: bytes) -> bytes:
    """Put a pickle where torch's old layout has the weights: behind magic number, version and system."""
    begin = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}})
    return b"".join(pickle.dumps(item, protocol=2) for item in begin) + payload + pickle.dumps([], protocol=2)


@pytest.mark.parametrize("layout", ["bare", "zip", "legacy"])
@pytest.mark.parametrize("how", by_hand(DIGITS))
def test_no_opcode_runs_anything(how: str, layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    marker = tmp_path / "it ran"
    payload = by_hand(marker)[how]
    assert list(pickletools.genops(payload))
    if how in {"INST", "OBJ", "REDUCE", "STACK_GLOBAL", "eval"}:
        pickle.loads(payload)  # noqa: S301 - it does run where one walks into it
        marker.rmdir()
    content = {
        "bare": payload,
        "zip": zipped({"a/data.pkl": payload, "a/version": b"3\n", "a/byteorder": b"little"}),
        "legacy": legacy_with(payload),
    }[layout]
    refusal(tmp_path / "trap.pth", content)
    assert not marker.exists()


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("where", ["alone", "beside", "as a key", "in a tensor's place"])
def test_no_place_in_a_pickle_runs_anything(
    protocol: int, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    trap = Trap(tmp_path / "it ran")
    content: object = {
        "alone": trap,
        "beside": {"state_dict": small(), "args": trap},
        "as a key": {trap: 1},
        "in a tensor's place": {"fc.weight": trap},
    }[where]
    forms = [pickle.dumps(content, protocol=protocol)]
    for zip_form in (True, False):
        file = io.BytesIO()
        torch.save(content, file, pickle_protocol=max(2, protocol), _use_new_zipfile_serialization=zip_form)
        forms.append(file.getvalue())
    for form in forms:
        refusal(tmp_path / "trap.pth", form)
    assert not (tmp_path / "it ran").exists()


def test_what_a_pickle_wants_to_run_is_named(tmp_path: Path) -> None:
    message = refusal(tmp_path / "trap.pth", saved({"args": Trap(tmp_path / "x")}))
    assert f"more than weights ({os.mkdir.__module__}.mkdir), and nothing of it was run" in message
    assert "torch.save(model.state_dict(), FILE)" in message


def test_a_whole_module_is_not_unpickled(tmp_path: Path) -> None:
    assert "more than weights (torch.nn.modules.linear.Linear)" in refusal(
        tmp_path / "module.pth", saved(torch.nn.Linear(1, 1))
    )


@pytest.mark.parametrize("key", sorted(["checkpoint_path", "pretrained", "pretrained_cfg_overlay", "cache_dir"]))
def test_a_config_cannot_name_another_file_to_load(key: str, tmp_path: Path) -> None:
    config = {"architecture": "resnest14d", "num_classes": 3, "model_args": {key: "evil.pth"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=key):
        find_model(str(tmp_path))


def test_a_config_that_timm_cannot_make_is_named(tmp_path: Path) -> None:
    config = {"architecture": "resnest14d", "num_classes": 3, "model_args": {"wings": 2}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="wings"):
        network.build(find_model(str(tmp_path)), None)


# Nothing is allocated that the file does not justify


def test_a_deflated_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    bomb = zipped({"a/data.pkl": b"\x80\x02}.", "a/data/0": bytes(100_000_000)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 120_000
    tracemalloc.start()
    message = refusal(tmp_path / "bomb.pth", bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "unpack to 100000004" in message
    assert peak < 1_000_000


def test_entries_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    content = bytearray(zipped({"a/data.pkl": b"\x80\x02}.", "a/data/0": bytes(10_000)}))
    directory = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 1)  # of the second entry
    content[directory + 20 : directory + 28] = struct.pack("<II", 10**9, 10**9)
    assert "unpack to" in refusal(tmp_path / "file.pth", bytes(content))


@pytest.mark.parametrize(
    "entries", [{"a/data.pkl": b"", "b/data.pkl": b""}, {"data.txt": b""}, {}], ids=["two", "none", "empty"]
)
def test_an_archive_must_be_one_of_torch(entries: dict[str, bytes], tmp_path: Path) -> None:
    assert "zip archive" in refusal(tmp_path / "file.pth", zipped(entries))


def test_a_long_list_of_names_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "MAX_PICKLE", 1000)
    assert "list of names alone" in refusal(tmp_path / "file.pth", zipped({"a/data.pkl": bytes(1001)}))


def header(table: dict[str, Any], data: int, length: int | None = None) -> bytes:
    text = json.dumps(table).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + bytes(data)


def entry(begin: int, end: int, shape: list[int] | None = None) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [(end - begin) // 4] if shape is None else shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "content",
    [
        header({"a": entry(0, 4), "b": entry(8, 12)}, 12),
        header({"a": entry(0, 8), "b": entry(4, 12)}, 12),
        header({"a": entry(4, 8)}, 8),
        header({"a": entry(0, 4)}, 8),
        header({"a": entry(0, 8)}, 4),
        header({"a": entry(8, 4)}, 8),
        header({"a": entry(0, 8, [1])}, 8),
        header({"a": entry(0, 8, [2**40, 2**40])}, 8),
        header({"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}, 4),
        header({"a": entry(0, 4)}, 4, 2**63),
        header({"a": entry(0, 4)}, 4, 10**9),
        header({"a": entry(0, 4)}, 4, 3),
        struct.pack("<Q", 9) + b'{"a":1,}}',
        struct.pack("<Q", 30) + b'{"a":{"dtype":"F32"},"a":1}   ',
    ],
    ids=[
        *("hole", "overlap", "late", "rest", "short", "backwards", "small shape", "giant shape", "type"),
        *("endless header", "giant header", "short header", "not JSON", "twice"),
    ],
)
def test_safetensors_that_do_not_add_up_are_refused(content: bytes, tmp_path: Path) -> None:
    refusal(tmp_path / "file.safetensors", content)


# What it is for


def test_each_variant_is_recognised_by_its_shapes() -> None:
    for spec in list_models():
        with torch.device("meta"):
            given = timm.create_model(spec.architecture).state_dict()
        shapes = {name: tuple(value.shape) for name, value in given.items()}
        assert state.advice(shapes) == f"It is a {spec.name}: use --model {spec.name}."


def test_another_number_of_classes_is_named_with_the_way_to_use_it(tmp_path: Path, resnest: Resnest) -> None:
    weights = timm.create_model("resnest14d", pretrained=False, num_classes=7).state_dict()
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(BadCheckpoint) as caught:
        network.build(find_model("resnest14d"), tmp_path / "model.safetensors")
    config = '{"architecture": "resnest14d", "num_classes": 7}'
    assert "a resnest14d with 7 classes" in str(caught.value)
    assert config in str(caught.value)
    (tmp_path / "config.json").write_text(config)
    sample = DIGITS / "samples" / "six_0034.png"
    done = resnest("predict", sample, "-m", tmp_path, "--engine", "torch", "-k", "9", "-f", "jsonl")
    assert len(json.loads(done.stdout)["predictions"]) == 7


# Any other file


@cache
def seeds() -> tuple[bytes, ...]:
    return (save(small()), saved(small()), saved(small(), legacy=True), saved({"state_dict": small(), "epoch": 3}))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_in_a_file_it_is_read_or_refused(data: st.DataObject, tmp_path: Path) -> None:
    content = bytearray(data.draw(st.sampled_from(seeds())))
    for _ in range(data.draw(st.integers(1, 4))):
        begin = data.draw(st.integers(0, len(content)))
        end = begin + data.draw(st.integers(0, 8))
        content[begin:end] = data.draw(st.binary(max_size=8))
    (tmp_path / "file").write_bytes(content)
    try:
        found = read((tmp_path / "file").read_bytes(), tmp_path / "file")
    except BadCheckpoint:
        return
    assert all(isinstance(value, np.ndarray) for value in found.values())
