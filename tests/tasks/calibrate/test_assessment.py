"""A calibrated model: the same order of classes, probabilities at the temperature, sets and strangeness by hand."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from calibrated import doubting
from conftest import SAMPLES
from PIL import Image
from scipy.special import logsumexp, softmax

from resnest_cli import Classifier, Failure, FakeEngine
from resnest_cli.errors import ExitCode, OutputError, UsageError
from resnest_cli.models.catalog import DIGITS
from resnest_cli.pipeline.stream import Row
from resnest_cli.tasks.calibrate import file as calibrations

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Resnest, Shell
    from numpy.typing import NDArray

    from resnest_cli.types import Certainty, Result

pytestmark = pytest.mark.usefixtures("decode_here")
IMAGES = sorted(map(str, SAMPLES.glob("*.png")))


@pytest.fixture(scope="module")
def calibration(held_out_digits: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Calibrate the digits, with a temperature and a limit under which answers are unsure."""
    return doubting(held_out_digits, tmp_path_factory.mktemp("calibration"))


def test_predict_without_a_calibration_imports_nothing_of_it(shell: Shell) -> None:
    code = "import sys, resnest_cli.tasks.predict; print(*(n for n in sys.modules if 'calibrate.' in n))"
    assert shell(sys.executable, "-c", code).stdout == b"resnest_cli.tasks.calibrate.chosen\n"


def logits() -> NDArray[np.float64]:
    with Classifier("digits", workers=0) as model:
        rows = [row.values for row in model.trunk.rows(model.find(IMAGES)) if isinstance(row, Row)]
    return np.stack(rows).astype(float)


def known(record: Result | Failure) -> Certainty:
    assert record.ok
    assert record.certainty
    return record.certainty


def test_answers_are_those_of_the_formulas(calibration: Path) -> None:
    with Classifier("digits", workers=0) as plain:
        before = list(plain.predict(IMAGES, topk=10))
    with Classifier("digits", workers=0, calibration=calibration, coverage=0.95) as model:
        after = list(model.predict(IMAGES, topk=10))
        assert list(model.submit(image, topk=10).result() for image in IMAGES) == after  # noqa: C400 - one by one
    values, fit = logits(), calibrations.read(calibration).fit
    shares = softmax(values / 0.8, axis=1)
    limit = fit.scores.values[172 - 1]  # ceil(181 * 0.95) of 180
    for row, own, one, other in zip(values, shares, before, after, strict=True):
        assert [p.index for p in one.predictions] == [p.index for p in other.predictions]
        order = np.argsort(-row)
        assert [p.probability for p in other.predictions] == pytest.approx(own[order], rel=1e-6)
        above = [own[order[:rank]].sum() + 0.01 * rank for rank in range(10)]
        expected = [int(label) for label, score in zip(order, above, strict=True) if score <= limit]
        found = known(other)
        assert list(found.set) == expected
        assert found.labels == tuple(p.label for p in other.predictions[: len(expected)])
        energy = -logsumexp(row / 0.8) - fit.centers[order[0]]
        share = np.mean(np.array(fit.energies.values) < energy)
        assert found.strangeness == pytest.approx(share, abs=1e-6)
        assert found.abstained == (len(expected) != 1 or share > 0.99)
    assert {len(known(record).set) for record in after} > {1}


def test_a_lower_coverage_has_smaller_sets(calibration: Path) -> None:
    sizes = []
    for coverage in (0.3, 0.8, 0.95):
        with Classifier("digits", workers=0, calibration=calibration, coverage=coverage) as model:
            sizes.append([len(known(record).set) for record in model.predict(IMAGES)])
    assert sizes[0] == [1] * len(IMAGES)
    assert sizes[0] <= sizes[1] <= sizes[2]
    assert sum(sizes[1]) < sum(sizes[2])


def test_an_image_that_is_too_strange_is_no_answer(calibration: Path) -> None:
    black = Image.new("RGB", (32, 32))
    with Classifier("digits", workers=0, calibration=calibration, coverage=0.3) as model:
        found = known(model(black))
    assert (found.strangeness, found.abstained, len(found.set)) == (1.0, True, 1)
    with Classifier("digits", workers=0, calibration=calibration, coverage=0.3, max_strangeness=1) as model:
        assert not known(model(black)).abstained


def test_other_machines_say_the_same(calibration: Path) -> None:
    with Classifier("digits", workers=0, calibration=calibration) as model:
        (row,) = model.trunk.rows(model.find(IMAGES[:1]))
        ranking = model.ranking(5, 0.0)
        assert pickle.loads(pickle.dumps(ranking))(row) == ranking(row)  # noqa: S301 - our own bytes
        assert pickle.loads(pickle.dumps(ranking)) == ranking  # noqa: S301 - after it has been used


def test_a_threshold_and_topk_change_no_set(calibration: Path) -> None:
    with Classifier("digits", workers=0, calibration=calibration, coverage=0.95) as model:
        full = [known(record) for record in model.predict(IMAGES, topk=10)]
        assert [known(record) for record in model.predict(IMAGES, topk=1, threshold=0.99)] == full


def test_the_command_and_python_say_the_same(resnest: Resnest, calibration: Path) -> None:
    ended = resnest("predict", *IMAGES, "lost.png", "-m", "digits", "--calibration", calibration, "-f", "jsonl")
    rows = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.exit_code == ExitCode.SOME_FAILED
    assert "set" not in rows.pop()
    with Classifier("digits", workers=0, calibration=calibration) as model:
        found = [known(record) for record in model.predict(IMAGES)]
    assert [(row["set"], row["strangeness"], row["abstained"]) for row in rows] == [
        (list(each.set), each.strangeness, each.abstained) for each in found
    ]
    unsure = sum(each.abstained for each in found)
    assert unsure
    assert f"unsure of {unsure} of 12 answers" in ended.stderr
    assert f"calibrated by {calibration}, coverage 0.9" in ended.stderr.replace("\n", "")


def test_abstaining_is_an_answer(resnest: Resnest, calibration: Path, tmp_path: Path) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "black.png")
    ended = resnest("predict", tmp_path / "black.png", "-m", "digits", "--calibration", calibration, "-f", "csv")
    assert ended.exit_code == ExitCode.OK
    assert ended.stdout.splitlines()[1].endswith(",1.0,true,,")


def test_a_model_folder_has_its_own(resnest: Resnest, calibration: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(DIGITS, folder)
    made = calibrations.read(calibration)
    own = replace(made, made_with=dict(made.made_with) | {"model": "another name"})
    own.save(folder / "calibration.json")
    with Classifier(str(folder), workers=0) as model:
        assert known(model(IMAGES[0]))
        assert model.calibrated
        assert model.calibrated.path == folder / "calibration.json"
    with Classifier(str(folder), workers=0, calibration="none") as model:
        assert model(IMAGES[0]).certainty is None
    words = ("predict", IMAGES[0], "-m", folder, "-f", "jsonl")
    assert "abstained" in resnest(*words).stdout
    assert "abstained" not in resnest(*words, "--calibration", "none").stdout
    ended = resnest(*words, "--img-size", "64")
    assert (ended.exit_code, ended.stdout) == (ExitCode.USAGE, "")
    assert "input_size [3, 32, 32], now [3, 64, 64]" in ended.stderr
    assert "--calibration none" in ended.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"coverage": 0.999}, "needs sets from at least 999 images, and they are from 180"),
        ({"crop_pct": 0.5}, "crop_pct 1.0, now 0.5"),
        ({"exif": False}, "exif true, now false"),
        ({"random_weights": True}, "now random"),
    ],
)
def test_what_the_calibration_is_not_for_is_refused(options: dict[str, Any], words: str, calibration: Path) -> None:
    with pytest.raises(UsageError) as error:
        Classifier("digits", workers=0, calibration=calibration, **options)
    assert words in error.value.message


def test_another_precision_is_refused(calibration: Path) -> None:
    engine = FakeEngine()
    engine.precision = "bf16"
    with pytest.raises(UsageError, match="precision fp32, now bf16"):
        Classifier("digits", engine=engine, calibration=calibration)


def test_a_model_with_other_classes_is_refused_before_it_opens(calibration: Path) -> None:
    with pytest.raises(UsageError, match="is of a model with 10 classes, and resnest50d has 1000"):
        Classifier("resnest50d", calibration=calibration)


@pytest.mark.parametrize("option", [{"coverage": 0.5}, {"max_strangeness": 0.5}])
def test_an_option_without_a_calibration_is_refused(option: dict[str, float]) -> None:
    (name,) = option
    with pytest.raises(UsageError, match=f"{name}=0.5 needs a calibration") as error:
        Classifier("digits", engine=FakeEngine(), **option)  # type: ignore[arg-type] # one of two
    assert "resnest calibrate MODEL DIR" in error.value.message


@pytest.mark.parametrize(("name", "value"), [("coverage", 1.0), ("coverage", 0.0), ("max_strangeness", 1.5)])
def test_a_share_that_is_none_is_refused(name: str, value: float) -> None:
    with pytest.raises(UsageError, match="use a number from"):
        Classifier("digits", engine=FakeEngine(), **{name: value})  # type: ignore[arg-type] # one of two


def test_a_job_resumes_with_the_same_calibration_only(calibration: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    with Classifier("digits", workers=0, calibration=calibration) as model:
        model.write(IMAGES, out)
        assert model.write(IMAGES, out, resume=True).complete
    with (
        Classifier("digits", workers=0, calibration=calibration, coverage=0.8) as model,
        pytest.raises(OutputError, match=r"coverage 0\.9, now 0\.8"),
    ):
        model.write(IMAGES, out, resume=True)
    with Classifier("digits", workers=0) as model, pytest.raises(OutputError, match=r"sha256 .*, now None"):
        model.write(IMAGES, out, resume=True)
