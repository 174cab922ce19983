"""Labelled files that hang or end what decodes them: each is left out with its reason, and costs no other file."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from class_folders import draw, fill, load
from loads import Moody
from odd_files import bare_png, many_scans

from resnest_cli.inputs.labelled import check
from resnest_cli.inputs.splits import LEFT_OUT, TRAIN, VAL


@pytest.mark.slow
def test_a_picture_that_stalls_or_ends_its_decoder_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "Check", Moody)
    monkeypatch.setattr(check, "TIMEOUT_S", 2.0)
    fill(tmp_path, {"a": 4, "b": 4})
    for name, trouble in (("slow.png", "slow"), ("crash.png", "crash"), ("killed.png", "killed")):
        draw(tmp_path / "a" / name, 99).write_text(trouble)
    reasons = {Path(e.path).name: e.reason for e in load(tmp_path).examples if e.split == LEFT_OUT}
    assert reasons == {
        "slow.png": "DecodeTimeout: not decoded within 2 s.",
        "crash.png": "WorkerDied: it crashed the process that decoded it, 2 times (signal 11).",
        "killed.png": "WorkerDied: it crashed the process that decoded it, 2 times (signal 9).",
    }


@pytest.mark.slow
def test_a_jpeg_of_20000_scans_and_a_png_of_65536_pixels_an_edge_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "TIMEOUT_S", 2.0)
    fill(tmp_path, {"a": 4, "b": 4})
    (tmp_path / "a" / "scans.jpg").write_bytes(many_scans(2000, 20_000))
    (tmp_path / "b" / "bomb.png").write_bytes(bare_png(65_536, 65_536, zlib.compress(bytes(1 << 20))))
    data = load(tmp_path)
    assert {Path(e.path).name: e.reason for e in data.examples if e.split == LEFT_OUT} == {
        "scans.jpg": "DecodeTimeout: not decoded within 2 s.",
        "bomb.png": ("ImageTooLarge: the image has 65536 x 65536 = 4,294,967,296 pixels; the limit is 178,956,970."),
    }
    assert (data.counts(TRAIN), data.counts(VAL)) == ({"a": 3, "b": 3}, {"a": 1, "b": 1})
