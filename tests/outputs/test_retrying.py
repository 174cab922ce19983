"""The failed rows of a finished file are tried once more; all other rows stay where and as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from conftest import SAMPLES

from resnest_cli.errors import ExitCode
from resnest_cli.outputs.formats import FORMATS
from resnest_cli.outputs.reading import Results

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Resnest

DIGITS = ("-m", "digits", "-k", "2")
GOOD = ["five_0035.png", "two_0051.png"]


def folder(tmp_path: Path) -> Path:
    """Make a folder of two good images, with a bad one between and one after them."""
    made = tmp_path / "in"
    made.mkdir()
    for place, name in zip("ac", GOOD, strict=True):
        (made / f"{place}.png").write_bytes((SAMPLES / name).read_bytes())
    (made / "b.png").write_text("bad")
    (made / "d.png").write_text("bad")
    return made


@pytest.mark.parametrize("format", FORMATS)
def test_failed_rows_are_replaced_in_place(resnest: Resnest, tmp_path: Path, format: str) -> None:
    images, out = folder(tmp_path), tmp_path / f"rows.{format}"
    assert resnest("predict", images, *DIGITS, "-o", out).exit_code == ExitCode.SOME_FAILED
    before = list(Results(out).rows())
    (images / "b.png").write_bytes((SAMPLES / GOOD[1]).read_bytes())
    (images / "a.png").unlink()  # what has a good row is not looked at
    ended = resnest("predict", images, *DIGITS, "-o", out, "--retry-failed")
    assert ended.exit_code == ExitCode.SOME_FAILED
    assert "4 rows" in ended.stderr
    assert "after 2 done before" in ended.stderr
    assert "1 of 4 inputs failed: NotAnImage 1." in ended.stderr
    after = list(Results(out).rows())
    assert [after[0], after[2], after[3]] == [before[0], before[2], before[3]]
    assert after[1] | {"path": before[2]["path"]} == before[2]
    assert {path.name for path in tmp_path.iterdir()} == {"in", out.name, f".{out.name}.done.json"}


@pytest.mark.parametrize("format", ["csv", "jsonl", "json"])
def test_a_file_that_was_retried_is_that_of_one_job(resnest: Resnest, tmp_path: Path, format: str) -> None:
    images, out, whole = folder(tmp_path), tmp_path / f"rows.{format}", tmp_path / f"whole.{format}"
    resnest("predict", images, *DIGITS, "-b", "1", "-o", out)
    (images / "b.png").write_bytes((SAMPLES / GOOD[1]).read_bytes())
    resnest("predict", images, *DIGITS, "-b", "1", "-o", out, "--retry-failed")
    resnest("predict", images, *DIGITS, "-b", "1", "-o", whole)
    assert out.read_bytes() == whole.read_bytes()
    assert resnest("predict", images, *DIGITS, "-b", "1", "-o", out, "--resume").stderr.count("complete: 4 rows") == 1


def test_where_nothing_has_failed_nothing_is_done(resnest: Resnest, tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    resnest("predict", SAMPLES, *DIGITS, "-o", out)
    before = out.stat()
    ended = resnest("predict", SAMPLES, *DIGITS, "-o", out, "--retry-failed")
    assert (ended.exit_code, "complete: 12 rows" in ended.stderr) == (ExitCode.OK, True)
    assert (out.stat().st_ino, out.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_rows_whose_inputs_are_not_named_stay(resnest: Resnest, tmp_path: Path) -> None:
    images, out = folder(tmp_path), tmp_path / "rows.csv"
    resnest("predict", images, *DIGITS, "-o", out)
    (images / "b.png").write_bytes((SAMPLES / GOOD[1]).read_bytes())
    (images / "d.png").write_bytes((SAMPLES / GOOD[1]).read_bytes())
    ended = resnest("predict", images / "d.png", *DIGITS, "-o", out, "--retry-failed")
    assert "1 of 4 inputs failed" in ended.stderr
    assert [row["status"] for row in Results(out).rows()] == ["ok", "error", "ok", "ok"]


def test_a_failed_input_that_is_gone_keeps_its_row_and_nothing_is_written(resnest: Resnest, tmp_path: Path) -> None:
    images, out = folder(tmp_path), tmp_path / "rows.csv"
    resnest("predict", images, *DIGITS, "-o", out)
    for name in ("b.png", "d.png"):
        (images / name).unlink()
    before = out.stat().st_mtime_ns
    ended = resnest("predict", images, *DIGITS, "-o", out, "--retry-failed")
    assert "complete: 4 rows\n2 of 4 inputs failed: NotAnImage 2.\n" in ended.stderr
    assert out.stat().st_mtime_ns == before


def test_what_is_not_finished_or_not_there_or_other_is_refused(resnest: Resnest, tmp_path: Path) -> None:
    images, out = folder(tmp_path), tmp_path / "rows.csv"
    words = ("predict", images, *DIGITS, "-o", out, "--retry-failed")
    missing = resnest(*words)
    assert (missing.exit_code, "without --retry-failed makes it" in missing.stderr) == (ExitCode.FAILED, True)
    assert not out.exists()
    resnest("predict", images, *DIGITS, "-o", out)
    before = out.read_bytes()
    other = resnest(*words, "--threshold", "0.1")
    assert "threshold 0.0, now 0.1" in other.stderr
    (tmp_path / "rows.csv.resume.json").write_text("{}")
    (tmp_path / ".rows.csv.done.json").unlink()
    begun = resnest(*words)
    assert "is not finished: add --resume in place of --retry-failed first" in begun.stderr
    assert out.read_bytes() == before
