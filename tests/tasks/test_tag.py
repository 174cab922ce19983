"""Classes become keywords beside the images; exiftool reads them, and nothing else changes."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import SAMPLES, Resnest

from resnest_cli import tag
from resnest_cli.errors import UsageError

EXIFTOOL = shutil.which("exiftool")
with_exiftool = pytest.mark.skipif(EXIFTOOL is None, reason="no exiftool")


def answer(path: str, label: str, share: float = 0.9, **more: object) -> dict[str, Any]:
    best = {"rank": 1, "index": 0, "wnid": None, "label": label, "probability": share}
    return {"path": path, "status": "ok", "predictions": [best]} | more


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder of images, and rows of them."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        shutil.copy(SAMPLES / "two_0051.png", Path("photos", name))
    write(
        answer("photos/a.png", "two & more"), answer("photos/b.png", "three", 0.5), answer("photos/c.png", "two & more")
    )
    return Path("photos")


def write(*rows: dict[str, Any]) -> None:
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def read_by_exiftool(path: Path) -> dict[str, Any]:
    """Return the tags that exiftool reads, with their groups."""
    assert EXIFTOOL is not None
    ended = subprocess.run([EXIFTOOL, "-json", "-G1", str(path)], capture_output=True, check=True)
    (found,) = json.loads(ended.stdout)
    return {name: value for name, value in found.items() if name.startswith("XMP")}


def test_a_dry_run_changes_nothing_and_a_second_run_no_byte(photos: Path) -> None:
    before = content(photos)
    found = tag("rows.jsonl", min=0.6)
    assert (dict(found.keywords), found.had, found.exit_code) == ({"two & more": 2}, 0, 0)
    assert content(photos) == before
    assert dict(tag("rows.jsonl", min=0.6, apply=True).keywords) == {"two & more": 2}
    after = content(photos)
    assert after.keys() - before.keys() == {"a.png.xmp", "c.png.xmp"}
    assert {name: after[name] for name in before} == before
    times = {path: path.stat().st_mtime_ns for path in photos.iterdir()}
    again = tag("rows.jsonl", min=0.6, apply=True)
    assert (dict(again.keywords), again.had) == ({}, 2)
    assert {path: path.stat().st_mtime_ns for path in photos.iterdir()} == times


@with_exiftool
def test_exiftool_reads_what_was_written(photos: Path) -> None:
    tag("rows.jsonl", apply=True)
    assert read_by_exiftool(photos / "a.png.xmp") == {"XMP-dc:Subject": "two & more"}
    assert read_by_exiftool(photos / "b.png.xmp") == {"XMP-dc:Subject": "three"}


@with_exiftool
def test_a_sidecar_of_another_program_keeps_everything_else(photos: Path) -> None:
    assert EXIFTOOL is not None
    given = ["-XMP-dc:Subject=holiday", "-XMP-dc:Subject=k\u00f6ln", "-XMP:Rating=3", "-XMP-lr:HierarchicalSubject=a|b"]
    place = photos / "a.xmp"
    subprocess.run([EXIFTOOL, "-q", *given, "-o", place, photos / "a.png"], check=True)
    old, before = place.read_bytes(), read_by_exiftool(place)
    tag("rows.jsonl", apply=True)
    assert not (photos / "a.png.xmp").exists()
    added = before | {"XMP-dc:Subject": ["holiday", "k\u00f6ln", "two & more"]}
    assert read_by_exiftool(place) == added
    assert place.read_bytes().replace(b"<rdf:li>two &amp; more</rdf:li>", b"") == old


def test_the_full_name_comes_first(photos: Path) -> None:
    tag("rows.jsonl", apply=True)
    shutil.copy(photos / "a.png.xmp", photos / "a.xmp")
    before = (photos / "a.xmp").read_bytes()
    write(answer("photos/a.png", "four"))
    tag("rows.jsonl", apply=True)
    assert (photos / "a.xmp").read_bytes() == before
    assert b"four" in (photos / "a.png.xmp").read_bytes()


def test_what_gets_no_keyword_is_said_with_why(resnest: Resnest, photos: Path) -> None:
    (photos / "b.png.xmp").write_bytes(b"\xff\xd8")
    (photos / "c.png.xmp").mkdir()
    error = {"type": "NotAnImage", "message": "x"}
    write(
        {"path": "photos/x.png", "status": "error", "predictions": [], "error": error},
        answer("photos/a.png", "unsure", set=[0, 1], strangeness=0.1, abstained=True),
        {"path": "photos/a.png", "status": "ok", "predictions": []},
        answer("https://x/a.png", "two"),
        answer("photos/b.png", "two"),
        answer("photos/c.png", "two"),
        answer("photos/gone.png", "two"),
        answer("photos", "two"),
    )
    before = sorted(photos.iterdir())
    ended = resnest("tag", "rows.jsonl", "--apply")
    assert (ended.exit_code, sorted(photos.iterdir())) == (3, before)
    assert ended.stdout.splitlines() == [
        "no keyword              images  such as",
        "there is no answer.          1  photos/x.png",
        "the model abstained.         1  photos/a.png",
        "not probable enough.         1  photos/a.png",
        "not a file.                  1  https://x/a.png",
        "it is no XMP as UTF-8.       1  photos/b.png",
        "Is a directory.              1  photos/c.png",
        "no such file.                1  photos/gone.png",
        "not a regular file.          1  photos",
    ]
    assert ended.stderr.splitlines()[-1] == "0 keywords written."


def test_the_command_says_what_it_would_do(resnest: Resnest, photos: Path) -> None:
    ended = resnest("tag", "rows.jsonl")
    assert ended.stdout == (
        "keyword     images\n"
        "three            1\n"
        "two & more       2\n"
        "\n"
        "Note: nothing was changed. Add --apply to write 3 keywords.\n"
    )
    assert sorted(path.name for path in photos.iterdir()) == ["a.png", "b.png", "c.png"]


def test_min_is_a_probability() -> None:
    with pytest.raises(UsageError, match="from 0 to 1"):
        tag("rows.jsonl", min=60)
