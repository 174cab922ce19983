"""Every command that walks says once what it left out, and looks at the same files as all others."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from typing import TYPE_CHECKING

import pytest
from class_folders import fill, load
from conftest import SAMPLES

from resnest_cli.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Resnest
    from typing_extensions import Self

TWO, SIX = SAMPLES / "two_0051.png", SAMPLES / "six_0034.png"
DIGITS = ("-m", "digits")
EXPECTED = "2 files not looked at: 1 .heic, 1 .txt; 3 hidden, thumbnail or trash names left out"


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Make two classes with an image each, and what a network drive, a phone and a person put beside them."""
    folder = tmp_path / "album"
    for image in (TWO, SIX):
        place = folder / image.name.split("_")[0]
        for name in (image.name, f"@eaDir/{image.name}/SYNOPHOTO_THUMB_XL.jpg"):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(image, place / name)
    (folder / "two" / "._x.png").write_bytes(b"AppleDouble")
    (folder / "two" / "IMG_1.HEIC").write_bytes(TWO.read_bytes())
    (folder / "six" / "notes.txt").write_text("?")
    return folder


def said(stderr: str) -> list[str]:
    return [line.partition(": ")[2] for line in stderr.splitlines() if "not looked at" in line or "left out" in line]


def test_predict_embed_explain_and_similar_agree(resnest: Resnest, album: Path, tmp_path: Path) -> None:
    images = [str(album / "six" / SIX.name), str(album / "two" / TWO.name)]
    for words in (("predict",), ("embed",), ("predict", "-f", "json"), ("predict", "-o", tmp_path / "rows.csv")):
        done = resnest(words[0], album, *words[1:], *DIGITS, "-j", "0")
        assert (done.exit_code, said(done.stderr)) == (ExitCode.OK, [f"{EXPECTED}."])
        if not (tmp_path / "rows.csv").exists():
            found = json.loads(done.stdout) if "json" in words else map(json.loads, done.stdout.splitlines())
            assert [row["path"] for row in found] == images
    index = tmp_path / "album.npy"
    assert resnest("embed", album, "-o", index, *DIGITS, "-q").stderr == ""
    done = resnest("similar", album, "--index", index, "-f", "json")
    assert ([row["path"] for row in json.loads(done.stdout)], said(done.stderr)) == (images, [f"{EXPECTED}."])


def test_explain_counts_too(resnest: Resnest, album: Path, tmp_path: Path) -> None:
    pytest.importorskip("captum")
    done = resnest("explain", album, "-o", tmp_path / "looked", *DIGITS, "--exclude", "two")
    assert (done.exit_code, len(done.stdout.splitlines())) == (ExitCode.OK, 1)
    assert said(done.stderr) == [
        "1 file not looked at: 1 .txt; 1 hidden, thumbnail or trash name left out; 1 left out by --exclude."
    ]


def test_validate_counts_in_folders_and_archives(resnest: Resnest, album: Path, tmp_path: Path) -> None:
    archive = tmp_path / "album.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(album, "album")
    for place in (album, archive):
        done = resnest("validate", place, *DIGITS, "-f", "json")
        assert (done.exit_code, json.loads(done.stdout)["n"]) == (ExitCode.OK, 2)
        assert said(done.stderr) == [f"{EXPECTED}."]
        done = resnest("validate", place, *DIGITS, "-f", "json", "--exclude", "six/*.png")
        assert json.loads(done.stdout)["n"] == 1
        (words,) = said(done.stderr)
        assert words.endswith("1 left out by --exclude.")
        done = resnest("validate", place, *DIGITS, "--exclude", "*.png")
        assert done.exit_code == ExitCode.USAGE
        assert "no labeled images (2 files not looked at: 1 .heic, 1 .txt; " in done.stderr


def test_bench_counts_once_and_refuses_a_folder_without_images(
    resnest: Resnest, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = resnest("bench", "--images", album, "--exclude", "*.png", *DIGITS)
    assert (done.exit_code, done.stdout) == (ExitCode.USAGE, "")
    assert f"--images {album}: no images in this folder: {EXPECTED.partition(';')[0]};" in done.stderr
    asked: list[dict[str, object]] = []

    def sweep(*_: object, **how: object) -> Iterator[dict[str, object]]:
        asked.append(how)
        return iter(())

    monkeypatch.setattr("resnest_cli.tasks.bench.sweep.sweep", sweep)
    done = resnest("bench", "--images", album, "--exclude", "x*", "--batch", "1,2", "-f", "jsonl", *DIGITS)
    assert said(done.stderr) == [f"{EXPECTED}."]
    assert asked == [{"images": str(album), "exclude": ("x*",), "baseline": False}]


def test_finetune_leaves_thumbnails_out(album: Path) -> None:
    fill(album, {"two": 4, "six": 4})
    data = load(album)
    assert len(data.examples) == 10
    assert data.notes[0] == f"{album}: {EXPECTED}."
    data = load(album, exclude=("two/0.png", "1.*"))
    assert len(data.examples) == 7
    assert data.notes[0] == f"{album}: {EXPECTED}; 3 left out by --exclude."


def test_finetune_is_told_what_to_leave_out_and_keeps_it(resnest: Resnest, album: Path, tmp_path: Path) -> None:
    from resnest_cli.errors import UsageError
    from resnest_cli.training import job
    from resnest_cli.training.recipe import Recipe

    words = ("finetune", album, "-o", tmp_path / "out", *DIGITS, "--exclude", "six", "--exclude", "x*")
    done = resnest(*words)
    assert "has 1 class with images" in done.stderr
    kept = job.Job(command="finetune", data="d", recipe=Recipe(), exclude=("six", "x*"))
    job.write(kept, tmp_path)
    job.resumed(job.read(tmp_path), kept, {"exclude"})
    with pytest.raises(UsageError, match="exclude"):
        job.resumed(job.read(tmp_path), job.Job(command="finetune", data="d", recipe=Recipe()), {"exclude"})


def test_calibration_draws_from_photographs_only(resnest: Resnest, album: Path, tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    done = resnest("quantize", "digits", "--calibrate", album, "-o", tmp_path / "int8")
    if done.exit_code == ExitCode.USAGE:  # not on CPUs without int8
        assert f"--calibrate {album}: 2 images ({EXPECTED}); 30 are needed" in done.stderr


def test_a_folder_that_cannot_be_listed_to_its_end_keeps_what_was_listed(
    album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resnest_cli.inputs.find import find_sources
    from resnest_cli.types import Failure, Source

    scandir = os.scandir

    class Ends:
        """A drive that goes away after the first name."""

        def __init__(self, path: str) -> None:
            self.inner = scandir(path)
            self.given = 0

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            self.inner.close()

        def __iter__(self) -> Ends:
            return self

        def __next__(self) -> os.DirEntry[str]:
            entry = next(self.inner)
            self.given += 1
            if self.given > 1:
                raise OSError(107, "Transport endpoint is not connected")
            return entry

    folder = album.parent / "drive"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(b"x")
    monkeypatch.setattr(os, "scandir", Ends)
    first, broken = find_sources([str(folder)])
    assert isinstance(first, Source)
    assert isinstance(broken, Failure)
    assert (broken.path, broken.type) == (str(folder), "UnreadableInput")
    assert "not connected" in broken.message


def test_buckets_are_walked_by_the_same_rule(
    album: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fs = pytest.importorskip("pyarrow.fs")
    from resnest_cli.inputs import buckets
    from resnest_cli.inputs.find import find_sources
    from resnest_cli.types import Failure, Source

    caplog.set_level("INFO")
    store = fs.SubTreeFileSystem(str(album.parent), fs.LocalFileSystem())  # as a bucket: names below a root
    monkeypatch.setattr(buckets, "opened", lambda path: (store, path.partition("://")[2]))
    images = [f"s3://album/six/{SIX.name}", f"s3://album/two/{TWO.name}"]
    assert list(find_sources(["s3://album/"])) == [Source(path) for path in images]
    assert caplog.messages == [f"s3://album/: {EXPECTED}"]
    for pattern in ("two", "two/*", "s3://album/two/*.png"):
        assert list(find_sources(["s3://album/"], exclude=[pattern])) == [Source(images[0])]
    assert list(find_sources(["s3://album/six/notes.txt", "s3://album/two/@eaDir/"])) == [
        Source("s3://album/six/notes.txt"),
        Source(f"s3://album/two/@eaDir/{TWO.name}/SYNOPHOTO_THUMB_XL.jpg"),
    ]
    (nothing,) = find_sources(["s3://album"], recursive=False)
    assert nothing == Failure("s3://album", "NoImages", "no images in this bucket or prefix, which holds no files.")
