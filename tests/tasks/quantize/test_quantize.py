"""Int8 models answer as those they were made from, where they were calibrated on fit images; others are not made."""

from __future__ import annotations

import importlib.util
import json
import os
import runpy
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import timm
import torch
from conftest import SAMPLES
from PIL import Image

from resnest_cli import Classifier, Options, find_model
from resnest_cli.engines import window
from resnest_cli.engines.choose import open_engine
from resnest_cli.engines.pytorch.network import build
from resnest_cli.engines.runtime import core, has_int8
from resnest_cli.errors import ExitCode, ModelError, UsageError
from resnest_cli.inputs.find import find_sources
from resnest_cli.inputs.read import read_source
from resnest_cli.models import folders, weights
from resnest_cli.models.catalog import DIGITS, list_models
from resnest_cli.system import machine
from resnest_cli.tasks.bench.peak import peak_flops
from resnest_cli.tasks.bench.sweep import configurations
from resnest_cli.tasks.quantize.agreement import Agreement, compare
from resnest_cli.tasks.quantize.cached import ensure
from resnest_cli.tasks.quantize.calibration import draw
from resnest_cli.tasks.quantize.quantization import SIDECAR, Quantized, quantize
from resnest_cli.tasks.quantize.speed import Speed
from resnest_cli.types import Result, Source

if TYPE_CHECKING:
    from conftest import Resnest, Shell
    from numpy.typing import NDArray

pytestmark = pytest.mark.usefixtures("decode_here")

needs_nncf = pytest.mark.skipif(importlib.util.find_spec("nncf") is None, reason="nncf is not installed (extra int8)")
needs_int8 = pytest.mark.skipif(
    sys.platform == "linux" and not machine.INT8 & set(machine.instruction_sets()),
    reason="this CPU has no instructions for int8",
)
CLASSES = find_model("digits").label_names
RADIX = {"resnest50d_4s2x40d": (4, 2), "resnest50d_1s4x24d": (1, 4)}  # and cardinality
VARIANTS = [spec.name for spec in list_models()]


# --- what is made


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 150 of the digits the model is trained on to `calibrate`, and those held out to `held_out`, by class."""
    script = runpy.run_path(str(Path(__file__).parents[3] / "scripts" / "data" / "digits_folders.py"))
    digits = list(script["digits"]())
    folder = tmp_path_factory.mktemp("digits")
    write(folder / "calibrate", [digit for digit in digits if digit.part == "train"][:150])
    write(folder / "held_out", [digit for digit in digits if digit.part == "val"])
    broken = folder / "calibrate" / "nine" / "broken.png"
    broken.write_bytes((folder / "calibrate" / "nine").glob("*.png").__next__().read_bytes()[:60])
    return folder


def write(folder: Path, digits: list[Any]) -> None:
    for digit in digits:
        place = folder / CLASSES[digit.label] / f"{digit.row:04d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        digit.image.save(place)


@pytest.fixture(scope="module")
def made(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Quantized:
    """Quantize the digits model, once for all tests; they leave the folder as it is."""
    pytest.importorskip("nncf", reason="nncf is not installed (extra int8)")
    if not has_int8():
        pytest.skip("this CPU has no instructions for int8")
    return quantize("digits", str(images / "calibrate"), out=str(tmp_path_factory.mktemp("made") / "out"))


def accuracy(resnest: Resnest, place: Path, model: str | Path) -> float:
    ended = resnest("validate", place, "-m", model, "-f", "json", "-q")
    assert ended.exit_code == 0, ended.output
    found: float = json.loads(ended.stdout)["top1"]
    return found


@needs_int8
def test_accuracy_on_held_out_digits_is_within_half_a_point(made: Quantized, images: Path, resnest: Resnest) -> None:
    in_int8 = accuracy(resnest, images / "held_out", made.folder)
    assert in_int8 == pytest.approx(accuracy(resnest, images / "held_out", "digits"), abs=0.5)
    assert in_int8 > 95


@needs_int8
def test_all_layers_with_weights_are_int8_and_the_answers_near(made: Quantized) -> None:
    assert made.floating == ()
    (found,) = made.tried.values()
    with Classifier("digits") as model, Classifier(str(made.folder)) as again:
        assert (again.engine.name, again.engine.precision) == ("openvino", "int8")
        rows = list(zip(model.predict([SAMPLES]), again.predict([SAMPLES]), strict=True))
    differences = []
    for one, other in rows:
        assert isinstance(one, Result)
        assert isinstance(other, Result)
        assert one.top1.label == other.top1.label
        differences.append(abs(one.top1.probability - other.top1.probability))
    assert 0 < max(differences) < 0.2
    assert 0 < found.mean_probability_change < found.max_probability_change < 0.3


@needs_nncf
def test_what_adds_the_splits_up_takes_what_the_convolutions_give(made: Quantized) -> None:
    """Of two splits: two shares, their sum, and the sum that is pooled; all that as it was, in each of four blocks."""
    from resnest_cli.engines.int8 import attention

    assert len(attention(core().read_model(made.folder / "model.xml"))) == 4 * 4


def test_the_record_says_what_was_done(made: Quantized, images: Path) -> None:
    record = json.loads((made.folder / SIDECAR).read_text())
    on, judged = record["calibrated_on"], record["judged_on"]
    broken = str(images / "calibrate" / "nine" / "broken.png")
    assert len(on) + len(judged) == 150
    assert {*on, *judged, broken} == {str(path) for path in (images / "calibrate").rglob("*.png")}
    assert [failure["path"] for failure in record["unreadable"]] == [broken] == [one.path for one in made.failures]
    assert (record["model"], record["seed"], record["min_agreement"]) == ("digits", 0, 0.98)
    assert record["weights_sha256"] == weights.sha256(DIGITS / "model.safetensors")
    assert 0 <= record["strangeness"] < 0.1
    (tried,) = record["tried"]
    assert (tried["method"], tried["images"], tried["labelled"]) == ("calibrated", len(judged), len(judged))
    assert tried["agreement"] == tried["same_class"] / len(judged) >= 0.98
    low, high = tried["accuracy_after_ci95"]
    assert 0 < low <= tried["accuracy_after"] <= high <= 1
    assert record["floating_layers"] == []
    assert set(record["versions"]) == {"nncf", "openvino"}
    assert {"int8"} < set(record["images_per_second"])


def test_the_folder_is_a_model_folder(made: Quantized) -> None:
    spec = find_model(str(made.folder))
    assert spec.label_names == CLASSES
    assert spec.data == find_model("digits").data
    assert sorted(path.name for path in made.folder.iterdir()) == [
        *("config.json", "model.bin", "model.safetensors", "model.xml", SIDECAR)
    ]
    network = timm.create_model(f"local-dir:{made.folder}", pretrained=True)  # as timm reads it
    reference = build(find_model("digits"), DIGITS / "model.safetensors")
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in reference.state_dict().items())


@needs_int8
def test_it_runs_without_torch_timm_or_nncf(made: Quantized, shell: Shell) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'timm', 'nncf')))\n"
        f"sys.argv[1:] = ['predict', {str(SAMPLES)!r}, '-m', {str(made.folder)!r}, '-f', 'csv', '-k', '1', '-q']\n"
        "from resnest_cli.cli import main; main()"
    )
    ended = shell(sys.executable, "-c", code)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.decode().splitlines()[1].split(",")[4] == "eight"


# --- where int8 is not, the weights run, and that is said


def test_elsewhere_and_for_features_the_weights_run(made: Quantized, logged: list[str]) -> None:
    spec = find_model(str(made.folder))
    pixels = np.array(Image.open(next(SAMPLES.glob("*.png"))).convert("RGB"))[None]
    reference = open_engine(find_model("digits"), Options("digits", engine="torch", device="cpu"))
    engine = open_engine(spec, Options(str(made.folder), engine="torch", device="cpu"))
    np.testing.assert_array_equal(next(window.rows(engine, [pixels])), next(window.rows(reference, [pixels])))
    assert (engine.name, engine.precision) == ("torch", "fp32")
    assert "torch asked for, so that its weights run in fp32 instead of int8" in " ".join(logged)
    engine = open_engine(spec, Options(str(made.folder), device="cpu"), want="features")
    assert (engine.precision, engine.width) == ("fp32", 512)
    assert "gives classes only, no features" in " ".join(logged)


@needs_int8
def test_fp32_asked_for_is_fp32_and_auto_is_int8(made: Quantized, logged: list[str]) -> None:
    """The folder has both: what is asked for by name runs, also where the default would be another."""
    spec, pixels = find_model(str(made.folder)), np.array(Image.open(next(SAMPLES.glob("*.png"))).convert("RGB"))[None]
    dense = open_engine(find_model("digits"), Options("digits", device="cpu"))
    rows = {"dense": next(window.rows(dense, [pixels]))}
    for asked, given in {"fp32": "fp32", "int8": "int8", "auto": "int8"}.items():
        engine = open_engine(spec, Options(str(made.folder), device="cpu", precision=asked))
        assert (engine.name, engine.precision) == ("openvino", given)
        rows[asked] = next(window.rows(engine, [pixels]))
    np.testing.assert_array_equal(rows["fp32"], rows["dense"])
    np.testing.assert_array_equal(rows["auto"], rows["int8"])
    assert np.abs(rows["auto"] - rows["dense"]).max() > 0.01
    assert [message for message in logged if "instead of" in message] == []


@needs_int8
def test_int8_asked_for_by_name_is_refused_where_it_cannot_be(made: Quantized) -> None:
    spec = find_model(str(made.folder))
    for options, want, words in [
        (Options(precision="int8", engine="torch"), "logits", "torch asked for"),
        (Options(precision="int8"), "features", "an int8 graph gives classes only, no features"),
    ]:
        with pytest.raises(UsageError, match=rf'^precision="int8": {words}\. Or use precision="auto"\.$'):
            open_engine(spec, options, want=want)


@needs_int8
def test_a_cluster_is_told_what_was_chosen_here(made: Quantized) -> None:
    from resnest_cli.cluster.stages import Parcel

    options = Options(str(made.folder), device="cpu")
    engine = open_engine(find_model(str(made.folder)), options)
    assert Parcel.of(engine, options, "logits").open(1).precision == engine.precision == "int8"


@pytest.fixture
def no_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run on a CPU without instructions for int8."""
    monkeypatch.setattr(machine, "instruction_sets", lambda: ("avx2",))


@needs_int8
def test_a_job_in_int8_is_known_by_its_graph(made: Quantized, resnest: Resnest, tmp_path: Path) -> None:
    """A job that was begun with another graph is another job, though the weights beside it are the same."""
    for words, expected in [
        ((), folders.read_files(find_model(str(made.folder))).sha256),
        (("--precision", "bf16"), weights.sha256(made.folder / "model.safetensors")),
    ]:
        out = tmp_path / f"{len(words)}.parquet"
        assert resnest("predict", SAMPLES, "-m", made.folder, *words, "-o", out, "-q").exit_code == 0
        assert json.loads(pq.read_schema(out).metadata[b"resnest"])["weights"] == expected


@pytest.mark.usefixtures("no_int8")
def test_without_instructions_for_int8_the_weights_run_unless_int8_is_asked_for(
    made: Quantized, resnest: Resnest
) -> None:
    words = ("predict", SAMPLES, "-m", made.folder, "-f", "csv", "-k", "1", "--device", "cpu")
    ended = resnest(*words)
    assert ended.exit_code == 0
    why = "this CPU has no instructions for int8, which would be slower"
    assert f"{made.folder}: {why}, so that its weights run in fp32 instead of int8." in ended.stderr
    assert "openvino int8" not in ended.stderr
    assert ended.stdout.splitlines()[1].split(",")[4] == "eight"
    ended = resnest(*words, "--precision", "int8")
    assert ended.exit_code == ExitCode.USAGE
    assert ended.stderr == f"error: --precision int8: {why}. Or use --precision auto.\n"


@pytest.mark.usefixtures("no_int8")
def test_without_instructions_for_int8_none_is_made(resnest: Resnest, images: Path, tmp_path: Path) -> None:
    ended = resnest("quantize", "digits", "--calibrate", images / "calibrate", "-o", tmp_path / "out")
    assert ended.exit_code == ExitCode.FAILED
    assert "error: this CPU has no instructions for int8, which would be slower: use --precision " in ended.stderr
    assert not list(tmp_path.iterdir())
    words = ("predict", SAMPLES, "-m", "digits", "-f", "csv", "--precision", "int8", "--calibrate", images)
    ended = resnest(*words)
    assert ended.exit_code == ExitCode.USAGE
    assert "--precision int8: this CPU has no instructions for int8" in ended.stderr


def test_int8_of_other_models_is_refused_with_the_way_to_it(resnest: Resnest) -> None:
    ended = resnest("predict", SAMPLES, "-m", "digits", "--precision", "int8", "--device", "cpu")
    assert ended.exit_code == ExitCode.USAGE
    if machine.INT8 & set(machine.instruction_sets()):
        assert "first make an int8 model: resnest quantize MODEL --calibrate DIR -o OUT" in ended.stderr
    ended = resnest("predict", SAMPLES, "-m", "digits", "--calibrate", SAMPLES)
    assert (ended.exit_code, ended.stderr) == (2, "error: --calibrate is for --precision int8: add that.\n")


def test_without_nncf_the_pip_line_is_named(
    monkeypatch: pytest.MonkeyPatch, resnest: Resnest, images: Path, tmp_path: Path
) -> None:
    from resnest_cli.system import imports

    monkeypatch.setattr(imports, "find_spec", lambda _: None)
    ended = resnest("quantize", "digits", "--calibrate", images / "calibrate", "-o", tmp_path / "out")
    assert ended.exit_code == 2
    assert ended.stderr == "error: int8 needs nncf: pip install 'resnest-cli[int8]'\n"


# --- the guard


def noise(count: int, below: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, below, (count, 32, 32, 3), np.uint8)


@needs_nncf
@needs_int8
@pytest.mark.parametrize(
    ("pictures", "words"),
    [
        (noise(40, 256), "these images are nothing like those that the model was trained on"),
        (noise(40, 9), "these images are nothing like those that the model was trained on"),
        (np.zeros((40, 32, 32, 3), np.uint8), "1 different images, 0 unreadable ones; 30 are needed."),
        (noise(29, 256), "29 images; 30 are needed, and 800 are better."),
    ],
    ids=["white noise", "dark", "black", "few"],
)
def test_images_that_say_nothing_are_refused(
    pictures: NDArray[np.uint8], words: str, resnest: Resnest, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / "images" / f"{number}.png")
    ended = resnest("quantize", "digits", "--calibrate", tmp_path / "images", "-o", tmp_path / "out")
    assert ended.exit_code in {ExitCode.FAILED, ExitCode.USAGE}
    assert words in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


@needs_nncf
@needs_int8
def test_better_ways_are_tried_and_then_it_is_refused(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NNCF sees black pictures only, as if what is asked before had let them through: of that no way makes good."""
    from resnest_cli.engines import int8
    from resnest_cli.tasks.quantize import quantization as task

    real, seen = int8.quantize, []
    graphs: list[Any] = []

    def blind(dense: Any, pixels: NDArray[np.uint8], method: str, *rest: Any) -> Any:  # noqa: ANN401 - passed on
        seen.append(method)
        assert dense.folder.resolve().is_relative_to(tmp_path)  # one disk that can be full, the one that an error names
        graphs.append(graphs[0] if graphs else real(dense, np.zeros_like(pixels[:4]), method, *rest))
        return graphs[-1]

    monkeypatch.setattr(int8, "quantize", blind)
    with pytest.raises(ModelError) as refused:
        task.quantize(Options("digits"), images / "calibrate", tmp_path / "out")
    assert tuple(seen) == int8.METHODS
    assert "int8 does not keep the answers of digits: the first class is that of fp32 for too few images" in str(
        refused.value
    )
    assert not list(tmp_path.iterdir())


def test_sides_part_what_is_calibrated_on_from_what_is_judged_on(tmp_path: Path) -> None:
    for folder, count in (("Train/a", 40), ("Train/b", 10), ("valid/a", 30), ("test/a", 35)):
        (tmp_path / folder).mkdir(parents=True)
        for i in range(count):
            (tmp_path / folder / f"{i}.png").touch()

    def sides(place: Path, samples: int = 300) -> list[Counter[str]]:
        return [Counter(Path(one.path).parent.parent.name for one in part) for part in draw(place, samples, 0)]

    assert sides(tmp_path) == [{"Train": 50}, {"valid": 30}]
    assert sides(tmp_path, samples=20) == [{"Train": 20}, {"valid": 30}]
    shutil.rmtree(tmp_path / "valid")
    assert sides(tmp_path) == [{"Train": 50}, {"test": 35}]
    assert [sum(side.values()) for side in sides(tmp_path / "Train")] == [34, 16]  # no sides: a third is judged on


def test_the_agreement_is_that_worked_out_by_hand() -> None:
    before = np.log(np.array([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.2, 0.2, 0.6]], np.float32))
    after = np.log(np.array([[0.6, 0.3, 0.1], [0.3, 0.6, 0.1], [0.1, 0.2, 0.7]], np.float32))
    found = compare(before, after, [0, 1, None])
    assert (found.images, found.same_class, found.share) == (3, 2, 2 / 3)
    assert found.max_probability_change == pytest.approx(0.2, abs=1e-6)
    assert found.mean_probability_change == pytest.approx((0.1 + 0.2 + 0.1) / 3, abs=1e-6)
    assert (found.labelled, found.right_before, found.right_after) == (2, 1, 2)


# --- the choice of images


def test_the_images_are_drawn_by_the_seed_and_never_twice(images: Path) -> None:
    place = images / "calibrate"
    on, judged = draw(place, 60, 0)
    assert (len(on), len(judged)) == (60, 91)
    assert not {*on} & {*judged}
    assert draw(place, 60, 0) == (on, judged)
    assert draw(place, 60, 1) != (on, judged)
    on, judged = draw(place, 300, 0)
    assert (len(on), len(judged)) == (101, 50)
    assert {*on, *judged} == {*find_sources([str(place)])}


# --- the cache


@needs_int8
def test_a_calibrated_model_is_kept_for_the_same_images(
    made: Quantized, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resnest_cli.tasks.quantize import quantization as task

    places = []

    def fake(_options: Options, _calibrate: Path, folder: Path, **_: object) -> Quantized:
        places.append(folder)
        shutil.copytree(made.folder, folder)
        return made

    monkeypatch.setattr(task, "quantize", fake)
    mine = tmp_path / "mine"
    shutil.copytree(images / "calibrate", mine)
    options = Options("digits", precision="int8")
    first, again, copied = (ensure(options, place) for place in (images / "calibrate", images / "calibrate", mine))
    assert first == again
    assert copied == first or len(places) == 2  # which files are drawn goes by their paths' order only
    assert first.model == str(places[0])
    (mine / "nine" / "broken.png").write_bytes(b"another")
    assert ensure(options, mine).model != first.model
    with Classifier(first) as model:
        assert model.engine.precision == "int8"


@needs_int8
def test_images_that_stay_as_they_are_are_read_once_and_others_again(
    made: Quantized, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resnest_cli.tasks.quantize import cached
    from resnest_cli.tasks.quantize import quantization as task

    real, seen = read_source, []

    def read(source: Source) -> bytes:
        seen.append(source.path)
        return real(source)

    def fake(_options: Options, _calibrate: Path, folder: Path, **_: object) -> Quantized:
        shutil.copytree(made.folder, folder)
        return made

    monkeypatch.setattr(cached, "read_source", read)
    monkeypatch.setattr(task, "quantize", fake)
    mine = tmp_path / "mine"
    shutil.copytree(images / "calibrate", mine)
    options = Options("digits", precision="int8")

    def key() -> str:
        seen.clear()
        return ensure(options, mine).model

    first = key()
    assert len(seen) == 151
    assert key() == first
    assert len(seen) == 151  # they changed a moment ago: the next change could come within the same tick
    monkeypatch.setattr(cached, "SETTLED_S", -1)
    assert [key(), len(seen), key(), len(seen)] == [first, 151, first, 0]
    file = mine / "nine" / "broken.png"
    before, content = file.stat(), file.read_bytes()
    file.write_bytes(content[:-1] + b"!")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    other = key()
    assert (other != first, seen) == (True, [str(file)])  # though size and time are the same
    (remembered,) = Path(other).parent.glob("images-*.json")
    remembered.write_bytes(b"[]")
    assert [key(), len(seen)] == [other, 151]


def test_int8_on_a_gpu_is_refused(images: Path) -> None:
    with pytest.raises(UsageError, match="runs on the CPU"):
        ensure(Options("digits", precision="int8", device="cuda"), images / "calibrate")


def test_what_cannot_be_calibrated_is_refused(made: Quantized, images: Path) -> None:
    """Leaving `--calibrate` out in silence would be another model than the one asked for."""
    for options in (
        Options("digits", precision="int8", random_weights=True),
        Options(str(made.folder), precision="int8"),
    ):
        with pytest.raises(UsageError, match=r"^calibrate: .+ cannot be calibrated: leave it out\.$"):
            ensure(options, images / "calibrate")


# --- bench


def test_bench_measures_the_graph_of_an_int8_folder_and_else_random_weights(made: Quantized) -> None:
    kinds = ["auto", "fp32", "int8"]
    every = configurations(Options(), ["digits", str(made.folder)], ["auto"], kinds, ["auto"])
    assert [(one.precision, one.random_weights) for one in every] == [
        *(("auto", True), ("fp32", True), ("int8", True)),
        *(("auto", False), ("fp32", True), ("int8", False)),
    ]


@needs_nncf
@needs_int8
def test_random_weights_run_in_int8_for_speed_tests() -> None:
    options = Options("digits", precision="int8", random_weights=True, device="cpu")
    engine = open_engine(find_model("digits"), options)
    assert engine.precision == "int8"
    (rows,) = window.rows(engine, [noise(1, 256)])
    assert rows.shape == (1, 10)
    assert peak_flops(engine, 0) > 0
    engine.close()


# --- whole or not at all


KILLED = """
import os, signal, sys
from pathlib import Path
from resnest_cli import Options
from resnest_cli.engines import int8
from resnest_cli.tasks.quantize import quantization
def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
int8.prepare = kill
quantization.quantize(Options("digits"), Path(sys.argv[1]), Path("out"))
"""


@needs_nncf
@needs_int8
def test_one_that_is_killed_leaves_nothing_under_its_name(images: Path, tmp_path: Path) -> None:
    """It is killed when the weights are written and the graph is to be made."""
    words = [sys.executable, "-c", KILLED, str(images / "calibrate")]
    ended = subprocess.run(words, cwd=tmp_path, capture_output=True, check=False, timeout=300, env=os.environ)
    assert ended.returncode == -9, ended.stderr
    assert not (tmp_path / "out").exists()
    assert any(tmp_path.glob(".resnest-*/new/model.safetensors"))


# --- what a person sees


def test_the_report_is_printed_and_unreadable_images_are_named(
    monkeypatch: pytest.MonkeyPatch, resnest: Resnest, tmp_path: Path
) -> None:
    from resnest_cli.tasks.quantize import quantization as task
    from resnest_cli.types import Failure

    found = Agreement(200, 199, 0.1234, 0.0123, labelled=200, right_before=190, right_after=189)
    failures = (Failure("a/b.png", "TruncatedImage", "it ends early."),)
    made = Quantized(tmp_path, {"calibrated": found}, failures, ("fc",), Speed(50.0, 25.0, "bf16"))
    monkeypatch.setattr(task, "quantize", lambda *_, **__: made)
    ended = resnest("quantize", "digits", "--calibrate", tmp_path, "-o", tmp_path / "out", "-q")
    assert ended.exit_code == ExitCode.SOME_FAILED
    assert ended.stderr == "a/b.png: TruncatedImage: it ends early.\n"
    lines = " ".join(ended.stdout.split())
    assert "first class that of fp32 for 99.50 % (95%: 97.22 to 99.91)" in lines
    assert "accuracy 94.50 % (95%: 90.42 to 96.90), in fp32 95.00 % (95%: 91.04 to 97.26)" in lines
    assert "in floating point 1 layers with weights, see quantize.json" in lines
    assert "speed 50.0 images/s, 2.00 times bf16 (25.0), in turns" in lines
