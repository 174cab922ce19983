"""When and where a photograph was taken, and no EXIF that costs a row."""

from __future__ import annotations

import io
import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SAMPLES, Resnest
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from resnest_cli import Classifier
from resnest_cli.errors import OutputError
from resnest_cli.inputs import photographed
from resnest_cli.outputs.formats import FORMATS
from resnest_cli.outputs.reading import Results
from resnest_cli.types import Exif

MUNICH = ((48.0, 8.0, 14.136), "N", (11.0, 34.0, 31.76), "E")
NOON = "2026:05:01 12:00:00"
EXIFTOOL = shutil.which("exiftool")


def photo(taken: object = None, offset: object = None, place: tuple[Any, ...] = (), format: str = "JPEG") -> bytes:
    """Return an image with these values of EXIF, whatever they are."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "x"  # without a tag in the first part Pillow writes none
    camera = exif.get_ifd(ExifTags.IFD.Exif)
    camera |= {} if taken is None else {ExifTags.Base.DateTimeOriginal: taken}
    camera |= {} if offset is None else {ExifTags.Base.OffsetTimeOriginal: offset}
    tags = (ExifTags.GPS.GPSLatitude, ExifTags.GPS.GPSLatitudeRef, ExifTags.GPS.GPSLongitude)
    found = zip((*tags, ExifTags.GPS.GPSLongitudeRef), place, strict=False)
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({int(tag): value for tag, value in found if value is not None})
    out = io.BytesIO()
    Image.open(SAMPLES / "two_0051.png").convert("RGB").save(out, format, exif=exif)
    return out.getvalue()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_time_and_place_are_read_from_every_format(format: str) -> None:
    found = photographed.of(photo(NOON, "+02:00", MUNICH, format))
    assert found == Exif("2026-05-01T12:00:00+02:00", 48.1372600, 11.5754889)


@pytest.mark.skipif(EXIFTOOL is None, reason="no exiftool")
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_what_exiftool_wrote_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.open(SAMPLES / "two_0051.png").convert("RGB").save(path)
    when = ("-EXIF:DateTimeOriginal=2026:05:01 12:00:00", "-EXIF:OffsetTimeOriginal=-03:30")
    where = ("-GPSLatitude=33.8599722", "-GPSLatitudeRef=S", "-GPSLongitude=151.2111111", "-GPSLongitudeRef=W")
    assert EXIFTOOL is not None
    subprocess.run([EXIFTOOL, "-q", *when, *where, path], check=True)
    assert photographed.of(path.read_bytes()) == Exif("2026-05-01T12:00:00-03:30", -33.8599722, -151.2111111)


@pytest.mark.parametrize(
    ("taken", "offset", "expected"),
    [
        (NOON, None, "2026-05-01T12:00:00"),
        (f"{NOON}\0", "+02:00\0", "2026-05-01T12:00:00+02:00"),
        (NOON, "  :  ", "2026-05-01T12:00:00"),
        (NOON, "+99:00", "2026-05-01T12:00:00"),
        (NOON, "\u0663", "2026-05-01T12:00:00"),
        ("0000:00:00 00:00:00", "+02:00", None),
        ("    :  :     :  :  ", None, None),
        ("2026:02:30 12:00:00", None, None),
        ("2026-05-01", None, None),
        (b"2026", None, None),
        (7, None, None),
        ("x" * 60_000, None, None),
    ],
)
def test_a_time_that_cannot_be_meant_is_none(taken: object, offset: object, expected: str | None) -> None:
    assert photographed._taken(taken, offset) == expected  # noqa: SLF001 - files cannot hold all of these


HUGE = IFDRational(2**32 - 1, 1)


@pytest.mark.parametrize(
    ("given", "side"),
    [
        (None, "N"),
        ((1.0, 2.0), "N"),
        (("1", "x", "2"), "N"),
        ((1.0, 2.0, 3.0), None),
        ((1.0, 2.0, 3.0), "E"),
        ((1.0, 2.0, 3.0), b"N"),
        ((91.0, 0.0, 0.0), "N"),
        ((-1.0, 0.0, 0.0), "N"),
        ((float("nan"), 0.0, 0.0), "N"),
        ((float("inf"), 0.0, 0.0), "N"),
        ((IFDRational(1, 0), IFDRational(0, 0), IFDRational(0, 1)), "N"),
        ((HUGE, HUGE, HUGE), "N"),
        ((10**400, 0, 0), "N"),
        ({"a": 1}, "N"),
    ],
)
def test_a_place_that_cannot_be_meant_is_none(given: object, side: object) -> None:
    assert photographed._degrees(given, side, "NS", 90) is None  # noqa: SLF001 - files cannot hold all of these


def test_what_has_no_exif_has_none() -> None:
    assert photographed.of((SAMPLES / "two_0051.png").read_bytes()) == Exif()
    assert photographed.of(np.zeros((2, 2), np.uint8)) == Exif()
    assert photographed.of(b"no image") == Exif()


def test_damage_anywhere_in_the_exif_costs_no_row() -> None:
    whole = photo(NOON, "+02:00", MUNICH)
    begin, end = whole.index(b"Exif\0\0"), whole.index(b"\xff\xdb")
    chance = random.Random(0)  # noqa: S311 - no secret
    for _ in range(500):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            damaged[chance.randrange(begin, end)] = chance.randrange(256)
        found = photographed.of(bytes(damaged))
        json.dumps([found.taken, found.latitude, found.longitude], allow_nan=False)


@pytest.mark.parametrize("format", FORMATS)
def test_each_format_has_the_columns(tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.jpg").write_bytes(photo(NOON, "+02:00", MUNICH))
    shutil.copy(SAMPLES / "two_0051.png", "b.png")
    with Classifier("digits", device="cpu", with_exif=True, thumbnails=format == "html", workers=1) as model:
        model.write(["a.jpg", "b.png", "lost.png"], f"rows.{format}")
        exif = model(Path("a.jpg")).exif
    first, second, lost = Results(Path(f"rows.{format}")).rows()
    assert exif is not None
    assert (first["taken"], first["latitude"], first["longitude"]) == (exif.taken, exif.latitude, exif.longitude)
    assert (second["taken"], second["latitude"], second["longitude"], "taken" in lost) == (None, None, None, False)
    assert Results(Path(f"rows.{format}")).about.has_exif


def test_it_is_part_of_what_a_job_is(resnest: Resnest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("predict", str(SAMPLES / "two_0051.png"), "-m", "digits", "-k", "1", "-o", "rows.csv")
    assert resnest(*words, "--with-exif").exit_code == 0
    assert (
        Path("rows.csv")
        .read_text()
        .splitlines()[0]
        .endswith(",probability_1,taken,latitude,longitude,error_type,error_message")
    )
    refused = resnest(*words, "--resume")
    assert (refused.exit_code, "with_exif True, now" in refused.stderr) == (OutputError.exit_code, True)
    assert resnest(*words, "--with-exif", "--resume").exit_code == 0
