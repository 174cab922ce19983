"""Which file goes where, under which name; what is skipped, and why; what the command says."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from trees import failure, names, other_disk, put, row, snapshot, sorted_from, why, write_rows

from resnest_cli import sort, undo_sort
from resnest_cli.errors import ExitCode, OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Resnest


HOW = ["copy", "link", "hardlink", "move"]


def test_files_go_by_first_class_unsure_ones_and_failed_ones_apart(photos: Path) -> None:
    made = [put(photos / name) for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg")]
    rows = [
        row(made[0], "cat", 0.6),
        row(made[1], "cat", 0.59),
        row(made[2], "dog", 0.9, set=[1, 2], strangeness=0.5, abstained=True),
        {**row(made[3]), "predictions": []},  # below --threshold
        failure(made[4]),
    ]
    found = sorted_from(*rows, min=0.6)
    assert names() == ["_unsure/b.jpg", "_unsure/c.jpg", "_unsure/d.jpg", "cat/a.jpg"]
    assert why(found) == {made[4]: ("no answer: --failed sorts them into _failed.", False)}
    assert found.exit_code is ExitCode.OK
    assert sorted_from(*rows, min=0.6, failed=True).folders == {"_failed": 1}  # what was copied is there


@pytest.mark.parametrize("how", HOW)
def test_names_that_are_alike_get_numbers_and_nothing_is_overwritten(photos: Path, how: str) -> None:
    made = [
        put(photos / name) for name in ("1/dog.jpg", "2/dog.jpg", "3/Dog.JPG", "4/caf\u00e9.jpg", "5/cafe\u0301.jpg")
    ]
    put(Path("to/cat/DOG.jpg"), b"another's")
    sorted_from(*map(row, made), how=how)
    assert names("to/cat") == sorted(
        ["DOG.jpg", "dog (2).jpg", "dog (3).jpg", "Dog (4).JPG", "caf\u00e9.jpg", "cafe\u0301 (2).jpg"]
    )
    assert Path("to/cat/DOG.jpg").read_bytes() == b"another's"


@pytest.mark.parametrize("how", HOW)
def test_what_others_change_after_the_plan_is_left_and_told(photos: Path, how: str) -> None:
    made = [put(photos / name) for name in ("a.jpg", "b.jpg", "c.jpg")]

    def meddle(_journal: Path) -> None:
        put(photos / "a.jpg", b"edited")
        put(Path("to/cat/b.jpg"), b"another's")

    found = sorted_from(*map(row, made), how=how, on_begin=meddle)
    assert why(found) == {
        str(photos / "a.jpg"): ("it was changed since the plan was made: run the command again.", True),
        str(photos / "b.jpg"): ("its new name was taken meanwhile: run the command again.", True),
    }
    assert (found.folders, found.exit_code) == ({"cat": 1}, ExitCode.SOME_FAILED)
    assert names("to/cat") == ["b.jpg", "c.jpg"]
    assert Path("to/cat/b.jpg").read_bytes() == b"another's"


@pytest.mark.parametrize("how", HOW)
def test_the_same_file_goes_once_however_it_is_named(photos: Path, how: str) -> None:
    made = put(photos / "a.jpg")
    Path("other").symlink_to("photos")
    again = ["./photos/../photos/a.jpg", str(photos / "a.jpg"), "other/a.jpg"]
    found = sorted_from(row(made), *(row(name, "dog") for name in again), how=how)
    assert names() == ["cat/a.jpg"]
    assert why(found) == dict.fromkeys(again, ("named by a row before it, too.", False))


def test_what_is_no_file_here_is_skipped_and_told(photos: Path) -> None:
    os.mkfifo("pipe")
    put(photos / "all.tar")
    paths = [
        "https://example.org/a.jpg",
        "s3://bucket/a.jpg",
        "-",
        "gone.jpg",
        "pipe",
        "photos",
        "photos/all.tar/a.jpg",
        "a\0b",
    ]
    found = sorted_from(*map(row, paths))
    assert why(found) == {
        "https://example.org/a.jpg": ("a URL: download it first, and predict the file.", True),
        "s3://bucket/a.jpg": ("a URL: download it first, and predict the file.", True),
        "-": ("standard input, which has no file.", True),
        "gone.jpg": ("no such file.", True),
        "pipe": ("not a regular file.", True),
        "photos": ("not a regular file.", True),
        "photos/all.tar/a.jpg": ("inside an archive: unpack it first, and predict the files.", True),
        "a\0b": ("the name holds a NUL byte, which no file name can.", True),
    }
    assert (found.exit_code, found.journal, Path("to").exists()) == (ExitCode.SOME_FAILED, None, False)


def test_links_are_relative_and_lead_to_the_file(photos: Path) -> None:
    made = put(photos / "a.jpg")
    sorted_from(row(made), how="link")
    assert Path("to/cat/a.jpg").readlink() == Path("../../photos/a.jpg")
    Path("elsewhere").mkdir()
    shutil.move("to", "elsewhere/to")
    shutil.move("photos", "elsewhere/photos")
    assert Path("elsewhere/to/cat/a.jpg").read_bytes() == os.fsencode(photos / "a.jpg")


def test_a_hard_link_is_the_same_file(photos: Path) -> None:
    made = put(photos / "a.jpg")
    sorted_from(row(made), how="hardlink")
    assert Path("to/cat/a.jpg").samefile(made)


def test_a_hard_link_to_another_disk_says_what_to_do(photos: Path) -> None:
    made = put(photos / "a.jpg")
    with other_disk() as place:
        found = sort(write_rows(Path("rows.jsonl"), [row(made)]), place, how="hardlink")
    assert why(found) == {
        made: ("on another disk than the folder, where no hard link can lead: use --copy or --link.", True)
    }


def test_a_link_is_copied_as_what_it_leads_to_and_never_moved(photos: Path) -> None:
    put(photos / "a.jpg", b"content")
    (photos / "b.jpg").symlink_to("a.jpg")
    found = sorted_from(row("photos/b.jpg"), how="move")
    assert why(found) == {"photos/b.jpg": ("a link: --move leaves it where it is. Use --copy or --link.", True)}
    sorted_from(row("photos/b.jpg"))
    assert not Path("to/cat/b.jpg").is_symlink()
    assert Path("to/cat/b.jpg").read_bytes() == b"content"


@pytest.mark.parametrize("how", ["copy", "link", "hardlink"])
def test_a_second_run_finds_all_in_its_folder(photos: Path, how: str) -> None:
    rows = [row(put(photos / name)) for name in ("1/a.jpg", "2/a.jpg")]
    sorted_from(*rows, how=how)
    before = snapshot(Path("to"))
    again = sorted_from(*rows, how=how)
    assert again.journal is None
    assert {reason for reason, _ in why(again).values()} == {"already in its folder."}
    assert snapshot(Path("to")) == before


def test_a_folder_may_be_sorted_into_itself(photos: Path) -> None:
    rows = [row(put(photos / "a.jpg")), row(put(photos / "cat/b.jpg")), row(put(photos / "cat/c.jpg"), "dog")]
    found = sort(write_rows(Path("rows.jsonl"), rows), photos, how="move", apply=True)
    assert [name for name in names("photos") if not name.startswith(".")] == ["cat/a.jpg", "cat/b.jpg", "dog/c.jpg"]
    assert why(found) == {"photos/cat/b.jpg": ("already in its folder.", False)}


def test_sidecars_keep_their_picture(photos: Path) -> None:
    for folder in ("1", "2"):
        for name in ("a.jpg", "a.xmp", "a.jpg.xmp", "a.json", "a.jpg.json", "a.CR2", "a.CR2.xmp", "a.txt", "ab.xmp"):
            put(photos / folder / name)
    found = sorted_from(row("photos/1/a.jpg"), row("photos/2/a.jpg"), how="move", with_sidecars=True)
    group = ["{}.CR2", "{}.CR2.xmp", "{}.jpg", "{}.jpg.json", "{}.jpg.xmp", "{}.json", "{}.xmp"]
    assert names() == sorted(f"cat/{name.format(stem)}" for name in group for stem in ("a", "a (2)"))
    assert names("photos") == ["1/a.txt", "1/ab.xmp", "2/a.txt", "2/ab.xmp"]
    assert Path("to/cat/a (2).CR2").read_bytes() == os.fsencode(photos / "2/a.CR2")
    assert found.journal
    undo_sort(found.journal)
    assert not Path("to").exists()


@pytest.mark.parametrize("failed", [False, True])
def test_a_raw_file_that_could_not_be_read_goes_with_its_jpeg(photos: Path, *, failed: bool) -> None:
    rows = [failure(put(photos / "a.ARW")), row(put(photos / "a.JPG"))]
    (photos / "a.xmp").symlink_to("nowhere")
    found = sorted_from(*rows, failed=failed, with_sidecars=True)
    assert names() == ["cat/a.ARW", "cat/a.JPG"]
    assert why(found) == {
        "photos/a.ARW": ("goes along with a picture before it.", False),
        "photos/a.xmp": ("no such file.", True),
    }


def test_a_full_disk_leaves_no_part_of_a_file_and_says_how_to_go_back(photos: Path) -> None:
    rows = [row(put(photos / f"{number}.jpg", bytes(30_000))) for number in range(4)]
    before = snapshot(photos)
    with small_disk() as place:
        with pytest.raises(
            OutputError, match=r"the disk is full after 2 files\. Go back with: resnest sort --undo "
        ) as told:
            sort(write_rows(Path("rows.jsonl"), rows), place, how="move", apply=True)
        assert sorted(path.name for path in place.rglob("*.*") if path.suffix != ".jsonl") == ["0.jpg", "1.jpg"]
        undo_sort(str(told.value).rpartition(" ")[2])
        assert not [*place.iterdir()]
    assert snapshot(photos) == before


@contextmanager
def small_disk() -> Iterator[Path]:
    """Yield a disk of 96 KB; skip the test for a user who may not mount one."""
    with tempfile.TemporaryDirectory() as place:
        mount = ["mount", "-t", "tmpfs", "-o", "size=96k", "none", place]
        if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("no disk can be mounted here")
        try:
            yield Path(place)
        finally:
            subprocess.run([shutil.which("umount") or "", place], check=True)


# --- the command


def test_the_command_shows_does_and_undoes(photos: Path, resnest: Resnest) -> None:
    rows = [row(put(photos / "a.jpg")), row(put(photos / "b.jpg"), "dog"), row("gone.jpg"), failure("c.jpg")]
    write_rows(Path("rows.jsonl"), rows)
    before = snapshot(photos.parent)
    shown = resnest("sort", "rows.jsonl", "--to", "to")
    table = """\
folder  files
cat         1
dog         1

stays where it is                             files  such as
no such file.                                     1  gone.jpg
no answer: --failed sorts them into _failed.      1  c.jpg
"""
    assert (shown.exit_code, shown.stderr) == (3, "")
    assert shown.stdout == f"{table}\nNote: nothing was changed. Add --apply to copy 2 files.\n"
    assert snapshot(photos.parent) == before
    done = resnest("sort", "rows.jsonl", "--to", "to", "--move", "--apply")
    (journal,) = Path.cwd().glob(".resnest-sort-*")
    assert (done.exit_code, done.stdout) == (3, table)
    assert done.stderr == f"journal: {journal}\nmoved 2 files; to undo: resnest sort --undo {journal}\n"
    undone = resnest("sort", "--undo", journal)
    assert (undone.exit_code, undone.stdout, undone.stderr) == (0, "", "2 files as before.\n")
    assert snapshot(photos.parent) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give RESULTS and --to DIR, or --undo JOURNAL."),
        (["rows.jsonl"], "give RESULTS and --to DIR, or --undo JOURNAL."),
        (["rows.jsonl", "--to", "to", "--copy", "--move"], "--copy and --move exclude each other"),
        (["rows.jsonl", "--undo", "journal"], "--undo takes the journal only"),
        (["rows.jsonl", "--to", "to", "--min", "60"], "--min: 60.0 is not in the range"),
        (["photos", "--to", "to"], "its suffix names no format of predictions"),
    ],
)
@pytest.mark.usefixtures("photos")
def test_what_makes_no_sense_is_said(resnest: Resnest, words: list[str], said: str) -> None:
    write_rows(Path("rows.jsonl"), [])
    ended = resnest("sort", *words)
    assert ended.exit_code == 2
    assert said in ended.stderr


@pytest.mark.usefixtures("photos")
def test_a_place_that_cannot_be_sorted_into_is_named(resnest: Resnest) -> None:
    write_rows(Path("rows.jsonl"), [])
    for to, said in (("rows.jsonl", "is no folder"), ("no/to", "its parent folder is missing")):
        ended = resnest("sort", "rows.jsonl", "--to", to)
        assert ended.exit_code == 1
        assert said in ended.stderr


def test_python_says_what_is_wrong_with_its_words() -> None:
    with pytest.raises(UsageError, match="how='steal': use one of copy, link, hardlink, move"):
        sort("rows.jsonl", "to", how="steal")
    with pytest.raises(UsageError, match="min=2: use a probability from 0 to 1"):
        sort("rows.jsonl", "to", min=2)
