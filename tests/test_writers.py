"""Records as bytes: whole outputs, exact numbers, hostile names, and files that are complete or not there."""

from __future__ import annotations

import csv
import io
import json
import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from resnest_cli.errors import OutputError
from resnest_cli.predict import _exact
from resnest_cli.types import Failure, Prediction, Record, Result
from resnest_cli.writers import WRITERS, About, Summary, open_output, to_row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RECORDS: list[Record] = [
    Result("a/dog.jpg", (Prediction(1, 258, "n02111889", "Samoyed", 0.64251965), Prediction(2, 9, None, "a, b", 0.1))),
    Failure("a/bad.jpg", "TruncatedImage", 'the "end" is missing.'),
    Result("none.jpg", ()),
]
JSONL = """\
{"path": "a/dog.jpg", "status": "ok", "predictions": [\
{"rank": 1, "index": 258, "wnid": "n02111889", "label": "Samoyed", "probability": 0.64251965}, \
{"rank": 2, "index": 9, "wnid": null, "label": "a, b", "probability": 0.1}]}
{"path": "a/bad.jpg", "status": "error", "predictions": [], \
"error": {"type": "TruncatedImage", "message": "the \\"end\\" is missing."}}
{"path": "none.jpg", "status": "ok", "predictions": []}
"""
CSV = """\
path,status,index_1,wnid_1,label_1,probability_1,index_2,wnid_2,label_2,probability_2,error_type,error_message
a/dog.jpg,ok,258,n02111889,Samoyed,0.64251965,9,,"a, b",0.1,,
a/bad.jpg,error,,,,,,,,,TruncatedImage,"the ""end"" is missing."
none.jpg,ok,,,,,,,,,,
"""


def written(records: list[Record], format: str, topk: int = 2) -> bytes:
    out = io.BytesIO()
    WRITERS[format](map(to_row, records), out, About(topk, {}))
    return out.getvalue()


def test_jsonl_is_one_object_a_line() -> None:
    assert written(RECORDS, "jsonl").decode() == JSONL
    assert written([], "jsonl") == b""


def test_json_is_the_array_of_the_same_objects() -> None:
    assert json.loads(written(RECORDS, "json")) == [json.loads(line) for line in JSONL.splitlines()]
    assert json.loads(written([], "json")) == []


def test_csv_has_a_column_for_every_rank() -> None:
    assert written(RECORDS, "csv").decode() == CSV
    assert (
        written([], "csv", 1).decode() == "path,status,index_1,wnid_1,label_1,probability_1,error_type,error_message\n"
    )


@pytest.mark.parametrize("format", ["jsonl", "json", "csv"])
def test_rows_are_out_before_the_next_record_is_asked_for(format: str) -> None:
    out = io.BytesIO()

    def watch() -> Iterator[Record]:
        yield RECORDS[0]
        assert b"Samoyed" in out.getvalue()
        yield RECORDS[1]

    WRITERS[format](map(to_row, watch()), out, About(2, {}))
    assert b"a/bad.jpg" in out.getvalue()


def test_probabilities_read_back_as_the_very_float32() -> None:
    for value in np.random.default_rng(0).random(500, np.float32):
        record = Result("x", (Prediction(1, 0, None, "x", _exact(value)),))
        (line,) = written([record], "jsonl").splitlines()
        (row,) = csv.DictReader(io.StringIO(written([record], "csv", 1).decode()))
        assert np.float32(json.loads(line)["predictions"][0]["probability"]) == value
        assert np.float32(row["probability_1"]) == value
        assert len(row["probability_1"]) <= len("1.2345678e-05")


@pytest.mark.parametrize("name", ['quo"te,comma.jpg', "line\nbreak.jpg", "naïve 犬.jpg", "\x1b[31mred.jpg"])
def test_names_of_every_kind_read_back(name: str) -> None:
    record = Failure(name, "NotAnImage", "no.")
    assert json.loads(written([record], "jsonl"))["path"] == name
    (row,) = csv.DictReader(io.StringIO(written([record], "csv", 1).decode(), newline=""))
    assert row["path"] == name


def test_bytes_that_are_not_utf8_are_kept() -> None:
    name = os.fsdecode(b"\xff\xe9.jpg")
    record = Failure(name, "NotAnImage", "no.")
    line = written([record], "jsonl")
    assert os.fsencode(json.loads(line)["path"]) == b"\xff\xe9.jpg"
    assert line.decode("ascii").startswith(r'{"path": "\udcff\udce9.jpg"')
    assert b"\n\xff\xe9.jpg,error" in written([record], "csv", 1)


def test_summary_counts_what_passes() -> None:
    summary = Summary()
    assert list(summary.watch(iter(RECORDS))) == RECORDS
    assert (summary.ok, summary.failed) == (2, 1)


def test_a_file_that_exists_is_left_alone_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("precious")
    with (
        pytest.raises(OutputError, match=r"out\.jsonl exists; add --overwrite"),
        open_output(path, overwrite=False, whole=False),
    ):
        pass
    assert path.read_text() == "precious"
    with open_output(path, overwrite=True, whole=False) as out:
        out.write(b"new")
    assert path.read_text() == "new"


def test_a_format_that_needs_its_end_gets_its_name_only_then(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    stop = pytest.raises(KeyboardInterrupt)
    with stop, open_output(path, overwrite=False, whole=True) as out:
        out.write(b"[\n")
        raise KeyboardInterrupt
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.json.part"]
    with open_output(path, overwrite=False, whole=True) as out:
        out.write(b"[]\n")
        assert not path.exists()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("out.json", "[]\n")]


def test_an_output_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="No such file or directory"),
        open_output(tmp_path / "no" / "x", overwrite=False, whole=False),
    ):
        pass
