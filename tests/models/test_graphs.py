"""Converted networks in the cache: made once, found again without torch, and never trusted when they are not whole."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import openvino
import pytest
from conftest import SAMPLES
from filelock import FileLock
from openvino import opset13 as ops
from safetensors.torch import load_file, save_file

from resnest_cli import Options, find_model
from resnest_cli.engines import graph
from resnest_cli.engines.choose import open_engine
from resnest_cli.engines.runtime import core
from resnest_cli.errors import ExitCode
from resnest_cli.models import graphs, weights
from resnest_cli.models.catalog import DIGITS, resolve
from resnest_cli.system import atomic

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Resnest, Shell

    from resnest_cli.models.graphs import Graph

MODEL = DIGITS / "model.safetensors"
SEVEN = SAMPLES / "seven_0081.png"
PREDICT = ("predict", SAMPLES, "-m", "digits", "-f", "jsonl")
ON_CPU = ("--device", "cpu")
BUILDING = b"building the graph of digits"
LIMIT_S = 110.0
AT_ONCE = 8
UNWANTED = {"torch", "timm", "torchvision", "requests", "huggingface_hub", "openvino_telemetry", "openvino.tools.ovc"}


def labels(output: bytes) -> list[str]:
    """Return the best label of each row, which must be those of the samples, in order."""
    rows = [json.loads(line) for line in output.splitlines()]
    assert [row["path"] for row in rows] == [str(path) for path in sorted(SAMPLES.iterdir())]
    return [row["predictions"][0]["label"] for row in rows]


RIGHT = [path.stem.partition("_")[0] for path in sorted(SAMPLES.iterdir())]


def digits_key() -> str:
    return graphs.key(find_model("digits"), weights.sha256(MODEL), "logits")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """Return a graph of the digits that no test may touch, and no other process does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RESNEST_CACHE", str(tmp_path_factory.mktemp("original")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        open_engine(find_model("digits"), Options("digits", engine="openvino", device="cpu")).close()
        found = graphs.find(digits_key())
    assert found
    return found


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets an entry for each graph that is built."""
    made: list[str] = []
    build = vars(graph)["build"]

    def watched(*args: Any) -> openvino.Model:  # noqa: ANN401 - passed on
        made.append("digits")
        return build(*args)

    monkeypatch.setattr(graph, "build", watched)
    return made


@pytest.fixture
def cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the graphs' folder, not yet there, of an empty cache of the test's own (`conversions` come before)."""
    monkeypatch.setenv("RESNEST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "graphs"


@pytest.fixture
def warm(original: Graph, cold: Path) -> Graph:
    """Return the digits' graph in a cache that is the test's own, to damage it."""
    shutil.copytree(original.folder, cold / original.folder.name)
    found = graphs.find(original.folder.name)
    assert found
    return found


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- made once, found again


def test_a_warm_start_answers_byte_for_byte_as_the_cold_one_and_neither_imports_torch(cold: Path, shell: Shell) -> None:
    code = (
        "import atexit, sys; from resnest_cli.cli import main\n"
        f"atexit.register(lambda: print('LOADED', *sorted(set(sys.modules) & {UNWANTED!r}), file=sys.stderr))\n"
        f"sys.argv[1:] = {[*map(str, PREDICT)]!r}; main()"
    )
    first, second = shell(sys.executable, "-c", code), shell(sys.executable, "-c", code)
    assert (first.returncode, second.returncode) == (0, 0)
    assert labels(first.stdout) == RIGHT
    assert first.stdout == second.stdout
    assert (BUILDING in first.stderr, BUILDING in second.stderr) == (True, False)
    loaded = [each.stderr.decode().splitlines()[-1].split() for each in (first, second)]
    assert loaded == [["LOADED"]] * 2
    assert names(cold) == [digits_key(), f"{digits_key()}.lock"]


def test_of_many_processes_at_once_one_converts_and_all_answer_rightly(cold: Path) -> None:
    command = [sys.executable, "-m", "resnest_cli", *map(str, PREDICT)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(AT_ONCE)]
    try:
        ended = [process.communicate(timeout=LIMIT_S) for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
    assert [process.returncode for process in running] == [0] * AT_ONCE
    assert labels(ended[0][0]) == RIGHT
    assert {stdout for stdout, _ in ended} == {ended[0][0]}
    assert sum(BUILDING in stderr for _, stderr in ended) == 1
    assert names(cold) == [digits_key(), f"{digits_key()}.lock"]


def test_logits_and_features_are_kept_apart_and_precisions_share_a_graph(
    warm: Graph, conversions: list[str], resnest: Resnest
) -> None:
    spec, options = find_model("digits"), Options("digits", engine="openvino", device="cpu")
    open_engine(spec, options, want="features").close()
    open_engine(spec, options, want="features").close()
    assert len(conversions) == 1
    assert resnest(*PREDICT, *ON_CPU, "--precision", "fp32").exit_code == 0
    resnest(*PREDICT, *ON_CPU, "--precision", "bf16")
    assert len(conversions) == 1
    assert sorted({warm.folder.name, graphs.key(spec, weights.sha256(MODEL), "features")}) == [
        name for name in names(graphs.folder()) if not name.endswith(".lock")
    ]


def test_without_locks_the_graph_of_the_quicker_process_is_taken(cold: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    def write(place: Path) -> None:
        for name in graphs.FILES:
            (place / name).write_bytes(b"the quicker")

    def write_slowly(place: Path) -> None:
        graphs.store("g", write, {"made": "first"})
        for name in graphs.FILES:
            (place / name).write_bytes(b"the slower")

    monkeypatch.setattr("fcntl.flock", refuse)
    graph = graphs.ensure("g", lambda: graphs.store("g", write_slowly, {"made": "second"}))
    assert (graph.facts["made"], graph.path.read_bytes()) == ("first", b"the quicker")
    assert names(cold) == ["g"]


# --- the key


def test_other_versions_have_other_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {digits_key()}
    with monkeypatch.context() as change:
        change.setattr(graphs, "version", lambda _: "2099.1.0")
        keys.add(digits_key())
    with monkeypatch.context() as change:
        change.setattr(graphs, "__version__", "99.0")
        keys.add(digits_key())
    assert len(keys) == 3
    assert digits_key() in keys


def test_another_format_makes_other_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    before = digits_key()
    monkeypatch.setattr(graphs, "FORMAT", graphs.FORMAT + 1)
    assert digits_key() != before


@pytest.mark.parametrize(
    ("changes", "other"),
    [
        ({"mean": (0.5, 0.5, 0.4)}, True),
        ({"std": (0.5, 0.4, 0.5)}, True),
        ({"img_size": 64}, True),
        ({"crop_pct": 0.5}, False),
        ({"interpolation": "nearest"}, False),
        ({"exif": False}, False),
        ({"batch": 7, "workers": 0, "precision": "bf16"}, False),
    ],
)
def test_what_is_inside_the_graph_is_in_its_key_and_nothing_else(changes: dict[str, Any], *, other: bool) -> None:
    sha256 = weights.sha256(MODEL)
    keys = [graphs.key(resolve(Options("digits", **given)), sha256, "logits") for given in ({}, changes)]
    assert (keys[0] != keys[1]) is other


def test_another_network_another_checkpoint_and_another_wish_have_other_graphs() -> None:
    spec = find_model("digits")
    keys = {
        graphs.key(spec, "0" * 64, "logits"),
        graphs.key(spec, "1" * 64, "logits"),
        graphs.key(spec, "0" * 64, "features"),
        graphs.key(replace(spec, architecture="resnest26d"), "0" * 64, "logits"),
        graphs.key(replace(spec, num_classes=9), "0" * 64, "logits"),
        graphs.key(replace(spec, model_args={**spec.model_args, "stem_width": 16}), "0" * 64, "logits"),
    }
    assert len(keys) == 6


def test_a_checkpoint_that_changes_under_its_name_gives_the_new_answers(resnest: Resnest, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file(load_file(MODEL), file)
    before = file.stat()
    assert labels(resnest(*PREDICT, *ON_CPU, "--weights", file).stdout_bytes) == RIGHT
    rolled = {name: each.roll(1, dims=0) if name.startswith("fc.") else each for name, each in load_file(MODEL).items()}
    save_file({name: each.contiguous() for name, each in rolled.items()}, file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size  # nothing but its content tells
    classes = list(find_model("digits").label_names)
    next_label = dict(zip(classes, classes[1:] + classes[:1], strict=True))
    done = resnest(*PREDICT, *ON_CPU, "--weights", file, "--engine", "openvino")
    assert labels(done.stdout_bytes) == [next_label[label] for label in RIGHT]


def test_the_hash_of_a_checkpoint_is_that_of_its_content(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(range(256)) * 10_000)  # more than is read at once
    (tmp_path / "empty").touch()
    for file in (MODEL, tmp_path / "large", tmp_path / "empty"):
        assert weights.sha256(file) == hashlib.sha256(file.read_bytes()).hexdigest()


# --- conversions that do not come to their end

STUCK = """
import sys
from resnest_cli import cli
from resnest_cli.engines import graph
save = graph.save
def stuck(*args):
    save(*args)
    print("ready", flush=True)  # the graph is written; what is missing is its sidecar and its name
    sys.stdin.read()
graph.save = stuck
cli.main()
"""


def test_a_conversion_that_is_killed_leaves_no_graph_and_no_lock_and_the_next_is_right(
    conversions: list[str], cold: Path, resnest: Resnest
) -> None:
    command = [sys.executable, "-c", STUCK, *map(str, PREDICT)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        process.kill()
        assert process.wait() == -signal.SIGKILL
    (partial,) = [name for name in names(cold) if name.startswith(atomic.PREFIX)]
    assert set(graphs.FILES) <= set(names(cold / partial / "new"))
    assert [graphs.find(name) for name in names(cold)] == [None, None]
    with FileLock(cold / f"{digits_key()}.lock", timeout=0):
        pass
    done = resnest(*PREDICT, *ON_CPU, "--engine", "openvino")
    assert labels(done.stdout_bytes) == RIGHT
    assert len(conversions) == 1
    assert graphs.find(digits_key())


def write_anything(folder: Path) -> None:
    for name in graphs.FILES:
        (folder / name).write_text(name)


def test_what_killed_conversions_left_is_swept_and_what_others_are_writing_is_not(cold: Path) -> None:
    for name in ("killed", "running"):
        write_anything(made(cold / f"{atomic.PREFIX}{name}"))
    os.utime(cold / f"{atomic.PREFIX}killed", (0, 0))
    made(cold / "finished")
    for name in ("killed", "running"):
        made(cold / "finished" / "compiled" / f"{atomic.PREFIX}{name}")
    os.utime(cold / "finished" / "compiled" / f"{atomic.PREFIX}killed", (0, 0))
    os.utime(cold / "finished", (0, 0))
    graphs.store("new", write_anything, {})
    assert names(cold) == [f"{atomic.PREFIX}running", "finished", "new"]
    assert names(cold / "finished" / "compiled") == [f"{atomic.PREFIX}running"]


def made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("error", [OSError, RuntimeError, KeyboardInterrupt, SystemExit])
def test_whatever_ends_a_conversion_leaves_nothing(cold: Path, error: type[BaseException]) -> None:
    def fail(folder: Path) -> None:
        write_anything(folder)
        raise error

    with pytest.raises(error):
        graphs.store("new", fail, {})
    assert names(cold) == []


@pytest.mark.usefixtures("cold")
def test_a_graph_that_is_stored_anew_replaces_all_of_a_damaged_one() -> None:
    for turn in range(2):
        stored = graphs.store("name", write_anything, {"turn": turn})
        assert graphs.find("name") == stored
        assert stored.facts["turn"] == turn
        assert names(stored.folder) == ["graph.bin", "graph.json", "graph.xml"]
        made(stored.compiled)
        (stored.folder / "graph.bin").write_bytes(b"damaged")


def test_a_graph_that_another_process_has_stored_meanwhile_stays() -> None:
    first, second = (graphs.store("stored twice", write_anything, {"turn": turn}) for turn in range(2))
    assert second == first == graphs.find("stored twice")


def test_where_another_process_is_quicker_at_the_last_moment_its_graph_is_taken(
    cold: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without locks: its graph comes between the last look and the renaming."""
    first = graphs.store("first", write_anything, {"turn": "first"})
    rename = Path.rename

    def rename_late(path: Path, to: Path) -> Path:
        if Path(to) == cold / "g":
            shutil.copytree(first.folder, to)
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", rename_late)
    assert graphs.store("g", write_anything, {"turn": "second"}) == graphs.find("g")
    assert graphs.describe("g")["turn"] == "first"
    assert names(cold) == ["first", "g"]


def test_a_damaged_graph_in_a_layer_of_a_container_is_replaced(cold: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Overlayfs renames no folder that is in a lower layer (EXDEV), and removes it all the same."""
    place = graphs.store("name", write_anything, {"turn": 0}).folder
    (place / "graph.bin").write_bytes(b"damaged")
    rename = Path.rename

    def refuse(path: Path, to: Path) -> Path:
        if path == place:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", refuse)
    assert graphs.store("name", write_anything, {"turn": 1}) == graphs.find("name")
    assert graphs.describe("name")["turn"] == 1
    assert names(cold) == ["name"]


# --- damage


def cut(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return damage


def overwritten(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: void((folder / name).write_bytes(content))


def removed(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def flipped(name: str) -> Callable[[Path], None]:
    """Change one bit in the middle, and not the size."""

    def damage(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)

    return damage


def void(_: object) -> None:
    """Turn a result into none."""


@pytest.mark.parametrize(
    "damage",
    [
        *(pytest.param(cut(name), id=f"cut {name}") for name in (*graphs.FILES, graphs.SIDECAR)),
        *(pytest.param(removed(name), id=f"no {name}") for name in (*graphs.FILES, graphs.SIDECAR)),
        *(pytest.param(flipped(name), id=f"flipped {name}") for name in graphs.FILES),
        *(
            pytest.param(overwritten(graphs.SIDECAR, content), id=f"sidecar {content.decode('latin-1')}")
            for content in (b"", b"{}", b"[]", b"null", b'{"checksums": []}', b'{"checksums": {}}', b"\xff{")
        ),
        pytest.param(overwritten(graphs.FILES[1], b""), id="no weights"),
    ],
)
def test_a_damaged_graph_is_made_anew_once(
    damage: Callable[[Path], None], warm: Graph, conversions: list[str], resnest: Resnest
) -> None:
    damage(warm.folder)
    for _ in range(2):
        done = resnest(*PREDICT, *ON_CPU, "--engine", "openvino")
        assert labels(done.stdout_bytes) == RIGHT
    assert len(conversions) == 1


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def scratched(content: bytes) -> bytes:
    """Overwrite some of the middle."""
    middle = len(content) // 2
    return content[:middle] + b"\x55" * 4096 + content[middle + 4096 :]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(half, id="half of it"),
        pytest.param(scratched, id="scratched"),
        pytest.param(lambda content: bytes(len(content)), id="zeros"),
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda content: content[:-1], id="one byte less"),
        pytest.param(lambda content: content[:191] + b"," + content[192:], id="one byte that hangs OpenVINO"),
    ],
)
def test_what_was_compiled_and_is_damaged_is_compiled_anew(
    damage: Callable[[bytes], bytes], warm: Graph, shell: Shell
) -> None:
    expected = shell("resnest", *PREDICT).stdout
    assert labels(expected) == RIGHT
    blobs = [*warm.compiled.glob("*/*.blob")]
    assert blobs
    for blob in blobs:
        content = blob.read_bytes()
        blob.unlink()  # it is read-only
        blob.write_bytes(damage(content))
    for _ in range(2):
        done = shell("resnest", *PREDICT)
        assert (done.returncode, done.stdout) == (0, expected)
        assert BUILDING not in done.stderr
    assert names(warm.compiled) == sorted({blob.parent.name for blob in blobs})


def test_no_process_compiles_where_another_reads(tmp_path: Path) -> None:
    place = tmp_path / "compiled" / "form"
    with graphs.compiling(place) as first, graphs.compiling(place) as second:
        assert first
        assert second
        assert len({first, second, place}) == 3
        for folder in (first, second):
            (folder / "1.blob").write_text(folder.name)
    with graphs.compiling(place) as third:
        assert third == place
    assert (place / "1.blob").read_text() == second.name  # the first to end
    with pytest.raises(KeyError), graphs.compiling(tmp_path / "compiled" / "other"):
        raise KeyError
    assert names(place.parent) == ["form"]


# --- what is refused before anything is converted


def test_bf16_is_refused_where_it_is_not_native(
    conversions: list[str], cold: Path, resnest: Resnest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnest_cli.engines.runtime.native_precisions", lambda: ["FP32"])
    done = resnest(*PREDICT, *ON_CPU, "--precision", "bf16")
    assert (done.exit_code, done.stdout) == (ExitCode.FAILED, "")
    assert "this CPU has no instructions for bf16. Use fp32" in done.stderr
    assert not cold.exists()
    assert not conversions


@pytest.mark.skipif(not Path("/proc/self/mem").is_file(), reason="no file here whose reading fails even for root")
def test_a_checkpoint_that_cannot_be_read_is_not_blamed_on_the_cache(resnest: Resnest) -> None:
    done = resnest(*PREDICT, *ON_CPU, "--weights", "/proc/self/mem")
    assert (done.exit_code, done.stdout) == (ExitCode.FAILED, "")
    assert "/proc/self/mem cannot be read: the disk or the network drive fails" in done.stderr


# --- a cache that others can have written to


@pytest.mark.usefixtures("conversions")
def test_a_graph_that_others_can_have_placed_does_not_answer(
    original: Graph, cold: Path, resnest: Resnest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESNEST_CACHE", os.environ["RESNEST_CACHE"])  # and back, when another has taken its place

    def write(folder: Path) -> None:
        """Always say eight; the checksums will be right."""
        right = core().read_model(original.path)
        likes_eight = ops.constant(np.eye(10, dtype=np.float32)[8] * 1e6)
        model = openvino.Model([ops.add(right.get_results()[0].input_value(0), likes_eight)], right.get_parameters())
        openvino.save_model(model, folder / graphs.FILES[0], compress_to_fp16=False)

    graphs.store(original.folder.name, write, original.facts)
    assert labels(resnest(*PREDICT, *ON_CPU).stdout_bytes) == ["eight"] * len(RIGHT)  # or this would be no test
    cold.parent.chmod(0o777)
    done = resnest(*PREDICT, *ON_CPU)
    assert labels(done.stdout_bytes) == RIGHT
    said = f"{cold.parent} can be written by others, so its content is not trusted: converted models are kept"
    assert said in done.stderr


# --- a cache that cannot be written


def on_a_read_only_disk(_: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    def mkdtemp(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(graphs.folder()))

    monkeypatch.setattr(tempfile, "mkdtemp", mkdtemp)
    return "Read-only file system"


def with_a_disk_that_gets_full(_: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    save = openvino.save_model

    def save_model(graph: openvino.Model, path: str, **how: object) -> None:
        save(graph, path, **how)
        cut(graphs.FILES[1])(Path(path).parent)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    monkeypatch.setattr(openvino, "save_model", save_model)
    return "No space left on device"


def with_a_limit_of_file_sizes(_: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let OpenVINO itself meet an error of the system in the middle of its writing, as on a full disk."""
    save = openvino.save_model

    def save_model(*args: object, **how: object) -> None:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))  # less than the weights
        try:
            save(*args, **how)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    monkeypatch.setattr(openvino, "save_model", save_model)
    return "its graph cannot be kept"


FAULTS = pytest.mark.parametrize(
    "fault",
    [
        on_a_read_only_disk,
        with_a_disk_that_gets_full,
        with_a_limit_of_file_sizes,
    ],
)


def test_without_a_cache_openvino_runs_from_a_folder_of_this_run(
    conversions: list[str], resnest: Resnest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()  # root may write anywhere, but not below it
    monkeypatch.setenv("RESNEST_CACHE", str(tmp_path / "file" / "cache"))
    both = [resnest(*PREDICT, *ON_CPU, "--engine", "openvino") for _ in range(2)]
    assert [(done.exit_code, labels(done.stdout_bytes)) for done in both] == [(ExitCode.OK, RIGHT)] * 2
    said = f"{tmp_path / 'file' / 'cache'}: Not a directory: converted models are kept for this run only."
    assert [said in done.stderr for done in both] == [True, False]
    assert len(conversions) == 1


@FAULTS
@pytest.mark.usefixtures("conversions")
def test_without_a_cache_torch_answers_and_the_reason_names_the_cause(
    fault: Callable[[Path, pytest.MonkeyPatch], str],
    cold: Path,
    resnest: Resnest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cause = fault(tmp_path, monkeypatch)
    done = resnest(*PREDICT, *ON_CPU)
    assert done.exit_code == ExitCode.OK
    assert labels(done.stdout_bytes) == RIGHT
    assert cause in done.stderr
    assert "torch fp32" in done.stderr
    assert not cold.exists() or names(cold) == [f"{digits_key()}.lock"]


@FAULTS
@pytest.mark.usefixtures("conversions")
def test_without_a_cache_openvino_says_what_to_set(
    fault: Callable[[Path, pytest.MonkeyPatch], str],
    cold: Path,
    resnest: Resnest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cause = fault(tmp_path, monkeypatch)
    done = resnest("predict", SEVEN, "-m", "digits", *ON_CPU, "--engine", "openvino")
    assert done.exit_code == ExitCode.FAILED
    assert done.stdout == ""
    assert cause in done.stderr
    assert "Set RESNEST_CACHE to a folder to write in." in done.stderr
    assert not cold.exists() or names(cold) == [f"{digits_key()}.lock"]


def test_a_writing_that_fails_leaves_no_partial_whatever_the_error(
    conversions: list[str], cold: Path, resnest: Resnest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for fault in (with_a_disk_that_gets_full, with_a_limit_of_file_sizes):
        with monkeypatch.context() as change:
            fault(tmp_path, change)
            resnest(*PREDICT, *ON_CPU)
        assert names(cold) == [f"{digits_key()}.lock"]
    assert len(conversions) == 2
    assert labels(resnest(*PREDICT, *ON_CPU).stdout_bytes) == RIGHT


def test_a_graph_whose_compiled_form_cannot_be_kept_runs_all_the_same(warm: Graph, shell: Shell) -> None:
    shutil.rmtree(warm.compiled, ignore_errors=True)  # nothing was compiled yet, where this test runs alone
    warm.compiled.touch()
    done = shell("resnest", *PREDICT)
    assert (done.returncode, labels(done.stdout)) == (0, RIGHT)
    assert BUILDING not in done.stderr
