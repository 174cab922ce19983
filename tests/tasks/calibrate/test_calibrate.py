"""`resnest calibrate` on the digits' held-out images: what the file says is what the same logits give elsewhere."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from torch import tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from resnest_cli import Classifier, FakeEngine, calibrate
from resnest_cli.errors import ExitCode, OutputError, UsageError
from resnest_cli.models.catalog import DIGITS, find_model
from resnest_cli.models.weights import sha256
from resnest_cli.pipeline.stream import Row
from resnest_cli.tasks.calibrate import file as calibrations
from resnest_cli.tasks.calibrate.splits import halves

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Resnest
    from numpy.typing import NDArray

pytestmark = pytest.mark.usefixtures("decode_here")


@pytest.fixture(scope="module")
def held_out(held_out_digits: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the held-out images in class folders."""
    folder = tmp_path_factory.mktemp("held_out")
    for digit in held_out_digits:
        place = folder / str(digit.label) / f"{digit.row:04d}.png"
        place.parent.mkdir(exist_ok=True)
        digit.image.save(place)
    return folder


@pytest.fixture(scope="module")
def written(held_out: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the calibration of the digits."""
    path = tmp_path_factory.mktemp("calibration") / "calibration.json"
    calibrate("digits", held_out, workers=0).save(path)
    return path


@pytest.fixture(scope="module")
def known(held_out: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the logits of the held-out images and their classes, in the order of the folder."""
    paths = sorted(held_out.rglob("*.png"))
    with Classifier("digits", workers=0) as model:
        rows = [row.values for row in model.trunk.rows(model.find(map(str, paths))) if isinstance(row, Row)]
    return np.stack(rows).astype(float), np.array([int(path.parent.name) for path in paths])


def test_the_file_says_what_the_same_logits_say(
    written: Path, known: tuple[NDArray[np.float64], NDArray[np.int64]]
) -> None:
    found = json.loads(written.read_text())
    logits, truth = known
    one, other = halves(truth, 0)

    def loss(value: float) -> float:
        return -float(log_softmax(logits[one] / value, axis=1)[np.arange(180), truth[one]].mean())

    best = minimize_scalar(loss, bounds=(0.01, 100), method="bounded", options={"xatol": 1e-12})
    right = logits.argmax(axis=1) == truth
    assert right[one].all() != (found["temperature"] == pytest.approx(best.x, rel=1e-6))  # see `temperature.fit`
    for name, degree in (("before", 1), ("after", found["temperature"])):
        shares = softmax(logits[other] / degree, axis=1)
        error = multiclass_calibration_error(tensor(shares), tensor(truth[other]), num_classes=10, n_bins=15)
        assert found["figures"]["ece"][name][0] == pytest.approx(float(error), abs=2e-6)
        assert sum(count for _, _, count in found["figures"]["bins"][name]) == 180
    assert found["figures"]["top1"][0] == pytest.approx(right[other].mean(), abs=1e-6)
    assert found["figures"]["ece"]["before"][0] > 0.1
    assert found["figures"]["ece"]["after"][0] < 0.02
    assert [(row["coverage"], row["after"] is not None) for row in found["figures"]["sets"]] == [
        *[(0.8, True), (0.9, True), (0.95, True), (0.99, False)]
    ]


def test_the_file_says_what_made_it(written: Path) -> None:
    found = json.loads(written.read_text())
    assert (found["model"], found["weights"]) == ("digits", sha256(DIGITS / "model.safetensors"))
    assert found["preprocessing"]["input_size"] == [3, 32, 32]
    assert found["preprocessing"]["exif"] is True
    assert (found["engine"], found["precision"], found["classes"], found["seed"]) == ("openvino", "fp32", 10, 0)
    assert found["images"] == {"all": 360, "fitting": 180, "scoring": 180, "failed": 0}
    assert "promises nothing for another camera, place or season" in found["promise"]
    assert found["notes"] == []
    assert {"resnest-cli", "openvino", "python"} <= found["versions"].keys()


def test_what_is_read_is_what_was_written(written: Path) -> None:
    assert calibrations.read(written).text() == written.read_text()


@pytest.mark.slow
def test_the_command_writes_the_same_file_and_shows_its_figures(
    resnest: Resnest, held_out: Path, written: Path, tmp_path: Path
) -> None:
    ended = resnest("calibrate", "digits", held_out, "-o", tmp_path / "c.json")
    assert (ended.exit_code, (tmp_path / "c.json").read_bytes()) == (ExitCode.OK, written.read_bytes())
    lines = ended.stdout.splitlines()
    assert lines[1] == "images             180 fit, 180 others judge"
    assert lines[8] == "asked  covered %         classes           sure %              right if sure %"
    assert [line.split()[0] for line in lines[9:13]] == ["80%", "90%", "95%", "99%"]
    assert lines[12].strip() == "99%    too few to judge"
    assert "next: resnest predict IMAGE -m digits --calibration" in ended.stderr
    assert resnest("calibrate", "digits", held_out, "-o", "-").stdout == written.read_text()
    again = resnest("calibrate", "digits", held_out, "-o", tmp_path / "c.json")
    assert (again.exit_code, again.stdout) == (ExitCode.FAILED, "")
    assert "c.json exists; add --overwrite to replace it." in again.stderr


def test_another_seed_draws_other_halves(held_out: Path, written: Path) -> None:
    found = calibrate("digits", held_out, workers=0, seed=1)
    assert found.seed == 1
    assert found.fit.temperature != calibrations.read(written).fit.temperature


def bright(folder: Path, count: int) -> Path:
    """Write images of two classes that `FakeEngine` tells apart."""
    for number in range(count):
        place = folder / str(number % 2) / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (30 * (number % 2),) * 3).save(place)
    return folder


def test_an_image_that_fails_is_named_and_counted(resnest: Resnest, tmp_path: Path) -> None:
    folder = bright(tmp_path / "data", 20)
    (folder / "0" / "bad.png").write_bytes(b"no picture")
    ended = resnest("calibrate", "digits", folder, "-o", tmp_path / "c.json")
    assert ended.exit_code == ExitCode.SOME_FAILED
    assert "bad.png" in ended.stderr
    assert "no answer for 1 of 21 images." in ended.stderr
    written = json.loads((tmp_path / "c.json").read_text())
    assert written["images"] == {"all": 21, "fitting": 10, "scoring": 10, "failed": 1}


def test_too_few_images_are_refused_before_the_model_opens(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="17 labeled images are too few: at least 18 are needed"):
        calibrate("digits", bright(tmp_path, 17), engine=FakeEngine())
    assert calibrate("digits", bright(tmp_path, 18), engine=FakeEngine()).images["scoring"] == 9


def test_a_file_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    found = calibrate("digits", bright(tmp_path / "data", 18), engine=FakeEngine())
    found.save(tmp_path / "c.json")
    with pytest.raises(OutputError, match=r"exists; add overwrite=True to replace it"):
        found.save(tmp_path / "c.json")
    found.save(tmp_path / "c.json", overwrite=True)
    assert repr(found).startswith("Calibration('digits', images=18, temperature=")


@pytest.mark.slow
def test_a_picture_is_drawn_beside_the_file(resnest: Resnest, tmp_path: Path) -> None:
    folder = bright(tmp_path / "data", 40)
    ended = resnest("calibrate", "digits", folder, "-o", "-", "--plot", tmp_path / "c.png")
    assert (ended.exit_code, json.loads(ended.stdout)["classes"]) == (ExitCode.OK, 10)
    picture = (tmp_path / "c.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    for plot, words in ((tmp_path / "c.png", "exists; add --overwrite"), ("c.jpg", "a name that ends in .png")):
        refused = resnest("calibrate", "digits", folder, "-o", tmp_path / "c.json", "--plot", plot)
        assert refused.exit_code in {ExitCode.FAILED, ExitCode.USAGE}
        assert words in refused.stderr
        assert not (tmp_path / "c.json").exists()
    found = calibrate("digits", folder, engine=FakeEngine())
    found.save(tmp_path / "c.json", plot=tmp_path / "d.png")
    assert (tmp_path / "d.png").read_bytes().startswith(b"\x89PNG")


def without(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda values: values.pop(key)


def with_(key: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda values: values.update({key: value})


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (with_("format", "x"), "its format is x, and not 'resnest calibration 1'"),
        (without("temperature"), "temperature is missing: it must be a number"),
        (with_("temperature", 0), "temperature is 0: it must be a number"),
        (with_("temperature", "1"), "temperature is 1: it must be a number"),
        (with_("centers", [1.0]), "it has 1 centers for 10 classes"),
        (with_("centers", [1.0] * 11), "centers is a list: it must be a list of at most 10 numbers"),
        (with_("scores", {"count": 2, "values": [1.0, 0.5]}), "scores has no 2 numbers in ascending order"),
        (with_("scores", {"count": 3, "values": [0.0, 0.5]}), "scores has no 3 numbers in ascending order"),
        (with_("energies", {"count": 0, "values": []}), "energies.count is 0: it must be a whole number from 1"),
        (with_("rule", {"free": 1, "weight": 2}), "rule.weight is 2: it must be a number from 0 to 1"),
        (with_("centers", [1e31] * 10), "centers.0 is 1e+31: it must be a number from -1e+30 to 1e+30"),
        (with_("weights", 5), "weights is 5: it must be a text"),
    ],
)
def test_a_damaged_file_is_refused_with_the_entry_at_fault(
    damage: Callable[[dict[str, Any]], object], why: str, written: Path, tmp_path: Path
) -> None:
    values = json.loads(written.read_text())
    damage(values)
    path = tmp_path / "c.json"
    path.write_text(json.dumps(values))
    with pytest.raises(UsageError, match=r"c\.json cannot be used") as error:
        calibrations.read(path)
    assert why in error.value.message


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b'{"format": NaN}', b"[" * 100_000])
def test_what_is_no_calibration_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"cannot be used .*make it with `resnest calibrate MODEL DIR"):
        calibrations.read(tmp_path / "c.json")


def test_a_missing_file_and_a_pipe_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, why in (("lost", "No such file"), ("pipe", "not a regular file")):
        with pytest.raises(UsageError, match=why):
            calibrations.read(tmp_path / name)


def test_a_calibration_of_something_else_is_refused_with_what_differs(written: Path) -> None:
    found = calibrations.read(written)
    same = dict(found.made_with)
    found.require(same | {"engine": "torch", "model": "a copy"}, "c.json")  # the same network
    for change, words in (
        ({"weights": "f00", "model": "resnest50d"}, "model digits, now resnest50d; weights c7b7"),
        ({"precision": "bf16"}, ": precision fp32, now bf16."),
        ({"preprocessing": same["preprocessing"] | {"crop_pct": 0.8}}, ": crop_pct 1.0, now 0.8."),
        ({"preprocessing": same["preprocessing"] | {"input_size": (3, 64, 64)}}, "input_size [3, 32, 32], now [3, 64,"),
    ):
        with pytest.raises(UsageError, match=r"was made with another network or preparation") as error:
            found.require(same | change, "c.json")
        assert words in error.value.message
        assert "--calibration none" in error.value.message


def test_tuples_are_the_lists_of_the_file(written: Path) -> None:
    data = find_model("digits").data
    found = calibrations.read(written)
    assert found.made_with["preprocessing"]["mean"] == list(data.mean)
    now = dict(found.made_with) | {"preprocessing": found.made_with["preprocessing"] | {"mean": data.mean}}
    found.require(now, "c.json")
    with pytest.raises(UsageError):
        found.require(now | {"preprocessing": now["preprocessing"] | {"mean": replace(data, mean=(0, 0, 0)).mean}}, "c")
