"""What the user names becomes sources: order, folders, patterns, links, and files that cannot be read."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from resnest_cli.errors import UnreadableInput, UsageError
from resnest_cli.inputs.find import count_sources, find_sources
from resnest_cli.inputs.read import read_source
from resnest_cli.inputs.selection import LeftOut
from resnest_cli.types import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a small tree of files, and go there."""
    for name in ("b.jpg", "a.PNG", "notes.txt", "sub/c.webp", "sub/deep/d.JPEG", "[1].jpg", "sub.jpg/e.gif"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def paths(*inputs: str, recursive: bool = True) -> list[str]:
    found = list(find_sources(inputs, recursive=recursive))
    assert all(isinstance(item, Source) for item in found)
    return [item.path for item in found]


@pytest.mark.usefixtures("folder")
def test_folders_are_sorted_by_name_and_take_known_suffixes_in_any_case() -> None:
    assert paths(".") == ["./[1].jpg", "./a.PNG", "./b.jpg", "./sub/c.webp", "./sub/deep/d.JPEG", "./sub.jpg/e.gif"]
    assert paths(".", recursive=False) == ["./[1].jpg", "./a.PNG", "./b.jpg"]


@pytest.mark.usefixtures("folder")
def test_named_files_are_taken_as_they_are_in_the_order_given_and_each_time() -> None:
    named = ["notes.txt", "missing.jpg", "-", "a.PNG", "notes.txt", "[1].jpg"]
    assert paths(*named) == named


@pytest.mark.usefixtures("folder")
def test_patterns_are_expanded_by_us_where_the_shell_has_not() -> None:
    assert paths("*.jpg") == ["[1].jpg", "b.jpg", "sub.jpg/e.gif"]  # a folder is taken whole, as of a shell
    assert paths("*.txt") == ["notes.txt"]  # what matches is named
    assert paths("**/*.webp") == ["sub/c.webp"]
    assert paths("**/*.??g") == ["[1].jpg", "b.jpg", "sub.jpg/e.gif"]
    assert paths("*/*.webp", "./s*b/[a-d]*", "*/deep/*") == [
        "sub/c.webp",
        "./sub/c.webp",
        "./sub/deep/d.JPEG",
        "sub/deep/d.JPEG",
    ]
    assert paths("s*b/") == paths("s*b/**") == ["sub/c.webp", "sub/deep/d.JPEG"]
    assert paths("**") == [path.removeprefix("./") for path in paths(".")]
    assert paths("s*b", recursive=False) == ["sub/c.webp"]


@pytest.mark.usefixtures("folder")
def test_a_folder_or_pattern_without_images_is_one_failure_that_says_so() -> None:
    os.mkdir("empty")  # noqa: PTH102 - relative to where the fixture went
    nothing, none = find_sources(["empty", "*.bmp"])
    assert isinstance(nothing, Failure)
    assert isinstance(none, Failure)
    assert (nothing.path, nothing.type) == ("empty", "NoImages")
    assert nothing.message == "no images in this folder, which holds no files."
    assert (none.path, none.type, none.message) == ("*.bmp", "NoImages", "nothing matches this pattern.")


@pytest.mark.usefixtures("folder")
def test_a_missing_name_with_brackets_is_a_missing_file() -> None:
    (missing,) = find_sources(["x[1].png"])
    assert missing == Failure("x[1].png", "UnreadableInput", "no such file, and as a pattern it matches nothing.")
    assert paths("[[]1].jpg") == ["[1].jpg"]


def test_a_pattern_goes_through_links_as_a_folder_does(folder: Path) -> None:
    (folder / "sub" / "up").symlink_to(folder)
    (folder / "sub" / "self").symlink_to(".")
    (folder / "sub" / "loop").symlink_to("loop")
    assert paths("sub/**/*.webp") == ["sub/c.webp"]
    assert paths("**/*.webp") == ["sub/c.webp"]
    assert paths("sub/**/*.PNG") == ["sub/up/a.PNG"]


def test_a_pattern_matches_what_is_hidden_only_if_it_says_so(folder: Path) -> None:
    for name in (".h.png", "@eaDir/b.png", ".git/x.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    assert paths(".*.png", ".g*/*", "@eaDir/*.png") == [".h.png", ".git/x.png", "@eaDir/b.png"]
    for pattern in ("**/*.png", "*/*.png", "?h.png"):
        (nothing,) = find_sources([pattern])
        assert isinstance(nothing, Failure)
        assert nothing.type == "NoImages"
        assert "hidden, thumbnail or trash name" in nothing.message


def test_links_to_folders_are_followed_but_not_in_circles(folder: Path) -> None:
    (folder / "sub" / "deep" / "up").symlink_to(folder)
    (folder / "sub" / "self").symlink_to(folder / "sub" / "self")
    (folder / "other").symlink_to(folder / "sub" / "deep")
    assert paths("sub") == ["sub/c.webp", "sub/deep/d.JPEG", *BELOW_UP]
    assert "other/d.JPEG" in paths("other")


# The link leads out of "sub" once, and ends where the walk comes back to a folder that it is in.
BELOW_UP = [
    "sub/deep/up/[1].jpg",
    "sub/deep/up/a.PNG",
    "sub/deep/up/b.jpg",
    "sub/deep/up/sub.jpg/e.gif",
]


def test_a_folder_that_cannot_be_listed_is_a_failure_and_the_rest_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def denied(path: str) -> object:  # root may list everything, so a mode of 000 would prove nothing
        if path.endswith("deep"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    found = list(find_sources([str(folder / "sub")]))
    assert found == [
        Source(f"{folder}/sub/c.webp"),
        Failure(f"{folder}/sub/deep", "UnreadableInput", "Permission denied."),
    ]


def test_names_that_are_not_utf8_keep_their_bytes(folder: Path) -> None:
    (folder / "sub" / os.fsdecode(b"\xff\xe9.jpg")).write_bytes(b"bytes")
    names = paths("sub")
    assert os.fsencode(names[-1]) == b"sub/\xff\xe9.jpg"
    assert read_source(Source(names[-1])) == b"bytes"


def reason(path: Path | str) -> str:
    with pytest.raises(UnreadableInput) as raised:
        read_source(Source(str(path)))
    return str(raised.value)


def test_what_is_no_regular_file_is_refused_without_waiting(folder: Path) -> None:
    os.mkfifo(folder / "fifo.jpg")
    assert reason(folder / "fifo.jpg").startswith("not a regular file: ")
    assert reason("/dev/zero").startswith("not a regular file: ")
    assert reason(folder).startswith(("not a regular file: ", "Is a directory"))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.jpg")
        assert reason("socket.jpg").startswith("not a regular file: ")


def test_what_cannot_be_read_says_why(folder: Path) -> None:
    assert reason(folder / "missing.jpg") == "no such file."
    assert reason("~/missing.jpg") == "no such file: a shell expands ~, but not within quotes or a list."
    assert reason('"b.jpg"') == reason("'b.jpg'") == "no such file: the quotes are read as part of the name."
    assert reason("'") == "no such file."
    assert reason("a\0b.jpg") == "the name holds a NUL byte, which no file name can."
    assert reason("a.PNG/b.jpg") == "Not a directory."


# --- What is no photograph, and what is of other suffixes


NOT_PHOTOGRAPHS = [
    *(".hidden.png", "._a.png", ".thumbnails/a.png", ".Trash-1000/files/a.png", ".ipynb_checkpoints/a.png"),
    *("__MACOSX/._a.png", "@eaDir/a.png", "#recycle/a.png", "$RECYCLE.BIN/a.png", "lost+found/a.png"),
]


@pytest.fixture
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder as cameras and drives leave it, and go beside it."""
    for name in ("a.png", "b.HEIC", "c.heic", "film.mp4", "README", "sub/d.jpg", "sub/e.nef", *NOT_PHOTOGRAPHS):
        path = tmp_path / "album" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "album"


@pytest.mark.usefixtures("album")
def test_a_folder_gives_photographs_and_counts_the_rest_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert paths("album/") == ["album/a.png", "album/sub/d.jpg"]
    counted = "5 files not looked at: 2 .heic, 1 .mp4, 1 .nef, 1 without a suffix"
    assert caplog.messages == [f"album/: {counted}; 10 hidden, thumbnail or trash names left out"]
    caplog.clear()
    assert paths("album", "album/a.png", "album/sub") == [
        *("album/a.png", "album/sub/d.jpg", "album/a.png", "album/sub/d.jpg")
    ]
    counted = "6 files not looked at: 2 .heic, 2 .nef, 1 .mp4, 1 without a suffix"
    assert caplog.messages == [f"album and 1 more: {counted}; 10 hidden, thumbnail or trash names left out"]


def test_what_is_named_is_always_tried(album: Path) -> None:
    named = [f"album/{name}" for name in ("b.HEIC", "README", *NOT_PHOTOGRAPHS)]
    assert paths(*named) == named
    assert paths("album/.thumbnails", str(album / "@eaDir")) == ["album/.thumbnails/a.png", f"{album}/@eaDir/a.png"]
    assert paths("album/.*.png", "album/@eaDir/*") == ["album/._a.png", "album/.hidden.png", "album/@eaDir/a.png"]


@pytest.mark.usefixtures("album")
def test_patterns_leave_out_what_folders_leave_out(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert paths("album/**/*.png") == ["album/a.png"]
    assert caplog.messages == ["album/**/*.png: 10 hidden, thumbnail or trash names left out"]
    assert paths("album/*") == [
        "album/README",
        "album/a.png",
        "album/b.HEIC",
        "album/c.heic",
        "album/film.mp4",
        "album/sub/d.jpg",
    ]


@pytest.mark.usefixtures("album")
@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        (["sub"], ["album/a.png"]),
        (["sub/"], ["album/a.png"]),
        (["*.jpg"], ["album/a.png"]),
        (["sub/*"], ["album/a.png"]),
        (["album/sub/d.jpg"], ["album/a.png"]),
        (["a*"], ["album/sub/d.jpg"]),  # not "album"
        (["d.jpg", "a.png"], []),
        (["nothing", "", "b/d.jpg"], ["album/a.png", "album/sub/d.jpg"]),
    ],
)
def test_names_can_be_left_out(exclude: list[str], left: list[str]) -> None:
    for place in ("album", "album/", "album/**/*.??g"):
        found = [item.path for item in find_sources([place], exclude=exclude) if isinstance(item, Source)]
        assert found == left
    assert [item.path for item in find_sources(["album/a.png"], exclude=["*"])] == ["album/a.png"]


def test_a_folder_of_other_files_says_what_is_there(album: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    (album / "a.png").unlink()
    (failure, excluded) = find_sources(["album", "album/sub"], recursive=False, exclude=["d.*"])
    counted = "4 files not looked at: 2 .heic, 1 .mp4, 1 without a suffix"
    assert failure == Failure(
        "album", "NoImages", f"no images in this folder: {counted}; 2 hidden, thumbnail or trash names left out."
    )
    assert excluded.message == "no images in this folder: 1 file not looked at: 1 .nef; 1 left out by --exclude."  # type: ignore[union-attr]
    assert caplog.messages == []


def test_suffixes_of_all_kinds_are_counted_in_little_memory() -> None:
    left_out = LeftOut()
    for number in range(5000):
        left_out.count(f"x.{number:05d}")
    for name in ("a.jpg~", "b.this is a sentence", "c.", "d.\x1b[31m"):
        left_out.count(name)
    assert len(left_out.others) == 1001
    assert left_out.counts() == (
        "5,004 files not looked at: 1 .00000, 1 .00001, 1 .00002, 1 .00003, 1 .00004, 995 with other suffixes, "
        "4,004 without a suffix"
    )


def test_what_cannot_be_counted_is_said_by_the_job_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[object] = []
    monkeypatch.setattr(threading, "excepthook", said.append)

    def found() -> Iterator[Source]:
        yield Source("a.png")
        raise UsageError("the list is damaged.")

    before = {*threading.enumerate()}
    total = count_sources(found())
    for thread in {*threading.enumerate()} - before:
        thread.join(60)
    assert (total(), said) == (None, [])
