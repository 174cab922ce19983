"""A finetuned model's folder has its calibration: that of its validation images, as `predict` answers them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from resnest_cli import Classifier, calibrate, finetune
from resnest_cli.training.calibrated import CHOSE, CHOSE_NOTHING

if TYPE_CHECKING:
    from pathlib import Path


def write(folder: Path, digits: list[Any], train: int, val: int) -> Path:
    """Write so many held-out digits of each of three classes as folders train and val."""
    for label in (3, 5, 8):
        for number, digit in enumerate([each for each in digits if each.label == label][: train + val]):
            place = folder / ("train" if number < train else "val") / f"kind {label}" / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            digit.image.save(place)
    return folder


@pytest.fixture(scope="module")
def data(held_out_digits: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 30 images to train on and 30 to validate on."""
    return write(tmp_path_factory.mktemp("data"), held_out_digits, 10, 10)


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "calibration.json").read_text())
    return found


@pytest.mark.slow
def test_the_file_is_what_calibrate_finds_on_the_validation_images(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    finetune(data, out=out, model="digits", full=False, device="cpu", workers=0)
    written = read(out)
    found = json.loads(calibrate(str(out), data, workers=0, engine="torch").text())
    assert written["notes"] == [CHOSE_NOTHING]
    for key in ("model", "weights", "preprocessing", "engine", "precision", "model_args", "classes", "images", "seed"):
        assert written[key] == found[key], key
    assert written["temperature"] == pytest.approx(found["temperature"], rel=1e-3)
    assert written["energies"]["values"] == pytest.approx(found["energies"]["values"], abs=1e-2)
    image = next((data / "val").rglob("*.png"))
    for engine in ("torch", "openvino"):
        with Classifier(str(out), workers=0, engine=engine) as model:
            certainty = model(str(image)).certainty
            assert certainty
            assert 0 <= certainty.strangeness <= 1
    with Classifier(str(out), workers=0, calibration="none") as model:
        assert model(str(image)).certainty is None


@pytest.mark.slow
def test_it_says_that_the_images_also_chose_the_epoch_and_goes_with_new_weights(data: Path, tmp_path: Path) -> None:
    out, options = tmp_path / "model", {"model": "digits", "full": True, "device": "cpu", "workers": 0}
    finetune(data, out=out, epochs=1, **options)  # type: ignore[arg-type] # of several types
    before = read(out)
    assert before["notes"] == [CHOSE]
    finetune(data, out=out, epochs=2, resume=True)
    weights = json.loads((out / "metrics.json").read_text())["sha256"]
    assert read(out)["weights"] == weights
    with Classifier(str(out), workers=0) as model:
        assert model.calibrated


@pytest.mark.slow
def test_too_few_validation_images_leave_no_file(held_out_digits: list[Any], tmp_path: Path) -> None:
    data = write(tmp_path / "data", held_out_digits, 6, 5)
    finetune(data, out=tmp_path / "model", model="digits", full=False, device="cpu", workers=0)
    assert not (tmp_path / "model" / "calibration.json").exists()
