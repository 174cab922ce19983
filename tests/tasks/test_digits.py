"""The embedded model gives right answers: the real trained network of this test suite."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SAMPLES
from PIL import Image

from resnest_cli import Classifier, Result
from resnest_cli.models.catalog import DIGITS
from resnest_cli.options import MIN_SIZE

METRICS = json.loads((DIGITS / "metrics.json").read_text())
# Kept literally, so that another file of weights cannot slip in with its own metrics.
SHA256 = "c7b73a0d"


def test_every_sample_is_named_by_its_class() -> None:
    with Classifier("digits") as model:
        records = list(model.predict([SAMPLES], topk=1))
    assert len(records) == 12
    for record in records:
        assert isinstance(record, Result)
        assert Path(record.path).name.split("_")[0] == record.top1.label
        assert record.top1.probability > 0.5


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_the_smallest_size_that_is_taken_runs(engine: str) -> None:
    with Classifier("digits", img_size=MIN_SIZE, engine=engine, device="cpu", workers=0) as model:
        (record,) = model.predict([SAMPLES / "two_0051.png"])
    assert record.top1.probability > 0.1


def test_held_out_accuracy_is_what_the_metrics_say(held_out_digits: list[Any], tmp_path: Path) -> None:
    files = [tmp_path / f"{digit.row:04d}.png" for digit in held_out_digits]
    for path, digit in zip(files, held_out_digits, strict=True):
        digit.image.save(path)
    with Classifier("digits", batch=60) as model:
        found = np.array([record.top1.index for record in model.predict(files, topk=1)])
    accuracy = float((found == [digit.label for digit in held_out_digits]).mean())
    assert accuracy == METRICS["top1"] >= 0.99


def test_samples_are_held_out_images(held_out_digits: list[Any]) -> None:
    images = {digit.row: digit.image for digit in held_out_digits}
    for path in SAMPLES.iterdir():
        row = int(path.stem.split("_")[1])
        assert np.array_equal(np.asarray(Image.open(path).convert("RGB")), np.asarray(images[row]))


def test_the_weights_are_the_ones_that_were_measured() -> None:
    content = (DIGITS / "model.safetensors").read_bytes()
    assert hashlib.sha256(content).hexdigest() == METRICS["sha256"]
    assert METRICS["sha256"].startswith(SHA256)
    assert len(content) <= 1.5 * 2**20


def test_timm_takes_the_folder_as_it_is() -> None:
    import timm

    network = timm.create_model(f"local-dir:{DIGITS}", pretrained=True)
    assert sum(p.numel() for p in network.parameters()) == METRICS["trained_parameters"]
    cfg: Any = network.pretrained_cfg
    assert list(cfg["label_names"]) == [
        *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    ]
