"""Parquet files and lists that were made to do harm: bounded time and memory, an error in words."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from conftest import SAMPLES
from pyarrow import parquet

from resnest_cli.errors import ExitCode, ResnestError, UnreadableInput, UsageError
from resnest_cli.inputs import columns, tables

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Resnest

MB = 1 << 20
SEVEN = str(SAMPLES / "seven_0081.png")


def repeated(value: object, times: int) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Return a column that holds one value, and says of each row that it is that."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * times, pa.int32()), pa.array([value]))


def written(path: Path, /, **named: Any) -> str:  # noqa: ANN401 - columns
    parquet.write_table(pa.table(named), path, compression="zstd", store_schema=False)
    return str(path)


def read(path: str) -> list[str]:
    return list(columns.index(path))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.parquet"


@pytest.mark.parametrize("in_dictionary", [True, False])
def test_a_name_that_no_file_has_is_refused_before_it_is_repeated(path: Path, in_dictionary: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Two kilobytes that hold 65,536 names of 64 MB took the process of the job to 6 GB."""
    names = repeated("n" * MB, 65_536) if in_dictionary else ["a.png", "n" * MB]
    with pytest.raises(
        ResnestError, match=r"x.parquet: it cannot be read to its end: a text in its column path has more"
    ):
        read(written(path, path=names))


@pytest.mark.slow
def test_what_needs_too_much_memory_ends_its_reader_at_most(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "LIMITS", columns.Limits(memory=200 * MB))
    with pytest.raises(ResnestError, match=r"cannot be read to its end: it (needs more than|ends the process)"):
        read(written(path, path=["n" * 100 * MB]))


@pytest.mark.parametrize("value", ["a.png", None])
def test_rows_that_take_no_room_are_refused_where_they_are_too_many(
    path: Path, value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "LIMITS", columns.Limits(rows=2000))
    names = pa.array([None] * 100_000, pa.string()) if value is None else repeated(value, 100_000)
    found = columns.index(written(path, path=names, other=["x"] * 100_000))
    with pytest.raises(
        ResnestError, match=r"it cannot be read to its end: it has .* rows or more, of 0 MB, in a file of"
    ):
        for _ in found:
            pass


def test_numbers_that_take_no_room_are_refused_where_they_are_too_many(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "LIMITS", columns.Limits(bytes=MB))
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(50_000 * 64, np.float32)), 64)
    with (
        columns.opened(written(path, vector=vectors)) as file,
        pytest.raises(ValueError, match=r"it has .* rows or more, of [1-9]\d* MB, in a file of"),
    ):
        for _ in file.rows(["vector"]):
            pass


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([1, 2], "row 1 holds 1, and no name"),
        ([b"a.png"], "its column path holds binary"),
        ([["a.png"]], "its column path holds list<element: string>"),
        ([{"a": "b"}], "holds struct<a: string>"),
        ([[[[[1.0]]]]], "holds list<element: list<"),
    ],
)
def test_columns_that_hold_no_names_are_refused(path: Path, names: list[object], said: str, resnest: Resnest) -> None:
    done = resnest("predict", "--files-from", written(path, path=names), "-m", "digits", "-q")
    assert done.exit_code == ExitCode.FAILED
    assert said in done.stderr


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1\xff\xff\xff\xffPAR1", b"PARE" + bytes(8) + b"PARE", b"text"])
def test_what_is_no_parquet_file_is_said(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"x.parquet: the index cannot be read: \S"):
        read(str(path))


def test_two_columns_of_one_name_are_refused(path: Path) -> None:
    parquet.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], ["path", "path"]), path)
    with pytest.raises(ResnestError, match="it has more than one column path"):
        read(str(path))


def test_columns_beyond_number_are_refused_and_not_all_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = written(path, **{f"column {i}": [1] for i in range(30)})
    with pytest.raises(UsageError, match=r"it has no column `path`; it has column 0, .*, column 19 and 10 more.$"):
        read(place)
    monkeypatch.setattr(columns, "MAX_COLUMNS", 20)
    reader = columns._Reader(place, columns.LIMITS)  # noqa: SLF001 - what the process does
    with pytest.raises(ValueError, match="it has more than 20 columns"):
        reader(columns.Ask())
    reader.close()


def test_a_reader_that_is_killed_costs_no_row_and_doubles_none(path: Path) -> None:
    names = [f"{i}.png" for i in range(3 * columns.ROWS)]
    with columns.opened(written(path, path=names)) as file:
        rows = file.rows(["path"])
        found = [next(rows)[0] for _ in range(columns.ROWS + 10)]
        assert file._worker  # noqa: SLF001 - whom to kill
        os.kill(file._worker._process.pid, signal.SIGKILL)  # noqa: SLF001 - as above
        found += [name for (name,) in rows]
    assert found == names


def test_a_reader_that_ends_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnest_cli.inputs.pool.MAX_DEATHS", 1)
    with columns.opened(written(path, path=["a.png"])) as file:
        assert file._worker  # noqa: SLF001 - whom to kill
        os.kill(file._worker._process.pid, signal.SIGKILL)  # noqa: SLF001 - as above
        with pytest.raises(ValueError, match=r"^it ends the process that reads it$"):
            list(file.rows(["path"]))


def test_whatever_is_raised_is_said(path: Path) -> None:
    reader = columns._Reader(written(path, path=["a.png"]), columns.LIMITS)  # noqa: SLF001 - what the process does
    with pytest.raises(ValueError, match="Column nowhere does not exist"):
        reader(columns.Ask(("nowhere",)))
    reader.close()


def test_a_reader_that_hangs_is_given_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "TIMEOUT_S", 0.5)
    with columns.opened(written(path, path=["a.png"])) as file:
        assert file._worker  # noqa: SLF001 - whom to stop
        os.kill(file._worker._process.pid, signal.SIGSTOP)  # noqa: SLF001 - as above
        with pytest.raises(ValueError, match=r"it takes longer than 0.5 s to read 1024 rows of it"):
            list(file.rows(["path"]))


def test_a_table_of_labeled_images_has_the_same_limits(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "LIMITS", columns.Limits(rows=2000))
    with pytest.raises(UnreadableInput, match=r"cannot be read as a table: it has .* rows or more"):
        list(tables.read(path.parent / written(path, path=repeated("a", 100_000), label=repeated("b", 100_000))))
    with pytest.raises(UnreadableInput, match="cannot be read as a table: a text in its column label has more than"):
        list(tables.read(path.parent / written(path, path=["a"], label=["l" * MB], extra=[["x"]])))


def test_only_our_columns_of_a_table_are_read(path: Path) -> None:
    place = written(path, other=[{"deep": [b"x"]}], **{"Image Path": ["a.png"], "class": [7], "split": ["Train"]})
    assert list(tables.read(path.parent / place)) == [tables.Example("a.png", "7", "train")]


def test_where_there_are_no_such_processes_rows_are_the_same(path: Path) -> None:
    reader = columns._Reader(written(path, path=["a.png", None], n=[1, 2]), columns.LIMITS)  # noqa: SLF001 - as Windows does
    file = columns.Columns(reader, None)
    assert (file.names, list(file.rows(["n", "path"]))) == (["path", "n"], [(1, "a.png"), (2, None)])
    reader.close()


# --- lists and tables in text


def test_a_list_without_line_ends_is_not_kept(resnest: Resnest, tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"n" * 200_000)
    (tmp_path / "later").write_bytes(SEVEN.encode() + b"\n" + b"n" * 200_000)
    for name, rows in (("list", 0), ("later", 0)):
        done = resnest("predict", "--files-from", tmp_path / name, "-m", "digits", "-q", "-f", "jsonl")
        assert (done.exit_code, done.stdout.count("\n")) == (ExitCode.USAGE, rows)
        assert done.stderr.startswith("error: --files-from: a name has more than 65,536 bytes")
    assert resnest("predict", "--files-from", tmp_path / "list", "-0", "-m", "digits", "-q").exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"path,label\n" + b"n" * 2 * MB, "a line has 1,048,576 characters or more"),
        (b"\n" * 10 + b" " * 2 * MB, "a line has 1,048,576 characters or more"),
        (b"path,label\n" + b"n" * 200_000 + b",x\n", "field larger than field limit"),
        (b'path,label\n"' + b"n\n" * MB, "field larger than field limit"),
        (b"path,label\n" + b"a," * 1000 + b"\n", "more cells than columns"),
        (b"path,label\na\0b,x\n", "it is no text, or UTF-16 without a mark"),
    ],
)
def test_a_table_of_text_has_lines_and_cells_of_a_bounded_length(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(ResnestError, match=said):
        list(tables.read(tmp_path / "x.csv"))
