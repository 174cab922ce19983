"""Cells that a spreadsheet will open: no name is a formula there, numbers stay numbers, and names come back."""

from __future__ import annotations

import csv
import json
import shutil
from typing import TYPE_CHECKING

import pytest
from conftest import SAMPLES

from resnest_cli.inputs import tables
from resnest_cli.inputs.labelled import training_set
from resnest_cli.inputs.labelled.training_set import TrainingSet
from resnest_cli.inputs.tables import Example
from resnest_cli.tasks.bench import rows as bench
from resnest_cli.text import cells
from resnest_cli.training import report

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Resnest

pytestmark = pytest.mark.usefixtures("decode_here")

FORMULAS = (
    *("=1+2", '=HYPERLINK("http://127.0.0.1/?"&A1)', "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\u00a0=1"),
    *("\ufeff=1", "\u200b=1", "\x00=1", " \n +1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff20x", "\ufe661", "\u22121"),
    *("'", "'=1", "''=1", "=cmd|' /C calc'!A0", "\u202e=1"),
)
NAMES = ("seven", "a=b", "it's", "1-2", "rock 'n' roll", "a,b", 'a"b', "\u2014", "\U0001f44d", "")


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_no_text_is_a_formula_and_all_of_it_comes_back(name: str, delimiter: str) -> None:
    (row,) = csv.reader([cells.line([name, "x"], delimiter)], delimiter=delimiter)
    assert row == [f"'{name}", "x"]
    assert cells.unescape(row[0]) == name


@pytest.mark.parametrize("name", NAMES)
def test_other_names_are_as_they_are(name: str) -> None:
    (row,) = csv.reader([cells.line([name, "x"])])
    assert row == [name, "x"]
    assert cells.unescape(name) == name


def test_numbers_are_numbers() -> None:
    import numpy as np

    numbers = [-1, -0.5, np.float32(-0.25), np.int64(-3), True, None, float("-inf")]
    assert cells.line(numbers) == "-1,-0.5,-0.25,-3,True,,-inf\n"


def test_a_name_that_has_no_bytes_is_escaped_and_one_of_any_bytes_keeps_them() -> None:
    assert cells.line(["\ud800=", "\udcff"]).encode("utf-8", "surrogateescape") == b"\\ud800=,\xff\n"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Make a model whose classes are formulas."""
    shutil.copytree(SAMPLES.parent, tmp_path / "=model", ignore=shutil.ignore_patterns("samples"))
    (tmp_path / "=model" / "labels.txt").unlink(missing_ok=True)
    config = json.loads((tmp_path / "=model" / "config.json").read_text())
    config["label_names"] = ["=1+2", "+1", "-1", "@x", "\uff1d1", " =1", "'", "\ud800", "\udcff", "plain"]
    (tmp_path / "=model" / "config.json").write_text(json.dumps(config))
    return tmp_path / "=model"


HARMLESS = ["'=1+2", "'+1", "'-1", "'@x", "'\uff1d1", "' =1", "''", "\\ud800", "\\udcff", "plain"]


def read(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_what_validate_writes_has_no_formulas(resnest: Resnest, model: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"path,label\n{SAMPLES}/six_0034.png,6\n{SAMPLES}/two_0051.png,0\n")
    per_class, matrix = tmp_path / "classes.csv", tmp_path / "confusion.csv"
    ended = resnest("validate", tmp_path / "list.csv", "-m", model, "--per-class", per_class, "--confusion", matrix)
    assert ended.exit_code == 0, ended.output
    table = read(per_class)
    assert [row[table[0].index("label")] for row in table[1:]] == HARMLESS
    assert table[1][table[0].index("mistaken_for_label")] == "'-1"
    assert [row[2] for row in read(matrix)[1:]] == HARMLESS


def test_what_show_and_bench_and_predict_write_has_no_formulas(resnest: Resnest, model: Path) -> None:
    (model / "=x.png").write_bytes((SAMPLES / "six_0034.png").read_bytes())
    ended = resnest("predict", "./=x.png", SAMPLES / "two_0051.png", "-m", model, "-f", "csv", "-k", "1")
    assert "'-1" in ended.stdout
    shown = dict(csv.reader(resnest("show", model, "-f", "csv").stdout.splitlines()))
    assert shown["label_names"].startswith("'=1+2")
    assert shown["num_classes"] == "10"
    table = bench.to_csv([{"model": "=m", "rate": -0.5, "step": {"p50": -1}, "error": "-x"}], delimiter="\t")
    assert table == "model\trate\tstep_p50\terror\n'=m\t-0.5\t-1\t'-x\n"


def test_a_split_has_no_formulas_and_comes_back(tmp_path: Path) -> None:
    names = [name.strip(" ") for name in FORMULAS if name.isprintable()]
    examples = tuple(Example(f"/data/{name}/\udcff.png", name, "train", "", "") for name in names)
    training_set.write(tmp_path / "split.csv", TrainingSet(tuple(sorted(set(names))), examples))
    text = (tmp_path / "split.csv").read_text(encoding="utf-8", errors="surrogateescape")
    assert {row[1][0] for row in csv.reader(text.splitlines()[1:])} == {"'"}
    assert training_set.read(tmp_path / "split.csv").examples == examples
    assert [row.label for row in tables.read(tmp_path / "split.csv")] == names


def test_rows_of_others_are_read_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label\n'a.png,it's\n=a.png,=b\n")
    assert [*tables.read(tmp_path / "list.csv")] == [Example("'a.png", "it's"), Example("=a.png", "=b")]


def test_a_history_is_a_table_of_numbers(tmp_path: Path) -> None:
    report.write_history(tmp_path, [{"stage": "=head", "val_loss": -1.5}, {"stage": "2", "val_loss": float("nan")}])
    assert (tmp_path / "history.csv").read_text() == "stage,val_loss\n'=head,-1.5\n2,nan\n"
