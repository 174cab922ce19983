"""Rows in another format are the same rows, and the same job goes on with them."""

from __future__ import annotations

import json
import os
import shutil
import tracemalloc
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browsers import chromium
from conftest import SAMPLES, Resnest
from drawn_rows import files
from hypothesis import HealthCheck, given, settings

from resnest_cli import Classifier, convert
from resnest_cli.errors import OutputError, UsageError
from resnest_cli.outputs import records
from resnest_cli.outputs.formats import FORMATS
from resnest_cli.outputs.reading import Results

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resnest_cli.outputs.rows import About

pytestmark = pytest.mark.usefixtures("decode_here")


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Read rows without what only a page has."""
    return [{k: v for k, v in row.items() if k not in {"thumbnail", "set_labels"}} for row in Results(path).rows()]


@pytest.mark.parametrize(("first", "second"), [*permutations(FORMATS, 2)])
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=15
)
@given(written=files())
def test_every_format_to_every_other_and_back(
    tmp_path: Path, first: str, second: str, written: tuple[list[Any], About]
) -> None:
    rows, about = written
    one, two, back = (tmp_path / name for name in (f"one.{first}", f"two.{second}", f"back.{first}"))
    with one.open("wb") as out:
        FORMATS[first].write(rows, out, about)
    assert convert(one, two, overwrite=True).rows == len(rows)
    assert rows_of(two) == rows
    convert(two, back, overwrite=True)
    assert rows_of(back) == rows
    if {first, second} <= {"parquet", "html"}:
        assert Results(back).about.facts == about.facts


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Write rows of the samples, and of a file that is not there."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(SAMPLES, "digits")
    with Classifier("digits", device="cpu") as model:
        model.write(["digits", "lost.png"], "answers.jsonl")
        yield Path("answers.jsonl")


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "jsonl"])
def test_the_same_job_goes_on_with_the_new_file(resnest: Resnest, answers: Path, format: str) -> None:
    new = Path(f"new.{format}")
    assert convert(answers, new).is_continuable
    before = new.read_bytes()
    words = ("predict", "digits", "lost.png", "-m", "digits", "-o", str(new))
    ended = resnest(*words, "--resume")
    assert (ended.exit_code, "complete: 13 rows" in ended.stderr, new.read_bytes()) == (3, True, before)
    shutil.copy("digits/two_0051.png", "lost.png")
    assert resnest(*words, "--retry-failed").exit_code == 0
    assert rows_of(new)[-1]["predictions"][0]["label"] == "two"
    shutil.copy("digits/two_0051.png", "digits/another.png")
    assert resnest(*words, "--append-new").exit_code == 0
    assert [row["path"] for row in rows_of(new)][-1] == "digits/another.png"
    assert len(rows_of(new)) == 14


def test_the_file_is_that_of_predict_itself(answers: Path) -> None:
    with Classifier("digits", device="cpu") as model:
        for format in ("json", "csv", "tsv"):
            model.write(["digits", "lost.png"], f"asked.{format}")
            convert(answers, f"new.{format}")
            assert Path(f"new.{format}").read_bytes() == Path(f"asked.{format}").read_bytes()
            made, asked = (records.read(Path(f"{name}.{format}")) for name in ("new", "asked"))
            assert made is not None
            assert asked is not None
            assert (made.settings, made.inputs, made.about) == (asked.settings, asked.inputs, asked.about)


def test_an_image_that_changed_after_the_job_still_counts_as_changed(resnest: Resnest, answers: Path) -> None:
    shutil.copy("digits/two_0051.png", "digits/one_0021.png")
    os.utime("digits/one_0021.png", ns=(later := records.place(answers).stat().st_mtime_ns + 1, later))
    convert(answers, "new.csv")
    resnest("predict", "digits", "lost.png", "-m", "digits", "-o", "new.csv", "--append-new")
    assert rows_of(Path("new.csv"))[-1]["predictions"][0]["label"] == "two"
    convert("new.csv", "newer.csv")
    assert records.ledger(Path("newer.csv")).read_bytes() == records.ledger(Path("new.csv")).read_bytes()


def test_without_a_record_none_is_written_and_old_ones_go(answers: Path) -> None:
    convert(answers, "new.csv")
    records.ledger(Path("new.csv")).touch()
    records.place(answers).unlink()
    found = convert(answers, "new.csv", overwrite=True)
    assert (found.rows, found.failures, found.is_continuable) == (13, {"UnreadableInput": 1}, False)
    assert not records.place(Path("new.csv")).exists()
    assert not records.ledger(Path("new.csv")).exists()


def test_nothing_is_lost_where_it_cannot_be_done(answers: Path) -> None:
    convert(answers, "new.csv")
    kept = {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    with pytest.raises(OutputError, match=r"new\.csv exists; add `?overwrite"):
        convert(answers, "new.csv")
    with pytest.raises(UsageError, match="these are the rows themselves"):
        convert(answers, answers, format="csv", overwrite=True)
    with pytest.raises(UsageError, match="add output=FILE"):
        convert(answers, format="parquet")
    assert {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()} == kept
    with Path("bad.jsonl").open("wb") as bad:
        bad.write(answers.read_bytes() + b"[1]\n")
    with pytest.raises(UsageError, match="cannot be read after row 13"):
        convert("bad.jsonl", "new.csv", overwrite=True)
    Path("bad.jsonl").unlink()
    assert {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()} == kept
    records.unfinished(Path("new.csv")).touch()
    with pytest.raises(OutputError, match=r"new\.csv is of a job that is not finished"):
        convert(answers, "new.csv", overwrite=True)


def test_rows_go_to_stdout(resnest: Resnest, answers: Path) -> None:
    asked = resnest("predict", "digits", "lost.png", "-m", "digits", "-f", "csv", "-q")
    shown = resnest("convert", str(answers), "-f", "csv")
    assert (shown.exit_code, shown.stdout) == (0, asked.stdout)
    table = resnest("predict", "digits", "lost.png", "-m", "digits", "-f", "table", "-q").stdout
    assert resnest("convert", str(answers), "-f", "table").stdout == table
    assert [json.loads(line) for line in resnest("convert", str(answers)).stdout.splitlines()] == rows_of(answers)


def test_what_was_done_is_said(resnest: Resnest, answers: Path) -> None:
    said = resnest("convert", str(answers), "-o", "new.csv").stderr.splitlines()
    assert said == ["converting answers.jsonl ...", "new.csv: 13 rows, 1 of them failed."]
    said = resnest("convert", str(shutil.copy(answers, "moved.jsonl")), "-o", "new.tsv").stderr.splitlines()
    assert said[-1].endswith("Nothing says what made moved.jsonl, so predict cannot continue it.")


def test_sets_keep_their_names_as_far_as_rows_have_them(resnest: Resnest, tmp_path: Path) -> None:
    best = {"rank": 1, "index": 1, "wnid": None, "label": "one", "probability": 0.5}
    second = {"rank": 2, "index": 2, "wnid": None, "label": "two", "probability": 0.1}
    row: dict[str, Any] = {"path": "a", "status": "ok", "predictions": [best, second]}
    row |= {"set": [1, 7], "strangeness": 0.5, "abstained": True}
    (tmp_path / "a.json").write_text(json.dumps([row]))
    assert "one or class 7" in resnest("convert", str(tmp_path / "a.json"), "-f", "table").stdout


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    row = {"path": "a", "status": "ok", "predictions": []}
    peaks = []
    for count in (2_000, 20_000):
        (tmp_path / "a.jsonl").write_text(f"{json.dumps(row)}\n" * count)
        tracemalloc.start()
        convert(tmp_path / "a.jsonl", tmp_path / "b.html", overwrite=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_a_page_without_pictures_links_by_its_names(answers: Path, tmp_path: Path) -> None:
    convert(answers, "page.html")
    with chromium(tmp_path / "profile") as browser:
        browser.get(Path("page.html").resolve().as_uri())
        cards = browser.find_elements("tag name", "article")
        assert len(cards) == 13
        assert cards[0].text.splitlines()[:3] == ["digits/eight_0028.png", "eight", "96.0%"]
        assert cards[0].find_element("tag name", "a").get_attribute("href").endswith("/digits/eight_0028.png")
        assert browser.find_elements("tag name", "figure") == []
        assert cards[-1].text.splitlines() == ["lost.png", "UnreadableInput", "no such file."]
