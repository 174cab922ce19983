"""What the user names becomes sources: order, folders, patterns, links, and files that cannot be read."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from resnest_cli.errors import UnreadableInput
from resnest_cli.sources import find, read
from resnest_cli.types import Failure, Source

if TYPE_CHECKING:
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
    found = list(find(inputs, recursive=recursive))
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
    assert paths("*.jpg") == ["[1].jpg", "b.jpg"]
    assert paths("**/*.webp") == ["sub/c.webp"]


@pytest.mark.usefixtures("folder")
def test_a_folder_or_pattern_without_images_is_one_failure_that_says_so() -> None:
    os.mkdir("empty")  # noqa: PTH102 - relative to where the fixture went
    nothing, none = find(["empty", "*.bmp"])
    assert isinstance(nothing, Failure)
    assert isinstance(none, Failure)
    assert (nothing.path, nothing.type) == ("empty", "NoImages")
    assert nothing.message.startswith("no images in this folder; the suffixes looked for are .jpg ")
    assert none.message.startswith("no images in this pattern;")


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
    found = list(find([str(folder / "sub")]))
    assert found == [
        Source(f"{folder}/sub/c.webp"),
        Failure(f"{folder}/sub/deep", "UnreadableInput", "Permission denied."),
    ]


def test_names_that_are_not_utf8_keep_their_bytes(folder: Path) -> None:
    (folder / "sub" / os.fsdecode(b"\xff\xe9.jpg")).write_bytes(b"bytes")
    names = paths("sub")
    assert os.fsencode(names[-1]) == b"sub/\xff\xe9.jpg"
    assert read(Source(names[-1])) == b"bytes"


def reason(path: Path | str) -> str:
    with pytest.raises(UnreadableInput) as raised:
        read(Source(str(path)))
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
    assert reason("a\0b.jpg") == "embedded null byte."
    assert reason("a.PNG/b.jpg") == "Not a directory."
