"""The embedded model gives right answers: the real trained network of this test suite."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
from conftest import SAMPLES
from PIL import Image

from resnest_cli import Classifier, Result
from resnest_cli.catalog import DIGITS

METRICS = json.loads((DIGITS / "metrics.json").read_text())
# Kept literally, so that another file of weights cannot slip in with its own metrics.
SHA256 = "7890bea4"


@pytest.fixture(scope="module")
def script() -> Any:  # noqa: ANN401 - a module
    """Load the script that trained the model, for its split of the data."""
    path = Path(__file__).parents[1] / "scripts" / "train_digits.py"
    spec = importlib.util.spec_from_file_location("train_digits", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_sample_is_named_by_its_class() -> None:
    with Classifier("digits") as model:
        records = list(model.predict([SAMPLES], topk=1))
    assert len(records) == 12
    for record in records:
        assert isinstance(record, Result)
        assert Path(record.path).name.split("_")[0] == record.top1.label
        assert record.top1.probability > 0.5


def test_held_out_accuracy_is_what_the_metrics_say(script: Any, tmp_path: Path) -> None:  # noqa: ANN401
    split = script.load_split()
    files = [tmp_path / f"{i:03d}.png" for i in range(len(split.test_labels))]
    for path, image in zip(files, split.test_images, strict=True):
        Image.fromarray(image).save(path)
    with Classifier("digits", batch=60) as model:
        found = np.array([record.top1.index for record in model.predict(files, topk=1)])
    accuracy = float((found == split.test_labels).mean())
    assert accuracy == METRICS["held_out_top1"] >= 0.99


def test_samples_are_held_out_images(script: Any) -> None:  # noqa: ANN401
    split = script.load_split()
    for path in SAMPLES.iterdir():
        row = int(path.stem.split("_")[1])
        (at,) = np.flatnonzero(split.test_indices == row)
        assert np.array_equal(np.asarray(Image.open(path).convert("RGB")), split.test_images[at])


def test_the_weights_are_the_ones_that_were_measured() -> None:
    content = (DIGITS / "model.safetensors").read_bytes()
    assert hashlib.sha256(content).hexdigest() == METRICS["sha256"]
    assert METRICS["sha256"].startswith(SHA256)
    assert len(content) <= 1.5 * 2**20


def test_timm_takes_the_folder_as_it_is() -> None:
    network = timm.create_model(f"local-dir:{DIGITS}", pretrained=True)
    assert sum(p.numel() for p in network.parameters()) == METRICS["parameters"]
    cfg: Any = network.pretrained_cfg
    assert list(cfg["label_names"]) == [
        *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    ]
