"""What rows say of a calibrated answer, in every format; rows without a calibration are as they were."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from resnest_cli.outputs.answers import in_words, lines
from resnest_cli.outputs.formats import FORMATS
from resnest_cli.outputs.resumable import ResumableFile
from resnest_cli.outputs.rows import About, to_row
from resnest_cli.outputs.summary import Summary
from resnest_cli.text.layout import Screen
from resnest_cli.types import Certainty, Failure, Prediction, Record, Result, Source

if TYPE_CHECKING:
    from pathlib import Path

SURE = Certainty((3,), ("three",), 0.25, abstained=False)
SEVERAL = Certainty((3, 8, 5), ("three", "eight", "five"), 0.5, abstained=True)
STRANGE = Certainty((3,), ("three",), 0.9944444, abstained=True)


def answer(path: str, certainty: Certainty | None) -> Result:
    return Result(path, (Prediction(1, 3, None, "three", 0.75),), certainty=certainty)


RECORDS: list[Record] = [
    answer("a.png", SURE),
    answer("b.png", SEVERAL),
    Failure("c.png", "BrokenImage", "no."),
    answer("d.png", STRANGE),
]
CSV = """\
path,status,index_1,wnid_1,label_1,probability_1,set,strangeness,abstained,error_type,error_message
a.png,ok,3,,three,0.75,3,0.25,false,,
b.png,ok,3,,three,0.75,3;8;5,0.5,true,,
c.png,error,,,,,,,,BrokenImage,no.
d.png,ok,3,,three,0.75,3,0.9944444,true,,
"""
JSONL = """\
{"path": "a.png", "status": "ok", "predictions": [{"rank": 1, "index": 3, "wnid": null, "label": "three", \
"probability": 0.75}], "set": [3], "strangeness": 0.25, "abstained": false}
{"path": "b.png", "status": "ok", "predictions": [{"rank": 1, "index": 3, "wnid": null, "label": "three", \
"probability": 0.75}], "set": [3, 8, 5], "strangeness": 0.5, "abstained": true}
{"path": "c.png", "status": "error", "predictions": [], "error": {"type": "BrokenImage", "message": "no."}}
{"path": "d.png", "status": "ok", "predictions": [{"rank": 1, "index": 3, "wnid": null, "label": "three", \
"probability": 0.75}], "set": [3], "strangeness": 0.9944444, "abstained": true}
"""
ABOUT = About(1, {}, is_calibrated=True)


def written(format: str) -> bytes:
    out = io.BytesIO()
    kind = FORMATS[format]
    kind.write(map(kind.to_row, RECORDS), out, ABOUT)
    return out.getvalue()


def test_rows_say_it_in_text() -> None:
    assert written("csv").decode() == CSV
    assert written("tsv").decode() == CSV.replace(",", "\t")
    assert written("jsonl").decode() == JSONL
    assert json.loads(written("json")) == [json.loads(line) for line in JSONL.splitlines()]


def test_parquet_has_the_columns_before_the_error() -> None:
    table = pq.read_table(io.BytesIO(written("parquet")))
    assert [f"{field.name}: {field.type}" for field in table.schema][3:] == [
        *("set: list<element: int32>", "strangeness: float", "abstained: bool"),
        *("error_type: string", "error_message: string"),
    ]
    found = [(row["set"], row["strangeness"], row["abstained"]) for row in table.to_pylist()]
    assert found == [
        *(([3], 0.25, False), ([3, 8, 5], 0.5, True)),
        *((None, None, None), ([3], pytest.approx(0.9944444, abs=1e-7), True)),
    ]


def test_the_page_has_the_names_of_a_set() -> None:
    page = written("html").decode()
    assert '"set": [3, 8, 5], "strangeness": 0.5, "abstained": true' in page
    assert '"set_labels": ["three", "eight", "five"]' in page


def test_without_a_calibration_no_row_changes() -> None:
    assert to_row(answer("x", None)).keys() == {"path", "status", "predictions"}


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet", "html"])
def test_a_stopped_job_continues(format: str, tmp_path: Path) -> None:
    path, kind = tmp_path / "out", FORMATS[format]
    for stop, resume in ((2, False), (None, True)):
        with ResumableFile(path, kind, resume=resume) as out:
            out.begin(ABOUT, {"model": "m"}, 1)
            list(out.rest((Source(record.path) for record in RECORDS), lambda _: None))
            out.write(map(kind.to_row, RECORDS[out.done : stop]))
            if stop is None:
                out.finish()
    if format == "parquet":
        assert pq.read_table(path).equals(pq.read_table(io.BytesIO(written(format))))
    else:
        assert path.read_bytes() == written(format)


@pytest.mark.parametrize(
    ("certainty", "words"),
    [
        (SURE, "sure"),
        (SEVERAL, "unsure: three, eight or five"),
        (STRANGE, "strange: stranger than 99.4% of the calibration images"),
        (Certainty(tuple(range(40)), tuple("abcdefghij" * 4), 0.1, abstained=True), "unsure: a, b, c, d, e or 35 more"),
        (Certainty((1, 2), ("a", "b"), 1.0, abstained=True), "unsure: a or b"),
    ],
)
def test_a_person_reads_it_in_words(certainty: Certainty, words: str) -> None:
    assert in_words(certainty) == words


def test_a_table_has_a_line_for_it() -> None:
    screen = Screen()
    shown = [*lines(answer("b.png", SEVERAL), screen)]
    assert shown[-1] == "    unsure: three, eight or five"
    (line,) = lines(answer("b.png", SEVERAL), screen, single=True)
    assert line.split() == ["b.png", "three", "(unsure)", "75.00%"]
    (line,) = lines(answer("a.png", SURE), screen, single=True)
    assert line.split() == ["a.png", "three", "75.00%"]
    assert len([*lines(answer("x.png", None), screen)]) == len([*lines(answer("a.png", SURE), screen)]) - 1


def test_a_summary_counts_the_unsure_and_tells_of_another_world() -> None:
    summary = Summary()
    list(summary.watch(RECORDS))
    assert summary.certainty() == "unsure of 2 of 3 answers (66.7%)."
    another = Summary()
    list(another.watch([answer("x", STRANGE)] * 10))
    assert another.certainty() == (
        "unsure of 10 of 10 answers (100.0%).\n"
        "these images are unlike those of the calibration: mean strangeness 0.99, where 0.5 is usual. Its promise does "
        "not hold here: calibrate with labeled images like these."
    )
    plain = Summary()
    list(plain.watch([answer("x", None)]))
    assert plain.certainty() == ""
