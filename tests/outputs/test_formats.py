"""Records as bytes: whole outputs, exact numbers, hostile names, and files that are complete or not there."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest

from resnest_cli.errors import OutputError
from resnest_cli.outputs.formats import FORMATS
from resnest_cli.outputs.rows import About, to_row
from resnest_cli.outputs.streams import open_output
from resnest_cli.outputs.summary import Summary
from resnest_cli.tasks.ranking import _exact
from resnest_cli.types import Failure, Prediction, Record, Result, Stages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Shell

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
    FORMATS[format].write(map(to_row, records), out, About(topk, {}))
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


def test_tsv_is_the_table_of_csv_with_tabs() -> None:
    odd = [*RECORDS, Failure("tab\there\n.jpg", "BrokenImage", "=1")]
    cells = [list(csv.reader(io.StringIO(written(odd, "csv").decode(), newline="")))]
    cells += [list(csv.reader(io.StringIO(written(odd, "tsv").decode(), newline=""), delimiter="\t"))]
    assert cells[0] == cells[1]
    assert written(RECORDS[:1], "tsv").decode().splitlines()[1] == (
        "a/dog.jpg\tok\t258\tn02111889\tSamoyed\t0.64251965\t9\t\ta, b\t0.1\t\t"
    )


@pytest.mark.parametrize("format", ["jsonl", "json", "csv", "tsv"])
def test_rows_are_out_before_the_next_record_is_asked_for(format: str) -> None:
    out = io.BytesIO()

    def watch() -> Iterator[Record]:
        yield RECORDS[0]
        assert b"Samoyed" in out.getvalue()
        yield RECORDS[1]

    FORMATS[format].write(map(to_row, watch()), out, About(2, {}))
    assert b"a/bad.jpg" in out.getvalue()


def test_probabilities_read_back_as_the_very_float32() -> None:
    for value in np.random.default_rng(0).random(500, np.float32):
        record = Result("x", (Prediction(1, 0, None, "x", _exact(value)),))
        (line,) = written([record], "jsonl").splitlines()
        (row,) = csv.DictReader(io.StringIO(written([record], "csv", 1).decode()))
        assert np.float32(json.loads(line)["predictions"][0]["probability"]) == value
        assert np.float32(row["probability_1"]) == value
        assert len(row["probability_1"]) <= len("1.2345678e-05")


def test_bytes_that_are_not_utf8_are_kept() -> None:
    name = os.fsdecode(b"\xff\xe9.jpg")
    record = Failure(name, "NotAnImage", "no.")
    line = written([record], "jsonl")
    assert os.fsencode(json.loads(line)["path"]) == b"\xff\xe9.jpg"
    assert line.decode("ascii").startswith(r'{"path": "\udcff\udce9.jpg"')
    assert b"\n\xff\xe9.jpg,error" in written([record], "csv", 1)


NAMES = [
    *(
        "line\nbreak.jpg",
        "\rreturn.jpg",
        "\x1b[31mred.jpg",
        "\u202egpj.exe",
        "a[/].jpg",
        ":smile:.jpg",
        "-x.jpg",
        "=cmd|' /C'!A0",
    ),
    *(
        "+1",
        "@x",
        "\ttab",
        "\uff1dx",
        "'quoted'",
        "''",
        'com,ma"',
        "a\rb",
        "\\udcff.jpg",
        "C:\\x.jpg",
        "\\\\udc",
        "x" * 255,
        "-",
    ),
    *(os.fsdecode(name) for name in (b"\xff\xe9.jpg", b"=\xff", b"\\\xff\\udcff", b"\xed\xb3\xbf")),
]


def test_names_of_every_kind_read_back_from_every_format() -> None:
    records: list[Record] = [Failure(name, "NotAnImage", "no.") for name in NAMES]
    assert [row["path"] for row in map(json.loads, written(records, "jsonl").splitlines())] == NAMES
    assert [row["path"] for row in json.loads(written(records, "json"))] == NAMES
    text = io.StringIO(written(records, "csv", 1).decode("utf-8", "surrogateescape"), newline="")
    cells = [row["path"] for row in csv.DictReader(text)]
    assert [cell.removeprefix("'") for cell in cells] == NAMES
    assert [cell for cell in cells if cell[0] in "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"] == []
    stored = pq.read_table(io.BytesIO(written(records, "parquet")))["path"].to_pylist()
    assert [json.loads(f'"{path}"') if r"\udc" in path else path for path in stored] == NAMES
    assert r"C:\x.jpg" in stored


def test_class_names_of_every_kind_are_written_by_every_format() -> None:
    hostile = "=\ud800</script>\n\"'"
    records: list[Record] = [Result("x", (Prediction(1, 0, None, hostile, 1.0),)), Failure("y", "BrokenImage", hostile)]
    shown = "=\\ud800</script>\n\"'"
    (row, _) = csv.DictReader(io.StringIO(written(records, "csv", 1).decode(), newline=""))
    assert row["label_1"] == f"'{shown}"
    table = pq.read_table(io.BytesIO(written(records, "parquet"))).to_pylist()
    assert (table[0]["predictions"][0]["label"], table[1]["error_message"]) == (shown, shown)
    assert json.loads(written(records, "json"))[0]["predictions"][0]["label"] == hostile
    assert b"</script>\\n" not in written(records, "html")


def test_parquet_has_the_columns_of_the_contract_and_says_what_made_it() -> None:
    facts = {"model": "m", "weights": "ab", "preprocessing": {"crop_pct": 0.875}, "versions": {"python": "3"}}
    out = io.BytesIO()
    FORMATS["parquet"].write(map(to_row, RECORDS * 3000), out, About(2, facts))
    table = pq.read_table(out)
    assert [f"{field.name}: {field.type}" for field in table.schema] == [
        "path: string",
        "status: string",
        (
            "predictions: list<element: "
            "struct<rank: int32, index: int32, wnid: string, label: string, probability: float>>"
        ),
        "error_type: string",
        "error_message: string",
    ]
    assert json.loads(table.schema.metadata[b"resnest"]) == facts
    rows = table.to_pylist()
    assert (len(rows), rows[:3]) == (9000, rows[-3:])
    for row, record in zip(rows, RECORDS, strict=False):
        error = {"type": row["error_type"], "message": row["error_message"]} if row["error_type"] else None
        for prediction in row["predictions"]:
            prediction["probability"] = _exact(np.float32(prediction["probability"]))
        assert (row["path"], row["status"], row["predictions"], error) == tuple(
            to_row(record).get(name) for name in ("path", "status", "predictions", "error")
        )


@pytest.mark.parametrize("command", ["predict", "embed"])
def test_parquet_without_pyarrow_is_told_before_anything_is_read(command: str, shell: Shell) -> None:
    program = "import sys; sys.modules['pyarrow'] = None; from resnest_cli.cli import main; main()"
    ended = shell(sys.executable, "-c", program, command, "x.png", "-m", "resnest101e", "-o", "x.parquet")
    assert ended.returncode == 2
    assert (
        ended.stderr == b"error: Parquet needs pyarrow, which is not installed: pip install 'resnest-cli[parquet]'.\n"
    )


def test_summary_counts_what_passes_and_what_its_consumer_takes() -> None:
    summary = Summary()
    assert list(summary.watch(iter(RECORDS))) == RECORDS
    assert (summary.ok, summary.failed, summary.failures) == (2, 1, {"TruncatedImage": 1})
    assert 0 < summary.stages.write <= summary.seconds


def test_the_summary_says_what_failed_and_where_the_time_went() -> None:
    summary = Summary(Stages(read=0.5, decode=20, write=1.25))
    for error in (*["NotAnImage"] * 2, "TimedOut", *[None] * 1197):
        summary.count(error)
    summary.seconds = 40.0
    failed = "3 of 1,200 inputs failed: NotAnImage 2, TimedOut 1."
    assert summary.words().splitlines() == ["1,200 inputs in 40.0 s, 30.0/s.", failed]
    summary.output = Path("a.csv")
    counts = "ok=1197, failures={'NotAnImage': 2, 'TimedOut': 1}, earlier=0, complete=False"
    assert repr(summary) == f"Summary({counts}, output='a.csv')"
    assert summary.words().splitlines() == ["wrote a.csv, 1,200 rows, in 40.0 s, 30.0/s.", failed]
    assert summary.times() == "time by stage: read 0.50 s, decode 20.00 s, write 1.25 s."
    summary.output, summary.earlier = None, 1000
    assert summary.words().splitlines()[0] == "200 inputs in 40.0 s, 5.0/s after 1,000 done before."


def test_a_file_that_exists_is_left_alone_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("precious")
    with (
        pytest.raises(OutputError, match=r"out\.jsonl exists; add overwrite=True"),
        open_output(path, overwrite=False),
    ):
        pass
    assert path.read_text() == "precious"
    with open_output(path, overwrite=True) as out:
        out.write(b"new")
    assert path.read_text() == "new"


def test_an_output_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="No such file or directory"),
        open_output(tmp_path / "no" / "x", overwrite=False),
    ):
        pass
