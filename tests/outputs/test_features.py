"""Files of features that were made to do harm: bounded memory and time, an error in words, no answer from them."""

from __future__ import annotations

import json
import pickle
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from conftest import SAMPLES
from pyarrow import parquet

from resnest_cli.errors import ExitCode
from resnest_cli.inputs import columns

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Resnest

pytestmark = pytest.mark.usefixtures("decode_here")

SEVEN = SAMPLES / "seven_0081.png"


@pytest.fixture(scope="module")
def made(resnest: Resnest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with an index of one picture, four times."""
    folder = tmp_path_factory.mktemp("made")
    resnest("embed", *[SEVEN] * 4, "-m", "digits", "-o", folder / "index.npy", "-q")
    return folder


@pytest.fixture
def index(made: Path, tmp_path: Path) -> Path:
    """Return a copy of the index, to spoil it."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path / "index.npy"


def _with_facts(index: Path, **changes: object) -> None:
    facts = index.with_name("index.npy.json")
    facts.write_text(json.dumps(json.loads(facts.read_text()) | changes))


DEEP = b"[" * 200_000


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda index: _with_facts(index, width=10**12), "it must be a whole number from 1 to 65536"),
        (lambda index: _with_facts(index, width=-1), "it must be a whole number from 1 to 65536"),
        (lambda index: _with_facts(index, width="512"), "it must be a whole number from 1 to 65536"),
        (lambda index: _with_facts(index, width=1e999), "Infinity is no number"),
        (lambda index: _with_facts(index, width=7), "4 paths for 4 rows"),
        (lambda index: index.with_name("index.npy.json").write_bytes(DEEP), "cannot be read"),
        (lambda index: index.with_name("index.paths.jsonl").write_bytes(DEEP), "cannot be read"),
        (lambda index: index.with_name("index.paths.jsonl").write_bytes(b'{"path": 1}\n' * 4), "not a row"),
        (
            lambda index: index.with_name("index.paths.jsonl").write_bytes(b" " * (1 << 23)),
            "has a line of 2 MB or more",
        ),
        (
            lambda index: np.save(index, np.empty((4, 512), object), allow_pickle=True),
            "it is not an array that numpy wrote",
        ),
        (lambda index: np.save(index, np.zeros((4, 512), complex)), "it holds complex128"),
        (lambda index: np.save(index, np.zeros(4, np.float32)), "in 1 dimensions"),
        (lambda index: index.write_bytes(b"PK\x03\x04" + bytes(100)), "cannot be read"),
        (lambda index: index.write_bytes(pickle.dumps({})), "cannot be read"),
        (
            lambda index: index.write_bytes(index.read_bytes().replace(b"(4, 512)", b"(1000000000000, 512)")),
            "cannot be",
        ),
    ],
)
def test_an_index_that_lies_is_refused(
    spoil: Callable[[Path], object], said: str, resnest: Resnest, index: Path
) -> None:
    spoil(index)
    done = resnest("similar", SEVEN, "--index", index, "-q")
    assert done.exit_code == ExitCode.USAGE
    assert done.stderr.startswith(f"error: --index {index}")
    assert said in done.stderr


def test_rows_that_are_no_numbers_are_no_neighbours_and_no_warning(resnest: Resnest, index: Path) -> None:
    values = np.load(index)
    values[0], values[1], values[2] = np.nan, np.inf, 3e38
    np.save(index, values)
    done = resnest("similar", SEVEN, "--index", index, "-q", "-f", "json", "-k", "9", "--include-self")
    assert done.exit_code == ExitCode.OK, done.exception
    (answer,) = json.loads(done.stdout)
    assert sorted(near["row"] for near in answer["neighbours"]) == [3]


@pytest.mark.parametrize(
    "line", [DEEP, b" " * (1 << 23), b'{"path": "a", "embedding": ["x"]}', b'{"path": "a"}', b"[]"]
)
def test_lines_of_features_that_lie_are_refused(line: bytes, resnest: Resnest, index: Path, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(line + b"\n")
    shutil.copy(index.with_name("index.npy.json"), tmp_path / "x.jsonl.json")
    done = resnest("similar", SEVEN, "--index", tmp_path / "x.jsonl", "-q")
    assert done.exit_code == ExitCode.USAGE
    assert " cannot be read (" in done.stderr


HEADER = b",".join(
    [b"path", b"status", *(b"feature_%d" % number for number in range(512)), b"error_type,error_message"]
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "its columns are not path, status, 512 features, error_type, error_message"),
        (HEADER.replace(b"feature_7,", b""), "its columns are not path, status, 512 features,"),
        (HEADER + b"\na,ok,1,2,,", "row 1 has 6 cells of 516"),
        (HEADER + b"\na,ok" + b",1" * 511 + b",x,,", "could not convert string to float: 'x'"),
        (HEADER + b"\na,ok" + b",1" * 511 + b",,,", "could not convert string to float: ''"),
        (HEADER + b"\n" + b'"' + b"\n" * 200_000, "field larger than field limit (131072)"),
        (b" " * (1 << 23), "has a line of 2 MB or more"),
        (HEADER + b"\na,ok" + b",1" * 512 + b",,", ""),
    ],
)
def test_csv_files_of_features_that_lie_are_refused(
    text: bytes, said: str, resnest: Resnest, index: Path, tmp_path: Path
) -> None:
    (tmp_path / "x.csv").write_bytes(text + b"\n")
    shutil.copy(index.with_name("index.npy.json"), tmp_path / "x.csv.json")
    done = resnest("similar", SEVEN, "--index", tmp_path / "x.csv", "-q")
    assert (done.exit_code, said in done.stderr) == (ExitCode.USAGE if said else ExitCode.OK, True)


@pytest.mark.parametrize(
    ("embeddings", "said"),
    [
        ([[1.0], [1.0, 2.0]], "the rows of its column embedding have 1 and 2 numbers"),
        ([["a"], ["b"]], "its column embedding holds list<element: string>"),
        (["a", "b"], "cannot be read ("),
        ([[[1.0]], [[2.0]]], "its column embedding holds list<element: list<element: double>>"),
        ([[1.0] * 512, [1.0] * 512], ""),
    ],
)
def test_parquet_files_of_features_that_lie_are_refused(
    embeddings: list[object], said: str, resnest: Resnest, index: Path, tmp_path: Path
) -> None:
    facts = {"resnest": index.with_name("index.npy.json").read_bytes()}
    table = pa.table({"path": ["a", "b"], "embedding": embeddings}).replace_schema_metadata(facts)
    parquet.write_table(table, tmp_path / "x.parquet")
    done = resnest("similar", SEVEN, "--index", tmp_path / "x.parquet", "-q")
    assert (done.exit_code, said in done.stderr) == (ExitCode.USAGE if said else ExitCode.OK, True)


def test_features_that_take_no_room_are_refused_where_they_are_too_many(
    resnest: Resnest, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "LIMITS", columns.Limits(bytes=1 << 20))
    values = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(512 * 4096, np.float32)), 512)
    facts = {"resnest": index.with_name("index.npy.json").read_bytes()}
    table = pa.table({"path": ["a"] * 4096, "embedding": values}).replace_schema_metadata(facts)
    parquet.write_table(table, tmp_path / "x.parquet", compression="zstd")
    done = resnest("similar", SEVEN, "--index", tmp_path / "x.parquet", "-q")
    assert done.exit_code == ExitCode.USAGE
    assert "cannot be read (it has 1,024 rows or more, of 2 MB, in a file of" in done.stderr
