"""Files get names that nothing has: nothing is replaced, on one disk and across two."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest
from trees import other_disk, snapshot

from resnest_cli.system import transfer
from resnest_cli.system.transfer import Traits

if TYPE_CHECKING:
    from collections.abc import Iterator

SECOND_NS = 10**9


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"content" * 1000)
    path.chmod(0o440)
    os.utime(path, ns=(5, 1_600_000_000_123_456_789))
    return path


@pytest.fixture(params=["this disk", "another disk"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    if request.param == "this disk":
        (tmp_path / "to").mkdir()
        yield tmp_path / "to"
    else:
        with other_disk() as place:
            yield place


def traits(path: Path) -> Traits:
    return Traits.of(path.stat())


def test_a_copy_has_the_bytes_times_and_permissions(source: Path, folder: Path) -> None:
    transfer.copy(source, folder / "b.jpg", folder / "partial", traits(source))
    assert snapshot(folder) == {"b.jpg": ("file", 0o440, 1_600_000_000_123_456_789, b"content" * 1000)}
    assert source.exists()


def test_a_moved_file_is_the_same_elsewhere(source: Path, folder: Path) -> None:
    transfer.move(source, folder / "b.jpg", folder / "partial", traits(source))
    assert snapshot(folder) == {"b.jpg": ("file", 0o440, 1_600_000_000_123_456_789, b"content" * 1000)}
    assert not source.exists()


@pytest.mark.parametrize("how", ["copy", "move"])
def test_nothing_is_replaced_and_nothing_is_left(source: Path, folder: Path, how: str) -> None:
    (folder / "b.jpg").write_bytes(b"another's")
    before = snapshot(source.parent), snapshot(folder)
    with pytest.raises(FileExistsError):
        getattr(transfer, how)(source, folder / "b.jpg", folder / "partial", traits(source))
    assert (snapshot(source.parent), snapshot(folder)) == before


def test_where_the_system_has_no_such_call_a_file_is_linked_and_its_old_name_removed(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "_renameat2", lambda: None)
    transfer.rename(source, tmp_path / "b.jpg")
    assert [path.name for path in tmp_path.iterdir()] == ["b.jpg"]
    (tmp_path / "c.jpg").write_bytes(b"another's")
    with pytest.raises(FileExistsError):
        transfer.rename(tmp_path / "b.jpg", tmp_path / "c.jpg")
    assert (tmp_path / "c.jpg").read_bytes() == b"another's"


@pytest.mark.skipif(sys.platform != "linux", reason="a call of Linux")
def test_linux_renames_in_one_step(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "link")
    transfer.rename(source, tmp_path / "b.jpg")
    assert [path.name for path in tmp_path.iterdir()] == ["b.jpg"]


def test_a_file_whose_old_name_cannot_be_removed_keeps_it(
    source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink

    def refuse(path: Path, **settings: bool) -> None:
        if path == source:
            raise PermissionError(errno.EACCES, "refused")
        unlink(path, **settings)

    monkeypatch.setattr(transfer, "_renameat2", lambda: None)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(PermissionError):
        transfer.move(source, folder / "b.jpg", folder / "partial", traits(source))
    assert source.exists()
    assert not [*folder.iterdir()]


def test_a_copy_of_other_bytes_costs_no_file(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that garbles what it stores."""

    def garble(file: IO[bytes], out: IO[bytes], _size: int) -> None:
        out.write(file.read().replace(b"content", b"CONTENT"))

    monkeypatch.setattr(shutil, "copyfileobj", garble)
    with other_disk() as place:
        with pytest.raises(OSError, match="other bytes"):
            transfer.move(source, place / "b.jpg", place / "partial", traits(source))
        assert not [*place.iterdir()]
    assert source.read_bytes() == b"content" * 1000


def test_a_file_that_grows_while_it_is_copied_is_not_taken_for_whole(source: Path, tmp_path: Path) -> None:
    seen = traits(source)
    with source.open("ab") as file:
        file.write(b"more")
    with pytest.raises(OSError, match="changed while it was copied"):
        transfer.copy(source, tmp_path / "b.jpg", tmp_path / "partial", seen)
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


COPY = """
import resource, sys
from pathlib import Path
from resnest_cli.system.transfer import Traits, copy
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
source, folder = map(Path, sys.argv[1:])
copy(source, folder / "b.jpg", folder / "partial", Traits.of(source.stat()))
"""


def test_a_file_that_cannot_be_written_whole_leaves_nothing(source: Path, tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    ended = subprocess.run([sys.executable, "-c", COPY, source, tmp_path / "to"], capture_output=True, check=False)
    assert b"File too large" in ended.stderr
    assert not [*(tmp_path / "to").iterdir()]


@pytest.mark.parametrize(
    ("later_ns", "size", "fits"),
    [(0, 1, True), (-1, 1, True), (-2 * SECOND_NS, 1, False), (1, 1, False), (0, 2, False)],
)
def test_a_file_fits_its_traits_unless_size_or_time_changed(
    tmp_path: Path, later_ns: int, size: int, *, fits: bool
) -> None:
    """FAT keeps a time rounded down to two seconds."""
    path = tmp_path / "a"
    path.write_bytes(b"x" * size)
    then = 1_600_000_000 * SECOND_NS
    os.utime(path, ns=(0, then + later_ns))
    assert Traits(1, then, 0o644).fit(path.lstat()) == fits
