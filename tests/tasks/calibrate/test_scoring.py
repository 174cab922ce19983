"""`validate --calibration`: coverage, sets and the sure answers are what each answer of `predict` says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.stats import binomtest

from resnest_cli import Classifier, FakeEngine, calibrate, validate
from resnest_cli.errors import ExitCode, UsageError
from resnest_cli.tasks.calibrate import scores
from resnest_cli.tasks.calibrate.splits import halves

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Resnest

pytestmark = pytest.mark.usefixtures("decode_here")


@pytest.fixture(scope="module")
def sides(held_out_digits: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the held-out digits as two halves, `one` and `other`, and the calibration of the first."""
    folder = tmp_path_factory.mktemp("sides")
    one, _ = halves(np.array([digit.label for digit in held_out_digits]), 0)
    for number, digit in enumerate(held_out_digits):
        place = folder / ("one" if number in one else "other") / str(digit.label) / f"{digit.row:04d}.png"
        place.parent.mkdir(exist_ok=True, parents=True)
        digit.image.save(place)
    calibrate("digits", folder / "one", workers=0).save(folder / "calibration.json")
    return folder


def test_the_numbers_are_those_of_every_answer(sides: Path) -> None:
    options: dict[str, Any] = {"workers": 0, "calibration": sides / "calibration.json", "max_strangeness": 0.8}
    found = validate(sides / "other", "digits", **options).summary()
    paths = sorted((sides / "other").rglob("*.png"))
    truth = np.array([int(path.parent.name) for path in paths])
    with Classifier("digits", **options) as model:
        records = list(model.predict(map(str, paths), topk=10))
    certain = [record.certainty for record in records if record.ok and record.certainty]
    right = np.array([record.top1.index for record in records]) == truth
    sure = np.array([not each.abstained for each in certain])
    covered = np.array([own in each.set for own, each in zip(truth.tolist(), certain, strict=True)])
    shares = np.zeros((len(paths), 10))
    for row, record in zip(shares, records, strict=True):
        row[[p.index for p in record.predictions]] = [p.probability for p in record.predictions]
    assert len(certain) == 180
    assert 0 < sure.sum() < 180
    assert found["coverage"] == 0.9
    assert found["covered"] == pytest.approx(100 * covered.mean(), abs=1e-4)
    interval = binomtest(int(covered.sum()), 180).proportion_ci(method="wilson")
    assert found["covered_ci95"] == pytest.approx([100 * interval.low, 100 * interval.high], abs=1e-4)
    assert found["set_size"] == pytest.approx(np.mean([len(each.set) for each in certain]))
    assert found["sure"] == pytest.approx(100 * sure.mean(), abs=1e-4)
    assert found["sure_top1"] == pytest.approx(100 * right[sure].mean(), abs=1e-4)
    assert found["mean_strangeness"] == pytest.approx(np.mean([each.strangeness for each in certain]), abs=1e-6)
    assert found["calibrated_loss"] == pytest.approx(-np.log(shares[range(180), truth]).mean(), abs=1e-5)
    assert found["calibrated_ece"] == pytest.approx(scores.calibration_error(shares.max(axis=1), right), abs=1e-6)
    assert found["aurc"] <= (~right).mean()
    assert found["loss"] != pytest.approx(found["calibrated_loss"], abs=1e-2)


def test_the_command_says_them(resnest: Resnest, sides: Path) -> None:
    words = ("validate", sides / "other", "-m", "digits")
    calibrated = (*words, "--calibration", sides / "calibration.json")
    plain = json.loads(resnest(*words, "-f", "json").stdout)
    found = json.loads(resnest(*calibrated, "-f", "json").stdout)
    assert [*found][: len(plain)] == [*plain]
    assert [*found][len(plain) :] == [
        *("coverage", "covered", "covered_ci95", "set_size", "sure", "sure_ci95", "sure_top1", "sure_top1_ci95"),
        *("mean_strangeness", "calibrated_loss", "calibrated_ece", "aurc"),
    ]
    lines = resnest(*calibrated).stdout.splitlines()
    names = [line.split("  ")[0] for line in lines]
    assert {"calibrated", "sets cover", "sure of", "risk-coverage"} <= {*names}
    assert "; 1.00 classes" in lines[names.index("sets cover")]


def test_a_subset_goes_without_a_calibration(resnest: Resnest, sides: Path) -> None:
    ended = resnest(
        *("validate", sides / "other", "-m", "digits", "--subset", "--calibration", sides / "calibration.json")
    )
    assert (ended.exit_code, ended.stdout) == (ExitCode.USAGE, "")
    assert "--subset goes without --calibration" in ended.stderr


def test_a_calibration_of_another_preparation_is_refused(sides: Path) -> None:
    with pytest.raises(UsageError, match="exif true, now false"):
        validate(sides / "other", "digits", workers=0, exif=False, calibration=sides / "calibration.json")
    with pytest.raises(UsageError, match=r"coverage=0\.5 needs a calibration"):
        validate(sides / "other", "digits", engine=FakeEngine(), coverage=0.5)
