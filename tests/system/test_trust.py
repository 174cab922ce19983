"""What is believed without being read anew: only what this user alone can have written, and bytes that were hashed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino
import pytest
from conftest import SAMPLES
from openvino import opset13 as ops
from safetensors.numpy import load_file, save_file

from resnest_cli import Classifier, Options, find_model
from resnest_cli.engines import foreign
from resnest_cli.engines.choose import open_engine
from resnest_cli.errors import BadCheckpoint, ModelError
from resnest_cli.models import folders, graphs, hub_cache, weights
from resnest_cli.models.catalog import DIGITS
from resnest_cli.system import files, trust
from resnest_cli.tasks.quantize import cached

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Resnest

MODEL = DIGITS / "model.safetensors"
SEVEN = SAMPLES / "seven_0081.png"
ON_CPU = ("--device", "cpu", "--engine", "openvino", "-j", "0", "-f", "jsonl")
OTHER = 54321  # a user whom no system knows
only_root = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty cache of the test's own, which need not stay the one that is used."""
    monkeypatch.setenv("RESNEST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def place() -> Iterator[Path]:
    """Yield a folder that other users may enter; pytest's own are private."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def rolled(path: Path) -> Path:
    """Write weights that give each picture the label after its own."""
    state = load_file(MODEL)
    shifted = {name: np.roll(each, 1, axis=0) if name.startswith("fc.") else each for name, each in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(shifted, path)
    return path


def answer(resnest: Resnest, *words: str | Path) -> str:
    done = resnest("predict", SEVEN, *ON_CPU, *words)
    assert done.exit_code == 0, done.stderr
    label: str = json.loads(done.stdout)["predictions"][0]["label"]
    return label


def in_hub(content: Callable[[Path], object], name: str = "0123456789abcdef" * 4) -> Path:
    """Put a file into the Hugging Face cache, named by a hash; return the link that leads to it."""
    repo = hub_cache.folder() / "models--owner--name"
    blob, link = repo / "blobs" / name, repo / "snapshots" / "main" / "model.safetensors"
    for path in (blob, link):
        path.parent.mkdir(parents=True, exist_ok=True)
    content(blob)
    link.symlink_to(Path("..", "..", "blobs", name))
    return link


# --- a hash that a name claims


def test_a_folder_cannot_pass_its_weights_off_as_others(resnest: Resnest, tmp_path: Path) -> None:
    genuine = hashlib.sha256(MODEL.read_bytes()).hexdigest()
    folder = tmp_path / "hostile"
    rolled(folder / "blobs" / genuine)
    (folder / "model.safetensors").symlink_to(Path("blobs", genuine))
    shutil.copy(DIGITS / "config.json", folder)
    assert weights.sha256(folder / "model.safetensors") != genuine
    assert [answer(resnest, "-m", model) for model in (folder, "digits", folder)] == ["eight", "seven", "eight"]


def test_a_blob_of_ones_own_hugging_face_cache_is_named_by_its_hash_and_not_read() -> None:
    link = in_hub(lambda blob: blob.write_bytes(b"not of this hash, which only reading could tell"))
    assert weights.sha256(link) == "0123456789abcdef" * 4


@pytest.mark.parametrize("name", ["0123456789" * 4, "model.safetensors", "A" * 64, "0" * 63])
def test_other_blobs_are_read(name: str) -> None:
    link = in_hub(lambda blob: blob.write_bytes(b"content"), name)
    assert weights.sha256(link) == hashlib.sha256(b"content").hexdigest()


@pytest.mark.parametrize("where", ["hub", "hub/models--owner--name", "hub/models--owner--name/blobs", "file"])
def test_a_name_is_not_believed_where_others_can_write(where: str) -> None:
    link = in_hub(lambda blob: blob.write_bytes(b"content"))
    (link.resolve() if where == "file" else hub_cache.folder().parent / where).chmod(0o777)
    assert weights.sha256(link) == hashlib.sha256(b"content").hexdigest()


@only_root
def test_a_name_is_not_believed_that_another_user_gave() -> None:
    link = in_hub(lambda blob: blob.write_bytes(b"content"))
    os.chown(link.resolve(), OTHER, OTHER)
    assert weights.sha256(link) == hashlib.sha256(b"content").hexdigest()


def test_a_blob_a_level_deeper_is_read() -> None:
    blob = hub_cache.folder() / "models--owner--name" / "snapshots" / "blobs" / ("0" * 64)
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"content")
    assert weights.sha256(blob) == hashlib.sha256(b"content").hexdigest()


def test_a_damaged_blob_gets_no_graph_under_the_hash_of_the_right_one(cold: Path, resnest: Resnest) -> None:
    genuine = hashlib.sha256(MODEL.read_bytes()).hexdigest()
    link = in_hub(rolled, genuine)
    done = resnest("predict", SEVEN, *ON_CPU, "-m", "digits", "--weights", link)
    assert done.exit_code == 1
    assert "does not have the expected sha256" in done.stderr
    assert not [*(cold / "graphs").glob("resnest14d-*/graph.xml")]


# --- what is hashed is what is loaded


def swapping(monkeypatch: pytest.MonkeyPatch, swap: Callable[[], object]) -> None:
    """Call `swap` after files were hashed and before anything is made of them."""
    ensure = graphs.ensure

    def later(name: str, make: Callable[[], graphs.Graph]) -> graphs.Graph:
        swap()
        return ensure(name, make)

    monkeypatch.setattr(graphs, "ensure", later)


@pytest.mark.parametrize("name", ["model.safetensors", "model.pth"])
def test_weights_that_are_swapped_after_they_were_hashed_are_refused(
    name: str, cold: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import torch
    from safetensors import torch as tensors

    write = tensors.save_file if name.endswith("safetensors") else torch.save
    file = tmp_path / name
    write(tensors.load_file(MODEL), file)
    swapping(monkeypatch, lambda: write(tensors.load_file(rolled(tmp_path / "rolled")), file))
    options = Options("digits", weights=file, device="cpu", engine="openvino")
    with pytest.raises(BadCheckpoint, match=r"does not have the expected sha256 .* it changed while it was read"):
        open_engine(find_model("digits"), options)
    assert not [*(cold / "graphs").glob("resnest14d-*/graph.xml")]


def test_the_hash_that_rows_name_is_that_of_the_bytes_that_were_loaded(tmp_path: Path) -> None:
    """Also in torch, and though the file is another one by then."""
    file = tmp_path / "model.safetensors"
    save_file(load_file(MODEL), file)
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    from resnest_cli.models import provenance

    options = Options("digits", weights=file, device="cpu", engine="torch")
    engine = open_engine(find_model("digits"), options)
    rolled(file)
    assert provenance.origin(find_model("digits"), options, engine) == before


def test_a_pipe_in_place_of_weights_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.safetensors")
    for read in (weights.read, weights.sha256):
        with pytest.raises(BadCheckpoint, match="cannot be read: not a regular file"):
            read(tmp_path / "model.safetensors")


def test_a_file_that_no_weights_are_as_large_as_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(1 << 42)
    for read in (weights.read, weights.sha256):
        with pytest.raises(BadCheckpoint, match="4,398,046,511,104 bytes are too many"):
            read(tmp_path / "model.safetensors")


def test_an_int8_model_of_other_weights_than_it_is_named_by_is_removed(tmp_path: Path) -> None:
    place = tmp_path / "resnest14d-key"
    shutil.copytree(DIGITS, place)
    config = json.loads((place / "config.json").read_text())
    block = {"format": "int8", "weights_sha256": "1" * 64, "files": {}, "param_count": 1, "input": {"dtype": "uint8"}}
    (place / "config.json").write_text(json.dumps({**config, "export": block}))
    cached._check_origin(place, MODEL, "1" * 64)  # noqa: SLF001 - what it is named by
    with pytest.raises(BadCheckpoint, match="changed while it was calibrated"):
        cached._check_origin(place, MODEL, "0" * 64)  # noqa: SLF001
    assert not place.exists()


# --- exports


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an export of the digits, made of the graph in the cache: converting it takes seconds."""
    engine = open_engine(find_model("digits"), Options("digits", device="cpu", engine="openvino"))
    made = engine.graph.folder  # type: ignore[attr-defined] # it is OpenVINO's
    (tmp_path / "export").mkdir()
    config = json.loads((DIGITS / "config.json").read_text())
    block = {"format": "openvino", "weights_sha256": "0" * 64, "param_count": 1, "input": {"dtype": "uint8"}}
    (tmp_path / "export" / "config.json").write_text(json.dumps({**config, "export": {**block, "files": {}}}))
    files = {"model_xml": (made / "graph.xml").read_bytes(), "model_bin": (made / "graph.bin").read_bytes()}
    return sealed(tmp_path / "export", **files)


def sealed(folder: Path, **files: bytes) -> Path:
    """Put files into an export, with their hashes in its config."""
    config = json.loads((folder / "config.json").read_text())
    for name, content in {name.replace("_", "."): content for name, content in files.items()}.items():
        (folder / name).write_bytes(content)
        config["export"]["files"][name] = hashlib.sha256(content).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_an_export_whose_weights_changed_is_refused_or_answers_anew(folder: Path, cold: Path, resnest: Resnest) -> None:
    assert answer(resnest, "-m", folder) == "seven"
    weights_file = bytearray((folder / "model.bin").read_bytes())
    weights_file[-40:] = bytes(40)  # the bias of the classes
    (folder / "model.bin").write_bytes(weights_file)
    done = resnest("predict", SEVEN, *ON_CPU, "-m", folder)
    assert (done.exit_code, "model.bin is missing, or is not the file that was exported" in done.stderr) == (1, True)
    sealed(folder, model_bin=bytes(weights_file))
    answer(resnest, "-m", folder)
    assert len([*(cold / "graphs").glob("*/graph.xml")]) == 2  # another graph, not the old one


def test_an_export_that_is_swapped_after_it_was_hashed_gives_the_answers_that_its_hash_stands_for(
    folder: Path, cold: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = find_model(str(folder))
    named = folders.read_files(spec).sha256
    swapping(monkeypatch, lambda: (folder / "model.bin").write_bytes(b"something else"))
    with Classifier(str(folder), device="cpu") as model:
        assert [row.top1.label for row in model.predict([str(SEVEN)])] == ["seven"]
    (graph,) = (cold / "graphs").glob("*/graph.json")
    assert json.loads(graph.read_text())["origin"] == named


def test_an_export_cannot_pass_its_files_off_as_others(folder: Path) -> None:
    genuine = hashlib.sha256((folder / "model.bin").read_bytes()).hexdigest()
    (folder / "blobs").mkdir()
    (folder / "blobs" / genuine).write_bytes(bytes(1000))
    (folder / "model.bin").unlink()
    (folder / "model.bin").symlink_to(Path("blobs", genuine))
    with pytest.raises(ModelError, match="is not the file that was exported"):
        Classifier(str(folder))


ENTITIES = b'<!DOCTYPE net [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;"><!ENTITY file SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize("entity", [b"&b;", b"&file;"])
def test_entities_in_a_graph_are_refused(entity: bytes, folder: Path) -> None:
    graph = (folder / "model.xml").read_bytes().replace(b"?>", b"?>" + ENTITIES, 1)
    sealed(folder, model_xml=graph.replace(b'<net name="', b'<net name="' + entity, 1))
    with pytest.raises(ModelError, match="its XML declares a document type or entities"):
        Classifier(str(folder))


def graph_of(make: Callable[[Any], Any], folder: Path) -> None:
    """Put into the export a graph that `make` computes of its input."""
    entry = ops.parameter([-1, 32, 32, 3], np.uint8, name="pixels")
    images = ops.transpose(ops.convert(entry, "f32"), whole(0, 3, 1, 2))
    openvino.save_model(openvino.Model([make(images)], [entry]), folder / "model.xml", compress_to_fp16=False)
    sealed(folder, **{name.replace(".", "_"): (folder / name).read_bytes() for name in ("model.xml", "model.bin")})


def whole(*values: int) -> Any:  # noqa: ANN401 - openvino has no types for nodes
    return ops.constant(np.array(values, np.int64))


def sum_of_ones(shape: Any) -> Any:  # noqa: ANN401 - as above
    """Make one number of as many as the shape, a node, says."""
    return ops.reduce_sum(ops.broadcast(ops.constant(np.float32(1)), shape), whole(1), keep_dims=True)


def counted(number: int) -> Any:  # noqa: ANN401 - as above
    return ops.range(*(ops.constant(np.int64(end)) for end in (0, number, 1)), output_type="i64")


def one_less_than(batch: Any) -> Any:  # noqa: ANN401 - as above
    """Make the number of pictures, less one."""
    return ops.subtract(ops.gather(ops.shape_of(batch), whole(0), whole(0)), whole(1))


AS_THEY_ARE = {"transpose_a": False, "transpose_b": False}
HOSTILE: dict[str, Callable[[Any], Any]] = {
    "a step ReadValue, which is none": lambda x: ops.read_value(ops.reduce_mean(x, whole(2, 3)), "variable"),
    "a step Range of more than sizes": lambda x: ops.add(  # for its shape it has 1,410,065,408, when it runs 10^10
        ops.reduce_mean(x, whole(2, 3)), ops.convert(ops.reduce_sum(counted(10**10), whole(0)), "f32")
    ),
    "a step Tile makes 10,000,000,000 values": lambda x: ops.add(
        ops.reduce_mean(x, whole(2, 3)),
        ops.reduce_sum(ops.tile(ops.constant(np.ones(1, np.float32)), whole(10**10)), whole(0)),
    ),
    "a step NonZero, which is none": ops.non_zero,
    "the size of a step Broadcast depends on": lambda x: ops.add(
        ops.reduce_mean(x, whole(2, 3)), sum_of_ones(ops.convert(ops.reduce_sum(x, whole(0, 1, 2)), "i64"))
    ),
    "makes 10,000,000,000 values": lambda x: ops.add(ops.reduce_mean(x, whole(2, 3)), sum_of_ones(whole(10**5, 10**5))),
    "makes 20,000,000,000 values": lambda x: ops.add(  # in a batch of 3, and none in one of 1
        ops.matmul(
            ops.reduce_mean(x, whole(2, 3)),
            ops.constant(np.ones((3, 10), np.float32)),
            transpose_a=False,
            transpose_b=False,
        ),
        sum_of_ones(ops.concat([whole(1), ops.multiply(whole(10**10), one_less_than(x))], 0)),
    ),
    "it gives [1,3] where [1, 10] are classes": lambda x: ops.reduce_mean(x, whole(2, 3)),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_graph_that_is_more_than_a_network_is_refused_before_it_is_compiled(what: str, folder: Path) -> None:
    graph_of(HOSTILE[what], folder)
    with pytest.raises(ModelError, match="is not a graph that takes what its config says") as caught:
        Classifier(str(folder))
    assert what in str(caught.value)


def test_a_graph_of_more_steps_than_any_network_has_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "MAX_OPS", 20)
    with pytest.raises(ModelError, match=r"its config says \(it has \d+ steps\)"):
        Classifier(str(folder))


# --- a cache that others can write to


def store() -> graphs.Graph:
    """Put a graph into the cache: conversions that take seconds are `test_graphs.py`'s."""

    def write(folder: Path) -> None:
        for name in graphs.FILES:
            (folder / name).write_text(name)

    return graphs.ensure("name", lambda: graphs.store("name", write, {}))


def as_shared(folder: Path) -> None:
    folder.chmod(0o777)


def with_a_shared_shelf(folder: Path) -> None:
    (folder / "graphs").chmod(0o777)


def sticky(folder: Path) -> None:
    folder.chmod(0o1777)


def in_a_shared_folder(folder: Path) -> None:
    folder.parent.chmod(0o777)


def of_a_group(folder: Path) -> None:
    os.chown(folder, -1, OTHER)
    folder.chmod(0o770)


def of_another(folder: Path) -> None:
    os.chown(folder, OTHER, -1)


def under_another(folder: Path) -> None:
    os.chown(folder.parent, OTHER, -1)


def linked(folder: Path) -> None:
    """The folder is ours, and leads to one that is not."""
    shelf = folder / "graphs"
    shelf.rename(folder.parent / "elsewhere")
    shelf.symlink_to(folder.parent / "elsewhere")
    (folder.parent / "elsewhere").chmod(0o777)


UNSAFE = [
    *(as_shared, with_a_shared_shelf, sticky, in_a_shared_folder, linked),
    *(pytest.param(make, marks=only_root) for make in (of_a_group, of_another, under_another)),
]


@pytest.mark.parametrize("make", UNSAFE)
def test_a_graph_is_not_believed_that_others_can_have_placed(
    make: Callable[[Path], None], place: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    folder = place / "above" / "cache"
    monkeypatch.setenv("RESNEST_CACHE", str(folder))
    store()
    assert graphs.find("name")
    make(folder)
    assert graphs.find("name") is None
    assert place not in store().folder.parents
    (said,) = logged  # once
    assert "so its content is not trusted: converted models are kept for this run only" in said
    private = Path(os.environ["RESNEST_CACHE"])
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


def test_a_folder_like_tmp_may_be_above(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All may write there, and nobody may take away what is another's."""
    (place / "above").mkdir()
    (place / "above").chmod(0o1777)
    monkeypatch.setenv("RESNEST_CACHE", str(place / "above" / "cache"))
    made = store()
    assert made.folder == place / "above" / "cache" / "graphs" / "name"
    assert graphs.find("name") == made


def writable(file: Path) -> None:
    file.chmod(0o777 if file.is_dir() else 0o666)


def elsewhere(file: Path) -> None:
    file.rename(file.parent.parent / "elsewhere")
    file.symlink_to(file.parent.parent / "elsewhere")


def anothers(file: Path) -> None:
    os.chown(file, OTHER, -1)


@pytest.mark.parametrize("change", [writable, elsewhere, pytest.param(anothers, marks=only_root)])
@pytest.mark.parametrize("name", ["graph.xml", "graph.bin", "graph.json", ""])
@pytest.mark.usefixtures("cold")
def test_a_graph_of_which_others_can_have_written_a_part_is_made_anew(
    name: str, change: Callable[[Path], None], logged: list[str]
) -> None:
    made = store()
    change(made.folder / name if name else made.folder)
    assert graphs.find("name") is None
    assert len([line for line in logged if line.endswith("not trusted, so a new one is made")]) == 1
    assert store() == made == graphs.find("name")


def test_a_new_cache_is_its_users_only_whatever_the_umask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESNEST_CACHE", str(tmp_path / "above" / "cache"))
    before = os.umask(0)
    try:
        made = store()
        with graphs.compiling(made.compiled / "form") as form:
            assert form
            (form / "some.blob").touch()
    finally:
        os.umask(before)
    every = [tmp_path / "above", *(tmp_path / "above").rglob("*")]
    assert [path for path in every if path.suffix != ".lock" and path.stat().st_mode & 0o022] == []
    assert stat.S_IMODE((tmp_path / "above" / "cache").stat().st_mode) == 0o700
    assert graphs.find("name") == made
    with graphs.compiling(made.compiled / "form") as kept:
        assert kept == made.compiled / "form"


def test_what_was_compiled_in_a_folder_in_the_making_is_found_again(tmp_path: Path, logged: list[str]) -> None:
    with files.pin(tmp_path) as place:
        with graphs.compiling(place / "form") as form:
            assert form
            (form / "some.blob").touch()
        with graphs.compiling(place / "form") as kept:
            assert kept == place / "form"
    assert logged == []


@only_root
def test_a_group_of_the_users_own_may_write(tmp_path: Path) -> None:
    """As where an umask of 002 is the rule, and each user is a group."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o775)
    os.chown(tmp_path / "cache", 0, 0)
    assert trust.distrust(tmp_path / "cache") == ""
    os.chown(tmp_path / "cache", 0, 1)
    assert trust.distrust(tmp_path / "cache") == f"{tmp_path / 'cache'} can be written by others"


# Becomes the user, converts (which takes no time here) into a cache that another does too, and says what it has got.
RACER = """
import filelock, grp, os, pwd, sys  # while the interpreter's folder may be entered
from resnest_cli.cli import main
from resnest_cli.models import graphs
user = sys.argv[1]
os.setgroups([]); os.setgid(int(user)); os.setuid(int(user))
print("ready", flush=True)
sys.stdin.readline()
def write(folder):
    for name in graphs.FILES:
        (folder / name).write_text(user)
for number in range(20):
    graph = graphs.ensure(f"name{number}", lambda: graphs.store(f"name{number}", write, {}))
    assert graph.path.read_text() == user, graph
    assert graphs.find(f"name{number}") == graph
print("own", flush=True)
"""


@only_root
@pytest.mark.parametrize("ready", [False, True])
def test_of_two_users_who_race_on_one_cache_neither_fails_nor_believes_the_other(ready: bool, place: Path) -> None:  # noqa: FBT001 - a parameter of the test
    place.chmod(0o1777)
    if ready:  # as somebody might make one for a team
        (place / "cache").mkdir()
        (place / "cache").chmod(0o1777)
    environment = os.environ | {"RESNEST_CACHE": str(place / "cache"), "HOME": str(place), "TMPDIR": "/tmp"}  # noqa: S108 - private folders are made in it
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(OTHER + number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )
        for number in range(2)
    ]
    for racer in racers:
        assert racer.stdout
        assert racer.stdout.readline() == "ready\n"
    ended = [racer.communicate("\n", timeout=60) for racer in racers]
    assert [(racer.returncode, out) for racer, (out, _) in zip(racers, ended, strict=True)] == [(0, "own\n")] * 2
    told = [error for _, error in ended if "are kept for this run only" in error]
    assert len(told) == (2 if ready else 1)
