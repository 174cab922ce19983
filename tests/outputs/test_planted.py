"""Output folders that other users may write in: what they put where a file of ours will be harms nobody.

Root runs the jobs, and the user 65534 has planted links: at the output's own name, and at every name beside it.
"""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING

import pytest
from conftest import SAMPLES

from resnest_cli.errors import ExitCode, OutputError
from resnest_cli.outputs import saving
from resnest_cli.outputs.streams import open_output
from resnest_cli.system import atomic, files, locks
from resnest_cli.tasks.explain import heatmap as explain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Resnest

pytestmark = pytest.mark.usefixtures("decode_here")

OTHER = 65534
SEVEN = SAMPLES / "seven_0081.png"
DIGITS = ("-m", "digits", "-j", "0")
AS_ROOT = pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="plants links as another user")
# A name, and the command whose output it is.
OUTPUTS = {
    **{f"x.{suffix}": ("predict", str(SEVEN), *DIGITS) for suffix in ("csv", "html")},
    **{f"f.{suffix}": ("embed", str(SEVEN), *DIGITS) for suffix in ("npy", "jsonl")},
}
BESIDE = ("{}", "{}.part", "{}.lock", "{}.resume.json", ".{}.done.json", "{}.json", "f.paths.jsonl")


@pytest.fixture(params=[0o755, 0o1777], ids=["theirs", "sticky"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a folder that the other user may write in: its own, or one like /tmp."""
    place = tmp_path / "folder"
    place.mkdir()
    place.chmod(request.param)
    if not request.param & stat.S_ISVTX:
        os.chown(place, OTHER, OTHER)
    return place


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[Path]:
    """Yield a file that only root may touch, in a folder where nothing may appear; it is looked at in the end."""
    place = tmp_path / "ours"
    place.mkdir(mode=0o700)
    precious = place / "precious"
    precious.write_text('{"precious": 1}')
    precious.chmod(0o640)
    before = precious.stat()
    yield precious
    after = precious.lstat()
    assert [path.name for path in place.iterdir()] == ["precious"]
    assert precious.read_text() == '{"precious": 1}'
    assert (after.st_mode, after.st_ino, after.st_mtime_ns) == (before.st_mode, before.st_ino, before.st_mtime_ns)


def plant(path: Path, kind: str, precious: Path) -> None:
    """Put at `path`, as the other user does, what leads to the precious file, or beside it."""
    if kind == "hard link":
        path.hardlink_to(precious)
    else:
        path.symlink_to(precious if kind == "link" else precious.with_name("new"))
        os.lchown(path, OTHER, OTHER)


@AS_ROOT
@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("kind", ["link", "link to nothing", "hard link"])
def test_planted_links_are_not_followed_by_jobs(  # noqa: PLR0913, PLR0917 - fixtures
    resnest: Resnest, folder: Path, ours: Path, name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnest_cli.system.files.warn_once", lambda _: None)
    for form in dict.fromkeys(BESIDE):
        planted = folder / form.format(name)
        plant(planted, kind, ours)
        for more in ("--overwrite", "--resume"):
            ended = resnest(*OUTPUTS[name], "-o", folder / name, more)
            assert ended.exit_code in {ExitCode.OK, ExitCode.FAILED}, ended.output
            assert ended.exit_code == ExitCode.OK or ended.stderr.startswith("error: "), ended.stderr
        for path in folder.iterdir():
            path.unlink()


def _write(path: Path) -> None:
    with open_output(path, overwrite=True) as out:
        out.write(b"ours")


def _lock(path: Path) -> None:
    with locks.hold(path, lambda _: None):
        pass


class _Heat:
    heat = (1.0, 2.0)


WRITERS: dict[str, Callable[[Path], object]] = {
    "save": lambda path: saving.save(path, "ours"),
    "atomic.write": lambda path: atomic.write(path, b"ours"),
    "a table or a device": _write,
    "a lock": _lock,
    "a heat map": lambda path: explain.Explanation.save_heat(_Heat(), path),  # type: ignore[arg-type]
    "a download": lambda path: atomic.publish(path, path.with_name("target")),
    "a folder": files.make_folder,
}


@AS_ROOT
@pytest.mark.parametrize("what", WRITERS)
@pytest.mark.parametrize("kind", ["link", "link to nothing", "hard link"])
def test_planted_links_are_not_followed_by_whatever_writes(folder: Path, ours: Path, what: str, kind: str) -> None:
    plant(folder / "x", kind, ours)
    try:
        WRITERS[what](folder / "x")
    except (OSError, OutputError) as error:
        assert "link" in str(error) or isinstance(error, PermissionError | FileExistsError)  # noqa: PT017 - either may come


@AS_ROOT
def test_what_is_said_of_a_planted_link(resnest: Resnest, folder: Path, ours: Path) -> None:
    plant(folder / "x.csv", "link", ours)
    ended = resnest("predict", SEVEN, *DIGITS, "-o", folder / "x.csv", "--overwrite")
    assert ended.exit_code == ExitCode.FAILED
    assert ended.stderr == (
        f"error: {folder}/x.csv cannot be written: {folder}/x.csv is a link that another user made: remove it, or give "
        "another name.\n"
    )


@AS_ROOT
def test_a_pipe_of_another_user_gets_no_rows(resnest: Resnest, folder: Path) -> None:
    os.mkfifo(folder / "x.csv")
    os.chown(folder / "x.csv", 65534, 65534)
    ended = resnest("predict", SEVEN, *DIGITS, "-o", folder / "x.csv")
    assert ended.exit_code == ExitCode.FAILED
    assert "x.csv is a pipe that another user made: remove it, or give another name." in ended.stderr


@AS_ROOT
def test_a_chain_of_links_is_followed_only_as_far_as_it_is_ours(folder: Path, ours: Path) -> None:
    plant(folder / "theirs", "link", ours)
    (folder / "x").symlink_to("theirs")
    with pytest.raises(OutputError, match="theirs is a link that another user made"):
        saving.save(folder / "x", "ours")


@AS_ROOT
def test_another_users_file_gives_no_permissions_that_a_new_one_has_not(folder: Path) -> None:
    umask = os.umask(0o022)
    try:
        for mode, expected in ((0o4777, 0o644), (0o600, 0o600)):
            (folder / "x").write_text("theirs")
            os.chown(folder / "x", OTHER, OTHER)
            (folder / "x").chmod(mode)
            saving.save(folder / "x", "ours")
            assert stat.S_IMODE((folder / "x").stat().st_mode) == expected
    finally:
        os.umask(umask)


@AS_ROOT
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere folders have no second name")
def test_a_folder_that_is_renamed_while_we_write_in_it_is_still_ours(folder: Path, ours: Path) -> None:
    with atomic.folder(folder / "model") as new:
        (partial,) = folder.iterdir()
        partial.rename(folder / "away")
        (folder / partial.name / "new").mkdir(parents=True)
        plant(folder / partial.name / "new" / "config.json", "link", ours)
        (new / "config.json").write_text("ours")
    assert (folder / "model" / "config.json").read_text() == "ours"


# What is no link, and needs no other user


def test_a_hard_link_is_not_written_through_nor_replaced_for_its_other_name(resnest: Resnest, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    backup.write_text("of last week")
    (tmp_path / "x.csv").hardlink_to(backup)
    ended = resnest("predict", SEVEN, *DIGITS, "-o", tmp_path / "x.csv", "--overwrite")
    assert ended.exit_code == ExitCode.FAILED
    assert "x.csv has other names too (hard links), which would change with it: remove it first." in ended.stderr
    (tmp_path / "x.html").hardlink_to(backup)
    assert resnest("predict", SEVEN, *DIGITS, "-o", tmp_path / "x.html", "--overwrite").exit_code == ExitCode.OK
    assert backup.read_text() == "of last week"


@pytest.mark.parametrize("name", ["x.csv.resume.json", ".x.csv.done.json", "x.csv.lock", "x.html.part"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(resnest: Resnest, tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    if "done" in name:
        (tmp_path / "x.csv").write_text("rows")
    output = tmp_path / ("x.html" if "html" in name else "x.csv")
    for more in ("--overwrite", "--resume"):
        ended = resnest("predict", SEVEN, *DIGITS, "-o", output, more)
        assert (ended.exit_code, "is no file but a device or a pipe" in ended.stderr) == (ExitCode.FAILED, True)


@pytest.mark.parametrize("words", [("validate", SAMPLES.parent / "labelled"), ("bench",)], ids=["validate", "bench"])
def test_a_device_is_not_replaced_by_a_file(resnest: Resnest, tmp_path: Path, words: tuple[str, ...]) -> None:
    os.mkfifo(tmp_path / "x.json")  # where /dev/null stands
    ended = resnest(*words, "-m", "digits", "-o", tmp_path / "x.json", "--overwrite")
    assert ended.exit_code == ExitCode.FAILED
    assert "x.json is no file but a device or a pipe." in ended.stderr
    assert stat.S_ISFIFO((tmp_path / "x.json").stat().st_mode)


@pytest.mark.parametrize(
    "record",
    [
        '{"settings": 5, "rows": 1, "failures": {}, "inputs": "", "checksums": {}}',
        '{"settings": {}, "rows": "1", "failures": {}, "inputs": "", "checksums": {}}',
        '{"settings": {}, "rows": 1, "failures": [1], "inputs": "", "checksums": {}}',
        '{"settings": {}, "rows": 1, "failures": {}, "inputs": "", "checksums": {"x.csv": 1, "../x": 1}}',
        '{"settings": {}, "rows": 1, "failures": {}, "inputs": "", "checksums": {"x.csv": "y"}}',
        '{"settings": {"topk": {"a": {}}}, "rows": 1, "failures": {"a": -5}, "inputs": "", "checksums": {}}',
        "[" * 20_000,
    ],
)
def test_a_forged_record_of_a_job_is_none(resnest: Resnest, tmp_path: Path, record: str) -> None:
    (tmp_path / "x.csv").write_text("rows")
    (tmp_path / ".x.csv.done.json").write_text(record)
    ended = resnest("predict", SEVEN, *DIGITS, "-o", tmp_path / "x.csv", "--resume")
    assert (ended.exit_code, "whether it is complete cannot be told" in ended.stderr) == (ExitCode.FAILED, True)
