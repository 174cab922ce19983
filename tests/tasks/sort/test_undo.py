"""A sort undone: all is as before, or kept with a reason; also after a kill."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from trees import names, put, row, snapshot, sorted_from, write_rows

from resnest_cli import sort, undo_sort
from resnest_cli.errors import ExitCode, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from resnest_cli.tasks.sort.plan import Step

RESNEST = [sys.executable, "-m", "resnest_cli", "sort"]
KILL = Path(__file__).parents[3] / "scripts" / "faults" / "kill_sort.py"


def test_what_changed_since_stays_and_the_journal_too(photos: Path) -> None:
    made = [put(photos / name) for name in ("a.jpg", "b.jpg", "c.jpg")]
    found = sorted_from(*map(row, made), how="move")
    assert found.journal
    with Path("to/cat/a.jpg").open("ab") as file:
        file.write(b"edited")
    put(photos / "b.jpg", b"something else")
    undone = undo_sort(found.journal)
    assert {each.path: each.why for each in undone.kept} == {
        str(photos.parent / "to/cat/a.jpg"): "it was changed since it was sorted.",
        str(photos.parent / "to/cat/b.jpg"): f"something else has its old name, {photos / 'b.jpg'}.",
        str(photos.parent / "to/cat"): "it is not empty.",
        str(photos.parent / "to"): "it is not empty.",
    }
    assert (undone.files, undone.exit_code) == (1, ExitCode.SOME_FAILED)
    assert names("photos") == ["b.jpg", "c.jpg"]
    Path("photos/b.jpg").unlink()
    shutil.move("to/cat/a.jpg", "photos/a.jpg")
    assert undo_sort(found.journal).exit_code is ExitCode.OK
    assert not found.journal.exists()
    assert names("photos") == ["a.jpg", "b.jpg", "c.jpg"]


@pytest.mark.parametrize("how", ["copy", "hardlink"])
def test_a_copy_stays_if_its_original_is_gone(photos: Path, how: str) -> None:
    made = put(photos / "a.jpg")
    found = sorted_from(row(made), how=how)
    assert found.journal
    Path(made).unlink()
    assert [each.why for each in undo_sort(found.journal).kept if each.is_failure] == [
        "its original is gone, or was changed."
    ]
    assert names() == ["cat/a.jpg"]


def test_a_folder_with_other_files_stays(photos: Path) -> None:
    found = sorted_from(row(put(photos / "a.jpg")))
    put(Path("to/cat/mine.txt"))
    assert found.journal
    undone = undo_sort(found.journal)
    assert (undone.exit_code, names()) == (ExitCode.OK, ["cat/mine.txt"])
    assert not found.journal.exists()


@pytest.mark.parametrize(
    ("how", "stays"), [("copy", "hidden.jpg"), ("move", "locked/a.jpg"), ("link", ""), ("hardlink", "")]
)
def test_what_may_not_be_read_or_left_is_told_and_undone_with_the_rest(
    how: str, stays: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that may not be changed, a file that may not be read; root may do both."""
    with tempfile.TemporaryDirectory() as place:
        monkeypatch.chdir(place)
        rows = [row(put(Path(name))) for name in ("locked/a.jpg", "hidden.jpg", "open.jpg")]
        sort(write_rows(Path("rows.jsonl"), rows), "to", how=how)  # a common user could not import it below
        modes = {"locked/a.jpg": 0o444, "locked": 0o555, "hidden.jpg": 0, "open.jpg": 0o444, place: 0o777}
        for path, mode in modes.items():
            os.chown(path, COMMON_USER, -1)
            Path(path).chmod(mode)
        before = snapshot(Path(place))
        with as_a_common_user():
            found = sort("rows.jsonl", "to", how=how, apply=True)
            assert found.journal
        assert {each.path: each.why for each in found.skipped} == (
            {str(Path(place, stays)): "Permission denied."} if stays else {}
        )
        assert found.folders == {"cat": 2 if stays else 3}
        with as_a_common_user():
            assert undo_sort(found.journal).kept == ()
        assert snapshot(Path(place)) == before
        Path("locked").chmod(0o755)


COMMON_USER = 65534 if os.geteuid() == 0 else os.geteuid()


@contextmanager
def as_a_common_user() -> Iterator[None]:
    """Run the block as a user with no more rights than others."""
    own = os.geteuid()
    os.seteuid(COMMON_USER)
    try:
        yield
    finally:
        os.seteuid(own)


@pytest.mark.parametrize("content", [b"", b'{"journal": "resn', b'{"journal": "resnest sort"'])
def test_a_journal_that_was_cut_off_has_nothing_to_undo(photos: Path, content: bytes) -> None:
    (photos / "journal").write_bytes(content)
    assert undo_sort(photos / "journal").files == 0
    assert not (photos / "journal").exists()


@pytest.mark.parametrize("content", [b"x", b"{}\n", b'{"journal": "else"}\n', b"\xff\n", bytes(100)])
def test_what_is_no_journal_is_refused_and_stays(photos: Path, content: bytes) -> None:
    (photos / "journal").write_bytes(content)
    with pytest.raises(OutputError, match="is no journal of `resnest sort`"):
        undo_sort(photos / "journal")
    assert (photos / "journal").read_bytes() == content


def test_a_stopped_sort_is_to_be_undone_before_the_next(photos: Path) -> None:
    rows = [row(put(photos / name)) for name in ("a.jpg", "b.jpg")]
    before = snapshot(photos)

    def stop(steps: Iterable[Step], _total: int) -> Iterator[Step]:
        yield next(iter(steps))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sorted_from(*rows, how="move", progress=stop)
    with pytest.raises(OutputError, match="a sort into it was stopped, or still runs") as told:
        sorted_from(*rows)
    undo_sort(str(told.value).splitlines()[0].rpartition(" ")[2])
    assert snapshot(photos) == before
    assert sorted_from(*rows).files == 2


def test_a_sort_that_runs_is_not_undone(photos: Path) -> None:
    made = row(put(photos / "a.jpg"))
    refused = []

    def undo_now(journal: Path) -> None:
        ended = subprocess.run([*RESNEST, "--undo", journal], capture_output=True, check=False)
        refused.append((ended.returncode, b"a sort that still runs" in ended.stderr))

    assert sorted_from(made, on_begin=undo_now).files == 1
    assert refused == [(1, True)]


# --- killed


@pytest.mark.parametrize("seed", [*range(1, 9), pytest.param(10, marks=pytest.mark.slow)])
def test_a_killed_sort_is_undone_to_the_same_bytes(seed: int) -> None:
    """The script does this 200 times, by steps and by time (seed 10), on one disk and across two (every third)."""
    ended = subprocess.run([sys.executable, KILL, "--runs", "1", "--seed", str(seed)], capture_output=True, check=False)
    assert (ended.returncode, ended.stdout.decode().splitlines()[-1]) == (0, "faults   none")
