"""A check finds rows that no longer hold, by a sample, and changes nothing."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from calibrated import doubting
from conftest import SAMPLES, Resnest
from safetensors.numpy import load_file, save_file

from resnest_cli import Classifier, check, convert
from resnest_cli.errors import UsageError
from resnest_cli.models.catalog import DIGITS
from resnest_cli.outputs import records
from resnest_cli.outputs.formats import FORMATS
from resnest_cli.tasks.check.compare import compare
from resnest_cli.tasks.check.job import sample_size
from resnest_cli.types import Failure, Prediction, Record, Result

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("decode_here")


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Write rows of the samples, and of a file that is not there."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(SAMPLES, "digits")
    with Classifier("digits", device="cpu") as model:
        model.write(["digits", "lost.png"], "answers.jsonl")
        yield Path("answers.jsonl")


def replace_by_two(path: str, answers: Path) -> None:
    """Make an image another one, a second after the rows were made."""
    shutil.copy("digits/two_0051.png", path)
    later = records.place(answers).stat().st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))


@pytest.mark.parametrize("format", FORMATS)
def test_rows_that_hold_hold_in_every_format(answers: Path, format: str) -> None:
    if format != "jsonl":
        convert(answers, f"answers.{format}")
    found = check(f"answers.{format}", sample="100%")
    assert (found.exit_code, found.rows, len(found.sample), found.largest) == (0, 13, 13, 0.0)
    assert found.files == {"same": 13, "changed": 0, "gone": 0, "unseen": 0}
    assert (found.changes, found.tolerance) == ({}, 1e-4)


def test_what_drifted_is_said_with_what_to_type_next(resnest: Resnest, answers: Path) -> None:
    replace_by_two("digits/one_0021.png", answers)
    Path("digits/six_0034.png").unlink()
    shutil.copy("digits/two_0051.png", "lost.png")
    os.utime("lost.png", (0, 0))  # it came back as it was long before
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    ended = resnest("check", str(answers), "--sample", "100%")
    assert ended.stdout == (
        "rows                13\n"
        "files               11 same, 1 changed, 1 gone\n"
        "predicted again     12; 10 hold\n"
        "largest difference  0.88 (up to 0.0001 holds)\n"
        "\n"
        "row                  then             now         difference\n"
        "digits/one_0021.png  one 0.8905       two 0.8315      0.8753\n"
        "lost.png             UnreadableInput  two 0.8315      0.0000\n"
        "\n"
        "Note: failed rows have another outcome now; predict with --retry-failed tries\n"
        "again.\n"
        "\n"
        "Note: 1 file changed since; predict with --append-new makes new rows.\n"
        "\n"
        "Note: 1 file gone; predict with --append-new keeps such rows, --overwrite drops\n"
        "them.\n"
    )
    said = json.loads(resnest("check", str(answers), "--sample", "100%", "-f", "json").stdout)
    assert (ended.exit_code, said["holds"]) == (3, False)
    assert [each["path"] for each in said["drifted"]] == ["digits/one_0021.png", "lost.png"]
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_what_is_advised_makes_the_rows_hold(resnest: Resnest, answers: Path) -> None:
    replace_by_two("digits/one_0021.png", answers)
    words = ("predict", "digits", "lost.png", "-m", "digits", "-o", str(answers))
    assert check(answers, sample=1).files["changed"] == 1
    resnest(*words, "--append-new")
    assert (check(answers, sample=100).exit_code, check(answers, sample=1).files["changed"]) == (0, 0)


def test_the_ledger_knows_which_file_has_the_row(resnest: Resnest, answers: Path) -> None:
    resnest("predict", "digits", "lost.png", "-m", "digits", "-o", str(answers), "--append-new")
    os.utime("digits/two_0051.png", (0, 0))  # older than the rows, and yet another file
    assert records.ledger(answers).exists()
    assert check(answers).files == {"same": 12, "changed": 1, "gone": 0, "unseen": 0}


def test_other_weights_are_named(resnest: Resnest, answers: Path) -> None:
    values = load_file(DIGITS / "model.safetensors")
    save_file(values | {"fc.weight": values["fc.weight"] * 0.5}, "other.safetensors")
    found = check(answers, weights="other.safetensors")
    assert (found.exit_code, found.other_model, [*found.changes]) == (3, True, ["weights"])
    assert len(found.drifted) == len([each for each in found.sample if not each.was_failure])
    ended = resnest("check", str(answers), "--weights", "other.safetensors")
    assert "Note: the model answers otherwise now; predict with --overwrite" in ended.stdout


@pytest.mark.slow
def test_calibrated_rows_need_their_calibration(answers: Path, held_out_digits: list[Any], tmp_path: Path) -> None:
    calibration = doubting(held_out_digits, tmp_path)
    with Classifier("digits", device="cpu", calibration=calibration, coverage=0.85) as model:
        model.write("digits", "sure.parquet")
    assert check("sure.parquet", sample=100, calibration=calibration).exit_code == 0
    with pytest.raises(UsageError, match="calibration"):
        check("sure.parquet")
    assert check(answers, calibration=calibration).exit_code == 0  # these rows have none


def test_rows_that_say_nothing_are_compared_with_the_model_that_is_named(resnest: Resnest, answers: Path) -> None:
    shutil.copy(answers, "moved.jsonl")
    ended = resnest("check", "moved.jsonl")
    assert (ended.exit_code, ended.stderr.strip()) == (
        2,
        "error: moved.jsonl does not say which model made its rows: name it with --model.",
    )
    assert resnest("check", "moved.jsonl", "-m", "digits").exit_code == 0
    found = check("moved.jsonl", "digits", img_size=40)
    assert (found.exit_code, found.changes, found.largest > 1e-3) == (3, {}, True)


@pytest.mark.usefixtures("answers")
def test_the_preprocessing_is_that_of_the_rows() -> None:
    with Classifier("digits", device="cpu", img_size=40, interpolation="box") as model:
        model.write("digits", "large.csv")
    assert check("large.csv", sample=100).exit_code == 0


def test_a_seed_chooses_the_same_rows(answers: Path) -> None:
    first, second, other = ([each.path for each in check(answers, sample=5, seed=seed).sample] for seed in (1, 1, 2))
    assert (len(first), first == second, first == other) == (5, True, False)


@pytest.mark.parametrize(
    ("given", "count", "size"),
    [("1%", 10_000, 100), ("1%", 50, 10), ("1%", 3, 3), (7, 100, 7), ("7", 3, 3), ("0.1%", 10**6, 1000), ("1%", 0, 0)],
)
def test_the_size_of_a_sample(given: int | str, count: int, size: int) -> None:
    assert sample_size(given)(count) == size


@pytest.mark.parametrize("given", ["0", "-1", "0%", "101%", "x", "nan%", "1.5", ""])
def test_what_is_no_size_of_a_sample(given: str) -> None:
    with pytest.raises(UsageError, match="give a number of rows"):
        sample_size(given)


def ranked(*found: tuple[int, float]) -> tuple[Prediction, ...]:
    return tuple(Prediction(rank, index, None, f"c{index}", share) for rank, (index, share) in enumerate(found, 1))


NOW = Result("a", ranked((0, 0.6), (1, 0.2), (2, 0.2), (3, 0.0)))


@pytest.mark.parametrize(
    ("then", "now", "holds"),
    [
        (((0, 0.6), (1, 0.2)), NOW, True),
        (((0, 0.60005), (2, 0.19995)), NOW, True),  # the order of equal ones is open
        (((0, 0.6002), (1, 0.2)), NOW, False),
        (((1, 0.2), (0, 0.6)), NOW, False),  # right numbers, wrong order
        (((1, 0.2),), NOW, False),  # the best class is missing
        (((9, 0.6),), NOW, False),  # a class that is not there
        ((), NOW, True),
        (((0, 0.6),), Failure("a", "NotAnImage", ""), False),
    ],
)
def test_probabilities_are_compared_by_class_and_by_rank(
    then: tuple[tuple[int, float], ...], now: Record, *, holds: bool
) -> None:
    row: dict[str, Any] = {"path": "a", "status": "ok"}
    row["predictions"] = [
        {"rank": each.rank, "index": each.index, "wnid": None, "label": each.label, "probability": each.probability}
        for each in ranked(*then)
    ]
    assert compare(row, now, 1e-4).holds is holds


def test_failures_are_compared_by_their_type_and_classes_by_their_names() -> None:
    failed = {"path": "a", "status": "error", "predictions": [], "error": {"type": "NotAnImage", "message": "x"}}
    assert compare(failed, Failure("a", "NotAnImage", "y"), 0).holds
    assert not compare(failed, Failure("a", "BrokenImage", "x"), 0).holds
    assert not compare(failed, NOW, 0).holds
    best = {"rank": 1, "index": 0, "wnid": None, "label": "old name", "probability": 0.6}
    found = compare({"path": "a", "status": "ok", "predictions": [best]}, NOW, 1e-4)
    assert (found.holds, found.then, found.now) == (False, "old name (class 0)", "c0 0.6000")


def test_what_is_no_file_is_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "a.zip").touch()
    rows = [
        {"path": path, "status": "ok", "predictions": []}
        for path in ("https://x/a.png", "-", "#0", str(tmp_path / "a.zip" / "b.png"), "s3://x/y.png")
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    found = check(tmp_path / "rows.json", "digits")
    assert (found.exit_code, found.files) == (0, {"same": 0, "changed": 0, "gone": 0, "unseen": 5})
