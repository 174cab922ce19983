"""Rows that are read back are the rows that were written, whatever the format."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from conftest import SAMPLES
from drawn_rows import FACTS, files
from hypothesis import HealthCheck, given, settings

from resnest_cli import Classifier
from resnest_cli.errors import UsageError
from resnest_cli.outputs.formats import FORMATS
from resnest_cli.outputs.reading import Results
from resnest_cli.outputs.rows import About

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("format", FORMATS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(written=files())
def test_what_is_read_is_what_was_written(tmp_path: Path, format: str, written: tuple[list[Any], About]) -> None:
    rows, about = written
    file = tmp_path / f"rows.{format}"
    with file.open("wb") as out:
        FORMATS[format].write(rows, out, about)
    found = Results(file)
    assert list(found.rows()) == rows
    assert found.about.facts == (FACTS if FORMATS[format].has_facts else {})
    assert found.about.topk == max((len(row["predictions"]) for row in rows), default=0)


@pytest.mark.parametrize("format", FORMATS)
def test_a_finished_job_is_known_whole(tmp_path: Path, format: str) -> None:
    file, lost = tmp_path / f"rows.{format}", tmp_path / "lost.png"
    with Classifier("digits", device="cpu", thumbnails=format == "html") as model:
        model.write([SAMPLES / "two_0051.png", lost], file, topk=3)
        records = [*model.predict([SAMPLES / "two_0051.png", lost], topk=3)]
    found = Results(file)
    good, bad = found.rows()
    assert [each["label"] for each in good["predictions"]] == [each.label for each in records[0].predictions]
    assert [each["probability"] for each in good["predictions"]] == [
        each.probability for each in records[0].predictions
    ]
    assert (bad["path"], bad["error"]["type"]) == (str(lost), "UnreadableInput")
    assert ("thumbnail" in good) == (format == "html")
    assert (found.about.topk, found.about.is_calibrated, found.about.facts["model"]) == (3, False, "digits")
    assert found.finished is not None
    assert found.finished.settings["format"] == format


def test_an_array_that_another_program_has_laid_out_is_read(tmp_path: Path) -> None:
    rows = [{"path": "a", "status": "ok", "predictions": []}]
    (tmp_path / "rows.json").write_text(json.dumps(rows, indent=2))
    assert list(Results(tmp_path / "rows.json").rows()) == rows


def test_the_record_knows_the_format_of_an_odd_suffix(tmp_path: Path) -> None:
    with Classifier("digits", device="cpu") as model:
        model.write([SAMPLES / "two_0051.png"], tmp_path / "rows.txt", format="jsonl")
        model.write([SAMPLES / "two_0051.png"], tmp_path / "rows.csv", format="jsonl")
    assert list(Results(tmp_path / "rows.csv").rows()) == list(Results(tmp_path / "rows.txt").rows())


def test_a_changed_file_is_known_by_what_it_says_itself(tmp_path: Path) -> None:
    with Classifier("digits", device="cpu") as model:
        model.write([SAMPLES / "two_0051.png"], tmp_path / "rows.jsonl", topk=3)
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write('{"path": "b", "status": "ok", "predictions": []}\n')
    found = Results(tmp_path / "rows.jsonl")
    assert (found.finished, found.about) == (None, About(3, {}))


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("x.jsonl", b'{"path": "a"}\n', "after row 0"),
        ("x.jsonl", b'{"path": "a", "status": "ok", "predictions": []}\n[1]\n', "after row 1"),
        ("x.jsonl", b'{"path": "a", "status": "ok", "predictions": [{"rank": "1"}]}\n', "no row of predictions"),
        ("x.jsonl", b'{"path": "a", "status": "ok", "predictions": []', "cannot be read"),
        ("x.json", b'[\n{"path": "a", "status": "ok", "predictions": []}', "its end is missing"),
        ("x.json", b"5", "it is no array"),
        ("x.csv", b'path,status,error_type,error_message\n"a', "its end is missing"),
        ("x.csv", b"path,status,error_type,error_message\na\n", "what follows is no row of predictions"),
        ("x.csv", b"a,b\n1,2\n", "its first line is not that of rows of predictions"),
        ("x.tsv", b"", "its first line is not that of rows of predictions"),
        (
            "x.html",
            b'id="rows">[\n{"path": "a", "status": "ok", "predictions": [], "heat": ""}\n]</script>\n',
            "explain",
        ),
        (
            "x.csv",
            b"path,status,index_1,wnid_1,label_1,probability_1,error_type,error_message\na,ok,x,,b,1,,\n",
            "read",
        ),
        ("x.parquet", b"PAR1", "cannot be read"),
        ("x.html", b"<html></html>\n", "no page of predictions"),
        ("x.html", b'id="rows">[\n{"path": "a", "status": "ok", "predictions": []}\n', "its end is missing"),
        ("x.png", b"", "its suffix names no format"),
    ],
)
def test_what_is_no_file_of_rows_is_said(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError) as raised:
        list(Results(tmp_path / name).rows())
    assert str(tmp_path / name) in raised.value.message
    assert why.replace("after row 0", "at its beginning") in raised.value.message


def test_a_file_that_is_not_there_or_not_finished_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"x\.csv: no such file"):
        Results(tmp_path / "x.csv")
    (tmp_path / "x.csv").touch()
    (tmp_path / "x.csv.resume.json").touch()
    with pytest.raises(UsageError, match=r"x\.csv: it is not finished; "):
        Results(tmp_path / "x.csv")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(UsageError, match="it is no file"):
        Results(tmp_path / "folder.json")
