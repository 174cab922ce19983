"""Folders that nobody has looked at: bombs, oddities and faults of every kind; one row each, and good rows as ever."""

from __future__ import annotations

import io
import json
import os
import signal
import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pytest
from conftest import SAMPLES
from odd_files import bare_png, chunk, many_scans
from PIL import Image

from resnest_cli.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Resnest, Shell

SEVEN = SAMPLES / "seven_0081.png"
GOOD = sorted(SAMPLES.iterdir())
DIGITS = ("-m", "digits", "-f", "jsonl", "-q", "-k", "1")
Row = dict[str, Any]


def rows(output: bytes) -> list[Row]:
    return [json.loads(line) for line in output.splitlines()]


def outcome(row: Row) -> str:
    result: str = row["error"]["type"] if row["status"] == "error" else row["predictions"][0]["label"]
    return result


def outcomes(output: bytes) -> list[str]:
    return [outcome(row) for row in rows(output)]


# --- A2, A16: neighbours


@pytest.fixture
def mixed(tmp_path: Path) -> list[Path]:
    """Put bad files of several kinds between good ones."""
    bad = {
        "text.jpg": b"not a picture",
        "cut.png": SEVEN.read_bytes()[:-30],
        "bomb.png": bare_png(65536, 65536),
        "empty.gif": b"",
    }
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "fifo.png")
    odd = [*(tmp_path / name for name in bad), tmp_path / "fifo.png", tmp_path / "missing.png"]
    return [path for i, good in enumerate(GOOD) for path in (good, odd[i % len(odd)])]


@pytest.mark.slow
def test_good_rows_are_those_of_a_clean_run_at_any_batch_and_worker_count(mixed: list[Path], resnest: Resnest) -> None:
    clean = {row["path"]: row for row in rows(resnest("predict", *GOOD, *DIGITS, "-j", "0", "-b", "1").stdout_bytes)}
    for batch, workers in [("1", "0"), ("1", "3"), ("5", "1"), ("64", "2")]:
        done = resnest("predict", *mixed, *DIGITS, "-b", batch, "-j", workers)
        found = rows(done.stdout_bytes)
        assert [row["path"] for row in found] == [str(path) for path in mixed]
        for good, bad in zip(found[::2], found[1::2], strict=True):
            expected = clean[good["path"]]["predictions"][0]
            assert good["predictions"][0].pop("probability") == pytest.approx(expected["probability"], abs=1e-5)
            assert good["predictions"][0].items() <= expected.items()
            assert bad["status"] == "error"
        assert done.exit_code == ExitCode.SOME_FAILED


def test_the_same_image_as_path_and_from_standard_input_has_one_answer(resnest: Resnest) -> None:
    for workers in ("0", "2"):
        done = resnest("predict", SEVEN, "-", SEVEN, *DIGITS, "-j", workers, stdin=SEVEN.read_bytes())
        answers = [row["predictions"] for row in rows(done.stdout_bytes)]
        assert answers[0] == answers[1] == answers[2]


# --- A3, A4, A5: bombs


def test_bombs_are_refused_by_their_header_eight_at_once(shell: Shell, tmp_path: Path) -> None:
    for i in range(8):
        (tmp_path / f"{i}.png").write_bytes(bare_png(65536, 65536, zlib.compress(bytes(1 << 20))))
    done = shell("resnest", "predict", tmp_path, *DIGITS, "-j", "8")
    assert {row["error"]["message"] for row in rows(done.stdout)} == {
        "the image has 65536 x 65536 = 4,294,967,296 pixels; --max-pixels sets the limit (178,956,970)."
    }
    assert len(rows(done.stdout)) == 8


GROWTH = """
import resource, sys
from resnest_cli.inputs.loading import Loader
from resnest_cli.types import DataConfig, Source
from resnest_cli.errors import ImageTooLarge
load = Loader(DataConfig(), True, 178_956_970)
for path in sys.argv[2:]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        load(Source(path))
    except ImageTooLarge:
        if path != sys.argv[1]:
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_bomb_costs_no_memory(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(bare_png(65536, 65536, zlib.compress(bytes(1 << 20))))
    with (tmp_path / "sparse.png").open("wb") as file:
        file.truncate(1 << 40)
    done = shell(sys.executable, "-c", GROWTH, "", tmp_path / "bomb.png", tmp_path / "sparse.png")
    assert done.returncode == 0, done.stderr
    grown = [int(line) for line in done.stdout.split()]
    assert len(grown) == 2
    assert max(grown) < 200 * 1024 / 8  # kB each, where eight together may take 200 MB


def icon(*pictures: bytes) -> bytes:
    """Make an ICO file that says 256 x 256 of each of its pictures."""
    places = [6 + 16 * len(pictures) + sum(map(len, pictures[:i])) for i in range(len(pictures))]
    entries = [
        struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 32, len(picture), place)
        for picture, place in zip(pictures, places, strict=True)
    ]
    return struct.pack("<HHH", 0, 1, len(pictures)) + b"".join(entries) + b"".join(pictures)


def avif(width: int, height: int) -> bytes:
    """Make an AVIF file of 64 x 64 pixels that says another size."""
    out = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(out, "AVIF")
    content = out.getvalue()
    at = content.index(b"ispe") + 8
    return content[:at] + struct.pack(">II", width, height) + content[at + 8 :]


def gif(canvas: int, frame: int, at: int = 0) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", canvas, canvas, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return head + b"\x2c" + struct.pack("<HHHHB", at, at, frame, frame, 0) + b"\2\2\x44\1\0;"


def webp() -> bytes:
    """Make a WebP file whose canvas is said to have 2^24 x 2^24 pixels."""
    out = io.BytesIO()
    Image.new("RGBA", (64, 64), (1, 2, 3, 4)).save(out, "WEBP", exif=b"Exif\0\0" + bytes(40))
    content = bytearray(out.getvalue())
    at = content.index(b"VP8X") + 12
    content[at : at + 6] = b"\xff" * 6
    return bytes(content)


def tiff(entries: dict[int, tuple[int, int, int]], after: int = 0) -> bytes:
    """Make a TIFF of 8 x 8 gray pixels, with further or other tags (kind, count, value)."""
    page = {256: (4, 1, 8), 257: (4, 1, 8), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 277: (3, 1, 1)}
    page |= {278: (4, 1, 8), 273: (4, 1, 250), 279: (4, 1, 64)} | entries
    tags = b"".join(struct.pack("<HHLL", name, *page[name]) for name in sorted(page))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(page)) + tags + struct.pack("<L", after) + bytes(400)


SMALL = bare_png(8, 8, zlib.compress(bytes(16)))


@cache
def bombs() -> dict[str, tuple[bytes, str]]:
    """Return files that say or hold much more than they are, and what comes of each."""
    text = zlib.compress(bytes(1 << 27))  # 128 MB
    return {
        "canvas.gif": (gif(65535, 1), "ImageTooLarge"),
        "frame.gif": (gif(1, 65535), "ImageTooLarge"),
        "off.gif": (gif(10, 5, 60000), "ImageTooLarge"),
        "size.avif": (avif(65536, 65536), "NotAnImage"),
        "most.avif": (avif(2**32 - 1, 2**32 - 1), "NotAnImage"),
        "none.avif": (avif(0, 0), "NotAnImage"),
        "canvas.webp": (webp(), "BrokenImage"),
        "large.ico": (icon(SMALL, bare_png(65500, 65500)), "ImageTooLarge"),
        "circle.tif": (tiff({254: (4, 1, 1)}, after=8), "ok"),
        "count.tif": (tiff({65000: (1, 2**32 - 1, 250)}), "ok"),
        "tiles.tif": (tiff({256: (4, 1, 13000), 257: (4, 1, 13000), 322: (4, 1, 0), 323: (4, 1, 0)}), "TruncatedImage"),
        "ztxt.png": (SMALL[:33] + chunk(b"zTXt", b"a\0\0" + text) + SMALL[33:], "ok"),
        "iccp.png": (SMALL[:33] + chunk(b"iCCP", b"a\0\0" + text) + SMALL[33:], "ok"),
        "frames.png": (SMALL[:33] + chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)) + SMALL[33:], "ok"),
        "token.ppm": (b"P6 " + b"9" * 1_000_000 + b" 8 255\n", "BrokenImage"),
    }


@pytest.mark.filterwarnings("ignore::UserWarning")  # as `main` does with those of Pillow
@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_bomb_of_any_format_is_a_row_and_its_neighbours_stand(resnest: Resnest, tmp_path: Path, workers: str) -> None:
    paths = []
    for name, (content, _) in bombs().items():
        (tmp_path / name).write_bytes(content)
        paths += [tmp_path / name, SEVEN]
    found = rows(resnest("predict", *paths, *DIGITS, "-j", workers).stdout_bytes)
    assert {row["path"]: outcome(row) for row in found[1::2]} == {str(SEVEN): "seven"}
    outcomes = {Path(row["path"]).name: outcome(row) if row["status"] == "error" else "ok" for row in found[::2]}
    assert outcomes == {name: said for name, (_, said) in bombs().items()}


def test_a_picture_in_an_icon_is_refused_by_its_own_header(resnest: Resnest, tmp_path: Path) -> None:
    """Pillow decodes it to tell its size: four billion pixels, where the icon says 256 x 256."""
    (tmp_path / "x.ico").write_bytes(icon(SMALL, bare_png(65500, 65500)))
    (row,) = rows(resnest("predict", tmp_path / "x.ico", *DIGITS).stdout_bytes)
    assert row["error"]["message"] == (
        "a picture in the icon has 65500 x 65500 = 4,290,250,000 pixels; --max-pixels sets the limit (178,956,970)."
    )


@pytest.mark.slow
def test_the_pixel_limit_is_an_option(resnest: Resnest, tmp_path: Path) -> None:
    large = tmp_path / "large.png"  # 178,964,480 pixels: just more than the default, and legal
    large.write_bytes(bare_png(16384, 10924, zlib.compress((b"\0" + bytes(2048)) * 10924)))
    assert outcomes(resnest("predict", large, *DIGITS).stdout_bytes) == ["ImageTooLarge"]
    raised = resnest("predict", large, SEVEN, *DIGITS, "--max-pixels", "180000000")
    assert [row["status"] for row in rows(raised.stdout_bytes)] == ["ok", "ok"]
    lowered = resnest("predict", SEVEN, *DIGITS, "--max-pixels", "500")
    assert outcomes(lowered.stdout_bytes) == ["ImageTooLarge"]


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["2", "0"])
def test_an_image_that_takes_minutes_is_given_up(shell: Shell, tmp_path: Path, workers: str) -> None:
    (tmp_path / "scans.jpg").write_bytes(many_scans(2000, 20000))
    done = shell("resnest", "predict", SEVEN, tmp_path, SEVEN, *DIGITS, "-j", workers, "--timeout", "2")
    assert outcomes(done.stdout) == ["seven", "DecodeTimeout", "seven"]
    assert (done.returncode, done.stderr) == (ExitCode.SOME_FAILED, b"")


# --- A6, A7: as a person sees it


def test_a_turned_image_has_the_answer_of_the_upright_one(resnest: Resnest, tmp_path: Path) -> None:
    undo = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"} | {
        6: "ROTATE_90",
        7: "TRANSVERSE",
        8: "ROTATE_270",
    }
    with Image.open(SEVEN) as image:
        upright = image.convert("RGB").resize((128, 128))
    formats: dict[str, dict[str, Any]] = {
        "png": {},
        "jpg": {"quality": 95},
        "webp": {"lossless": True},
        "avif": {"quality": 100},
        "tif": {},
    }
    for suffix, how in formats.items():
        for orientation in range(9):
            exif = Image.Exif()
            exif[0x0112] = orientation
            turn = undo.get(orientation)
            stored = upright.transpose(Image.Transpose[turn]) if turn else upright
            stored.save(tmp_path / f"{orientation}.{suffix}", exif=exif, **how)
    answers = [row["predictions"][0] for row in rows(resnest("predict", tmp_path, *DIGITS).stdout_bytes)]
    assert [answer["label"] for answer in answers] == ["seven"] * 45
    probabilities = [answer["probability"] for answer in answers]
    assert max(probabilities) - min(probabilities) < 0.02


def test_16_bit_and_transparent_images_have_the_answer_of_the_8_bit_one(resnest: Resnest, tmp_path: Path) -> None:
    with Image.open(SEVEN) as image:
        gray = np.asarray(image.convert("L"))
    Image.fromarray(gray).save(tmp_path / "0.png")
    Image.fromarray(gray.astype(np.uint16) * 257).save(tmp_path / "1.png")
    Image.fromarray(gray.astype(np.float32) / 255).save(tmp_path / "2.tif")
    ink = np.zeros((*gray.shape, 4), np.uint8)  # white light of the same strength on white would show nothing: as ink
    ink[..., 3] = 255 - gray
    Image.fromarray(ink).save(tmp_path / "3.png")
    found = rows(resnest("predict", tmp_path, *DIGITS).stdout_bytes)
    assert [row["predictions"] for row in found] == [found[0]["predictions"]] * 4


# --- A9, A10: what only looks like an image


def test_no_program_is_started_for_postscript(shell: Shell, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "gs").write_text(f"#!/bin/sh\ntouch '{tmp_path}/started'\n")
    (programs / "gs").chmod(0o755)
    Image.new("RGB", (20, 20)).save(tmp_path / "drawing.eps")
    (tmp_path / "drawing.eps").rename(tmp_path / "drawing.jpg")
    (tmp_path / "named.png").write_bytes(SEVEN.read_bytes())
    Image.open(SEVEN).convert("RGB").save(tmp_path / "other.png", "JPEG", quality=95)
    done = shell("resnest", "predict", tmp_path, *DIGITS, PATH=f"{programs}{os.pathsep}{os.environ['PATH']}")
    assert outcomes(done.stdout) == ["NotAnImage", "seven", "seven"]
    assert not (tmp_path / "started").exists()


# --- A11 to A14: files


def test_nothing_that_is_no_file_hangs_a_job(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "folder.jpg" / "inside.png").write_bytes(SEVEN.read_bytes())
    (tmp_path / "memory.png").symlink_to("/proc/self/mem")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "self.png").symlink_to("self.png")
    (tmp_path / "up").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "fifo.png")
    done = shell("resnest", "predict", tmp_path, *DIGITS)
    assert [(Path(row["path"]).name, outcome(row)) for row in rows(done.stdout)] == [
        ("fifo.png", "UnreadableInput"),
        ("inside.png", "seven"),
        ("memory.png", "UnreadableInput"),
        ("self.png", "UnreadableInput"),
        ("zero.png", "UnreadableInput"),
    ]


NAMES = [
    *(b"-dash.png", b"=cmd.png", b"[bold].png", b":smile:.png", b"a\nb.png", b"\x1b[31m.png", b"\xff\xfe.png"),
    "\u202egpj.png".encode(),
    b"n" * 251 + b".png",
]


def test_any_name_is_read_and_keeps_its_bytes(resnest: Resnest, tmp_path: Path) -> None:
    for name in NAMES:
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_bytes(SEVEN.read_bytes())  # noqa: PTH118 - bytes
    done = resnest("predict", tmp_path, *DIGITS)
    found = rows(done.stdout_bytes)
    assert [os.path.basename(os.fsencode(row["path"])) for row in found] == sorted(NAMES, key=os.fsdecode)  # noqa: PTH119 - bytes
    assert {outcome(row) for row in found} == {"seven"}
    listed = resnest(
        "predict", "--files-from", "-", "-0", *DIGITS, stdin=b"\0".join(os.fsencode(r["path"]) for r in found)
    )
    assert listed.stdout_bytes == done.stdout_bytes


def test_a_file_that_vanishes_or_shrinks_after_it_was_found_is_a_row(tmp_path: Path) -> None:
    from resnest_cli import Classifier, FakeEngine

    for i in range(6):
        (tmp_path / f"{i}.png").write_bytes(SEVEN.read_bytes())
    records = Classifier("digits", engine=FakeEngine(), workers=0, batch=1).predict(tmp_path)
    next(iter(records))
    (tmp_path / "4.png").unlink()
    (tmp_path / "5.png").write_bytes(SEVEN.read_bytes()[:60])
    assert [getattr(record, "type", "ok") for record in records] == [
        *("ok", "ok", "ok", "UnreadableInput", "TruncatedImage")
    ]


def test_what_may_not_be_read_is_a_row(resnest: Resnest, tmp_path: Path) -> None:
    for name in ("closed.png", "open.png"):
        (tmp_path / name).write_bytes(SEVEN.read_bytes())
    (tmp_path / "closed.png").chmod(0)
    if os.geteuid() == 0:  # who may read everything, but not this
        (tmp_path / "closed.png").unlink()
        (tmp_path / "closed.png").symlink_to("/proc/self/mem")
    done = resnest("predict", tmp_path, *DIGITS)
    assert outcomes(done.stdout_bytes) == ["UnreadableInput", "seven"]


# --- A15, D5, D6: long jobs


def test_memory_does_not_grow_with_the_number_of_files() -> None:
    import tracemalloc

    from resnest_cli.inputs.find import find_sources
    from resnest_cli.inputs.lists import listed

    def peak(number: int) -> int:
        names = io.BytesIO()
        names.write(b"".join(b"%s\n" % os.fsencode(SEVEN) for _ in range(number)))
        names.seek(0)
        tracemalloc.start()
        count = sum(1 for _ in find_sources(listed(io.BufferedReader(names))))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == number
        return most

    few = peak(5_000)
    assert peak(20_000) < 1.1 * few


def test_with_few_open_files_allowed_it_works(shell: Shell) -> None:
    limited = f"ulimit -n 64; exec '{sys.executable}' -m resnest_cli predict '{SAMPLES}' {' '.join(DIGITS)} -j 8"
    done = shell("sh", "-c", limited)
    assert (done.returncode, len(rows(done.stdout))) == (0, len(GOOD))


def children(pid: int) -> list[int]:
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended
            found += map(int, path.read_text().split())
    return found


def pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream
    return stream


@pytest.fixture
def job() -> Iterator[subprocess.Popen[bytes]]:
    """Start a job of thousands of images in two workers, which waits for its reader after some rows."""
    command = [sys.executable, "-m", "resnest_cli", "predict", "--files-from", "-", *DIGITS, "-j", "2"]
    stdin, stdout = subprocess.PIPE, subprocess.PIPE
    with subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE) as process:
        yield process
        process.kill()


LINUX = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs /proc and pidfd_open")


@pytest.mark.slow
@LINUX
def test_workers_that_are_killed_cost_no_row(job: subprocess.Popen[bytes]) -> None:
    number = 400
    name = os.fsencode(SEVEN) + b"\n"
    found = []
    for i in range(4):
        pipe(job.stdin).write(name * (number // 4))
        pipe(job.stdin).flush()
        found += [json.loads(pipe(job.stdout).readline()) for _ in range(number // 8)]
        while len(workers := children(job.pid)) < 2:  # the successor of the last one has not begun
            pass
        os.kill(workers[i % 2], signal.SIGKILL)
    pipe(job.stdin).close()
    found += rows(pipe(job.stdout).read())
    assert [outcome(row) for row in found] == ["seven"] * number
    assert job.wait() == 0


def test_the_row_of_a_name_from_a_pipe_comes_before_the_next_name(job: subprocess.Popen[bytes]) -> None:
    for name in [*sorted(SAMPLES.iterdir()), Path("lost.png"), SEVEN]:
        pipe(job.stdin).write(os.fsencode(name) + b"\n")
        pipe(job.stdin).flush()
        assert json.loads(pipe(job.stdout).readline())["path"] == str(name)
    pipe(job.stdin).close()
    assert (pipe(job.stdout).read(), job.wait()) == (b"", ExitCode.SOME_FAILED)


@LINUX
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_however_a_job_ends_no_worker_stays(job: subprocess.Popen[bytes], number: signal.Signals, code: int) -> None:
    import select

    pipe(job.stdin).write((os.fsencode(SEVEN) + b"\n") * 600)  # more rows than a pipe holds, and fewer names
    pipe(job.stdin).flush()
    pipe(job.stdout).readline()
    workers = [os.pidfd_open(child) for child in children(job.pid)]
    assert len(workers) == 2
    job.send_signal(number)
    pipe(job.stdout).read()  # first, since what was being written when the signal came has to go somewhere
    stderr = pipe(job.stderr).read()
    assert job.wait() == code
    assert b"Traceback" not in stderr
    for worker in workers:
        ended = select.poll()
        ended.register(worker, select.POLLIN)
        assert ended.poll(30_000), "a worker stayed"
        os.close(worker)


# --- lists of names


def test_a_list_names_files_and_folders_after_the_arguments(resnest: Resnest, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "four.png").write_bytes(
        (SAMPLES / "four_0020.png").read_bytes() if (SAMPLES / "four_0020.png").exists() else SEVEN.read_bytes()
    )
    listed = tmp_path / "list.txt"
    listed.write_text(f"{tmp_path}/folder\r\n\n{SEVEN}\nmissing.png")
    done = resnest("predict", SEVEN, "--files-from", listed, *DIGITS)
    assert [row["path"] for row in rows(done.stdout_bytes)] == [
        *(str(SEVEN), f"{tmp_path}/folder/four.png", str(SEVEN), "missing.png")
    ]
    assert done.exit_code == ExitCode.SOME_FAILED


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "Missing argument 'INPUT...'"),
        (("--files-from", "nowhere.txt"), "--files-from nowhere.txt: the list cannot be read: no such file."),
        (("--files-from", "."), "--files-from .: the list cannot be read: Is a directory"),
        ((str(SEVEN), "-0"), "-0 tells how a list is read"),
        (("-", "--files-from", "-"), "exclude each other"),
    ],
)
def test_lists_that_cannot_be_meant_are_refused_first(resnest: Resnest, words: tuple[str, ...], message: str) -> None:
    done = resnest("predict", *words, "-m", "digits")
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_answers_come_while_a_list_is_still_being_written(job: subprocess.Popen[bytes]) -> None:
    pipe(job.stdin).write((os.fsencode(SEVEN) + b"\n") * 30)
    pipe(job.stdin).flush()
    assert outcome(json.loads(pipe(job.stdout).readline())) == "seven"
    pipe(job.stdin).close()
    assert len(rows(pipe(job.stdout).read())) == 29
