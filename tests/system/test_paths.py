"""Names that cannot be looked at: each is one failure in its own words, and ends nobody else's job."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import SAMPLES

from resnest_cli.errors import ExitCode
from resnest_cli.inputs.find import find_sources
from resnest_cli.system import paths
from resnest_cli.system.paths import Kind, look
from resnest_cli.types import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Resnest

TWO, SIX = SAMPLES / "two_0051.png", SAMPLES / "six_0034.png"
DIGITS = ("-m", "digits", "-j", "0")
LONG = "x" * 300


def rows(stdout: str | bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stdout.splitlines()]


class _Capabilities(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable")]


@contextmanager
def owner_only() -> Iterator[None]:
    """Make the modes of files hold for root too: take CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH from this thread."""
    if os.geteuid():
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, held = (ctypes.c_uint32 * 2)(0x20080522, 0), (_Capabilities * 2)()
    libc.capget(header, held)
    before = held[0].effective
    held[0].effective &= ~0b110
    assert libc.capset(header, held) == 0
    try:
        yield
    finally:
        held[0].effective = before
        libc.capset(header, held)


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder that may not be entered, with an image in it."""
    if os.geteuid() == 0 and sys.platform != "linux":
        pytest.skip("root may enter everything")
    folder = tmp_path / "closed"
    folder.mkdir()
    (folder / "six.png").write_bytes(SIX.read_bytes())
    folder.chmod(0)
    with owner_only():
        yield folder
    folder.chmod(0o700)


def test_what_is_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "lost").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    kinds = {name: look(tmp_path / name).kind for name in ("file", ".", "pipe", "lost", "none", "file/below")}
    assert [*kinds.values()] == [Kind.FILE, Kind.FOLDER, Kind.OTHER, Kind.MISSING, Kind.MISSING, Kind.MISSING]
    assert look(tmp_path / "loop") == paths.Look(Kind.UNKNOWN, "a link that leads back to itself.")
    assert look(LONG) == paths.Look(Kind.UNKNOWN, "the name is too long for a file.")
    assert look("a\0b") == paths.Look(Kind.UNKNOWN, "the name holds a NUL byte, which no file name can.")
    assert look("\ud800") == paths.Look(Kind.UNKNOWN, "no file of this system can have this name.")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EIO, "the disk or the network drive fails (input/output error)."),
        (errno.ESTALE, "the network drive lost the file (stale file handle): mount the drive again."),
        (errno.ENOTCONN, "its drive is not connected (a mount whose program has ended): mount it again."),
    ],
)
def test_a_drive_that_fails_is_a_failure_beside_good_neighbours(
    number: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., os.stat_result] = os.stat

    def failing(path: str, **how: bool) -> os.stat_result:  # no mount of this machine fails so
        if path == "mount/dead.png":
            raise OSError(number, os.strerror(number), path)
        return real(path, **how)

    monkeypatch.setattr(os, "stat", failing)
    found = list(find_sources([str(TWO), "mount/dead.png", str(SIX)]))
    assert found == [Source(str(TWO)), Failure("mount/dead.png", "UnreadableInput", words), Source(str(SIX))]


def test_a_name_that_is_too_long_is_one_row(resnest: Resnest) -> None:
    done = resnest("predict", TWO, f"{LONG}.png", "d/" * 2500 + "x.png", f"{LONG}/*.png", SIX, *DIGITS)
    outcomes = [(row["error"] if "error" in row else row["predictions"][0]["label"]) for row in rows(done.stdout)]
    error = {"type": "UnreadableInput", "message": "the name is too long for a file."}
    assert outcomes == ["two", error, error, error, "six"]
    assert done.exit_code == ExitCode.SOME_FAILED


def test_a_folder_that_may_not_be_entered_is_one_row(closed: Path, resnest: Resnest) -> None:
    inputs = (TWO, closed / "six.png", closed, closed / "*.png", closed.parent, SIX)
    done = resnest("predict", *inputs, *DIGITS)
    errors = [(row["path"], row["error"]) for row in rows(done.stdout) if "error" in row]
    denied = {"type": "UnreadableInput", "message": "Permission denied."}
    named = (closed / "six.png", closed, closed / "*.png", closed)
    assert errors == [(str(path), denied) for path in named]
    assert [rows(done.stdout)[at]["predictions"][0]["label"] for at in (0, -1)] == ["two", "six"]
    assert done.exit_code == ExitCode.SOME_FAILED


@pytest.mark.parametrize(
    "words",
    [
        ("predict", TWO, "-m", "{}/model"),
        ("predict", TWO, "-m", "resnest14d", "--weights", "{}/w.safetensors"),
        ("predict", TWO, "-m", "digits", "--labels", "{}/names.txt"),
        ("predict", "--files-from", "{}/list.txt", "-m", "digits"),
        ("similar", TWO, "--index", "{}/photos.npy"),
        ("validate", "{}/data", "-m", "digits"),
        ("validate", "{}", "-m", "digits"),
        ("finetune", "{}/data", "-m", "digits"),
        ("finetune", "{}", "-m", "digits"),
    ],
    ids=lambda words: f"{words[0]} {words[-1]}",
)
def test_whatever_names_it_the_words_are_of_that_and_not_of_the_output(
    words: tuple[str | Path, ...], closed: Path, tmp_path: Path, resnest: Resnest
) -> None:
    named = [str(word).replace("{}", str(closed)) for word in words]
    if words[0] == "finetune":
        named += ["-o", str(tmp_path / "out")]
    done = resnest(*named)
    assert done.exit_code in {ExitCode.FAILED, ExitCode.USAGE}
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert str(closed) in last
    assert "ermission denied." in last
    assert "output" not in last
    assert "Traceback" not in done.stderr
    assert done.exception is None or isinstance(done.exception, SystemExit)


def test_names_that_are_too_long_are_told_whatever_they_are_for(resnest: Resnest) -> None:
    for words in (
        ("predict", TWO, "-m", LONG),
        ("predict", TWO, "-m", "resnest14d", "--weights", LONG),
        ("predict", TWO, "-m", "digits", "--labels", LONG),
        ("predict", "-m", "digits", "--files-from", LONG),
        ("similar", TWO, "--index", f"{LONG}.npy"),
        ("validate", LONG, "-m", "digits"),
        ("bench", "-m", "digits", "--images", LONG),
    ):
        done = resnest(*words)
        assert done.exit_code in {ExitCode.FAILED, ExitCode.USAGE}
        assert f"{LONG}" in done.stderr
        assert "too long" in done.stderr
        assert "output" not in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""


def test_a_link_to_what_is_not_there_says_so(resnest: Resnest, tmp_path: Path) -> None:
    (tmp_path / "lost.png").symlink_to("nowhere.png")
    done = resnest("predict", tmp_path, *DIGITS)
    (row,) = rows(done.stdout)
    assert row["error"] == {"type": "UnreadableInput", "message": "a link to a file that does not exist."}


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no file here that fails with EIO")
def test_standard_input_that_fails_is_a_failed_row() -> None:
    command = [sys.executable, "-m", "resnest_cli", "predict", "-", *DIGITS]
    with Path("/proc/self/mem").open("rb") as broken:  # nothing lies at address 0
        done = subprocess.run(command, stdin=broken, capture_output=True, timeout=120, check=False)
    (row,) = rows(done.stdout)
    message = "standard input: the disk or the network drive fails (input/output error)."
    assert row["error"] == {"type": "UnreadableInput", "message": message}


def test_a_socket_and_a_file_taken_for_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
        assert look("socket.png").kind is Kind.OTHER
    (tmp_path / "a.png").write_bytes(b"x")
    assert list(find_sources(["a.png/"])) == [Source("a.png/")]


@pytest.mark.parametrize(
    "words",
    [
        ("predict", TWO, "-m", "digits", "-o", "{}.csv"),
        ("embed", TWO, "-m", "digits", "-o", "{}.npy"),
        ("explain", TWO, "-m", "digits", "-o", "{}"),
        ("validate", SAMPLES, "-m", "digits", "-o", "{}.json"),
        ("validate", SAMPLES, "-m", "digits", "--per-class", "{}.csv"),
        ("bench", "-m", "digits", "-o", "{}.json"),
        ("export", "digits", "--to", "openvino", "-o", "{}"),
        ("quantize", "digits", "--calibrate", SAMPLES, "-o", "{}"),
        ("finetune", SAMPLES, "-m", "digits", "-o", "{}"),
    ],
    ids=lambda words: f"{words[0]} {words[-2]}",
)
def test_an_output_that_cannot_be_looked_at_is_named(
    words: tuple[str | Path, ...], closed: Path, resnest: Resnest
) -> None:
    if words[0] == "quantize":
        pytest.importorskip("nncf")
    for place, reason in ((LONG, "too long"), (f"{closed}/x", "ermission denied.")):
        done = resnest(*(str(word).replace("{}", place) for word in words))
        last = done.stderr.splitlines()[-1]
        assert done.exit_code in {ExitCode.FAILED, ExitCode.USAGE}
        assert last.startswith(f"error: {place}") or "this CPU" in last
        assert reason in last or "this CPU" in last
        assert isinstance(done.exception, SystemExit)
