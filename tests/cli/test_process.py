"""What only real processes show: signals, closed and full outputs, standard input, files that are none."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest
from conftest import SAMPLES, Resnest, Shell

from resnest_cli.errors import ExitCode
from resnest_cli.system import streams

if TYPE_CHECKING:
    from collections.abc import Iterator

SEVEN = SAMPLES / "seven_0081.png"
DIGITS = ("-m", "digits", "-f", "jsonl")
MANY = 5000  # rows enough to fill a pipe many times over: a job of these is in its middle until it is read to the end
MORE_THAN_A_PIPE_HOLDS = bytes(1 << 20)
LIMIT_S = 100.0
WITH_NETWORK = ("-m", "resnest_cli")
# The same program with an engine that needs no torch: starts in half a second, where no answer matters.
FAKE = """
from resnest_cli import cli
from resnest_cli.engines.fake import FakeEngine
from resnest_cli.pipeline import trunk
trunk.open_engine = lambda spec, options, want: FakeEngine(spec)
cli.main()
"""
WITHOUT_NETWORK = ("-c", FAKE)
IN_ONE_PROCESS = pytest.mark.usefixtures("decode_here")


@contextlib.contextmanager
def started(
    *args: str | Path, program: tuple[str, str] = WITH_NETWORK, stdout: int | IO[bytes] = subprocess.PIPE
) -> Iterator[subprocess.Popen[bytes]]:
    """Start `resnest`; it is killed when the block is left, or when it hangs."""
    command = [sys.executable, *program, *map(str, args)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stdout, stderr=subprocess.PIPE) as process:
        watchdog = threading.Timer(LIMIT_S, process.kill)
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()


def pipe(stream: IO[bytes] | None) -> IO[bytes]:
    """Return the stream, which Popen types as one that may be missing."""
    assert stream is not None
    return stream


def rows(output: bytes) -> list[dict[str, Any]]:
    """Read JSON lines, each of which must be whole."""
    assert output == b"" or output.endswith(b"\n")
    return [json.loads(line) for line in output.splitlines()]


# Signals


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_ends_a_job_between_two_rows(name: str, code: int) -> None:
    with started("predict", *[SEVEN] * MANY, *DIGITS) as process:
        first = pipe(process.stdout).readline()
        process.send_signal(getattr(signal, name))
        output = first + pipe(process.stdout).read()
        stderr = pipe(process.stderr).read()
        assert process.wait() == code, stderr
    answers = rows(output)
    assert {row["predictions"][0]["label"] for row in answers} == {"seven"}
    assert len(answers) < MANY
    assert b"Traceback" not in stderr


def end_at_third_of_four(output: Path, number: int) -> int:
    """Send a signal to a job that has written two rows and reads a picture from stdin; return its exit code.

    One thread and batches of one: so the two rows are written before the reading begins. A write of more than a pipe
    holds returns when the reading has begun. The end of stdin is for a signal that comes between two system calls,
    which Python sees only when its read returns.
    """
    plain = ("--workers", "0", "--batch", "1", "-m", "digits")
    with started("predict", SEVEN, SEVEN, "-", SEVEN, "-o", output, *plain, program=WITHOUT_NETWORK) as process:
        pipe(process.stdin).write(MORE_THAN_A_PIPE_HOLDS)
        pipe(process.stdin).flush()
        process.send_signal(number)
        pipe(process.stdin).close()
        return process.wait()


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGKILL", -9)])
def test_a_jsonl_file_keeps_the_finished_rows_whatever_ends_the_job(tmp_path: Path, name: str, code: int) -> None:
    assert end_at_third_of_four(tmp_path / "answers.jsonl", getattr(signal, name)) == code
    assert [row["path"] for row in rows((tmp_path / "answers.jsonl").read_bytes())] == [str(SEVEN)] * 2
    beside = {path.name for path in tmp_path.iterdir()} - {"answers.jsonl.lock"}  # which is nobody's after SIGKILL
    assert beside == {"answers.jsonl", "answers.jsonl.resume.json"}


def test_an_interrupted_json_file_does_not_get_its_name(tmp_path: Path) -> None:
    assert end_at_third_of_four(tmp_path / "answers.json", signal.SIGINT) == 130
    assert {path.name for path in tmp_path.iterdir()} == {"answers.json.part", "answers.json.resume.json"}


@IN_ONE_PROCESS
def test_a_signal_ends_a_job_that_waits_for_standard_input() -> None:
    with started("predict", "-", *DIGITS, program=WITHOUT_NETWORK) as process:
        pipe(process.stdin).write(MORE_THAN_A_PIPE_HOLDS)
        pipe(process.stdin).flush()
        for _ in range(3):  # again, if it came between two system calls, where Python does not see it
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2)
                break
        assert process.poll() == 130


# Prepares a process in which a signal is ignored, and prints whether it still is.
IGNORING = """
import signal, sys
number = getattr(signal, sys.argv[1])
signal.signal(number, signal.SIG_IGN)
from resnest_cli.system import lifetime
lifetime.prepare()
print(signal.getsignal(number) is signal.SIG_IGN)
"""


@pytest.mark.parametrize("name", ["SIGHUP", "SIGTERM"])
def test_a_signal_that_the_caller_ignores_stays_ignored(name: str, shell: Shell) -> None:
    # That is how nohup works.
    assert shell(sys.executable, "-c", IGNORING, name).stdout == b"True\n"


# Prints something when the interpreter frees its memory piece by piece, which takes 1.6 s where torch is loaded.
LATE = """
import sys
class Late:
    def __del__(self, stderr=sys.stderr):
        stderr.write("freed")
late = Late()
from resnest_cli.cli import main
main()
"""


@pytest.mark.parametrize("command", [("list-models",), ("show", "digits"), ("--version",), ("show", "no-such-model")])
def test_a_command_ends_at_once(command: tuple[str, ...], shell: Shell) -> None:
    assert b"freed" not in shell(sys.executable, "-c", LATE, *command).stderr


# Outputs that end early


def test_a_reader_that_has_enough_is_no_error() -> None:
    with started("predict", *[SEVEN] * MANY, *DIGITS) as process:
        first = pipe(process.stdout).readline()
        pipe(process.stdout).close()
        stderr = pipe(process.stderr).read()
        assert process.wait() == 0
    assert [row["status"] for row in rows(first)] == ["ok"]
    assert b"Traceback" not in stderr
    assert b"Exception ignored" not in stderr
    assert b"error" not in stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize(
    "command",
    [("predict", SEVEN, *DIGITS), ("list-models",), ("--help",), ("predict", "--help"), ("--version",)],
    ids=lambda words: " ".join(words[:2]) if words[-1][0] == "-" else words[0],
)
@IN_ONE_PROCESS
def test_a_full_disk_is_told(command: tuple[str | Path, ...]) -> None:
    with Path("/dev/full").open("wb") as full, started(*command, program=WITHOUT_NETWORK, stdout=full) as process:
        stderr = pipe(process.stderr).read()
        assert process.wait() == 1
    assert b"cannot be written" in stderr
    assert b"Traceback" not in stderr
    assert b"Exception ignored" not in stderr


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no file here that fails with EIO")
@IN_ONE_PROCESS
def test_a_disk_that_fails_is_told() -> None:
    with (
        Path("/proc/self/mem").open("r+b", buffering=0) as broken,  # nothing lies at address 0
        started("predict", SEVEN, *DIGITS, program=WITHOUT_NETWORK, stdout=broken) as process,
    ):
        stderr = pipe(process.stderr).read()
        assert process.wait() == 1
    assert b"cannot be written: Input/output error." in stderr
    assert b"Traceback" not in stderr


def test_a_reader_that_is_gone_before_the_help_comes_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as gone, started("--help", program=WITHOUT_NETWORK, stdout=gone) as process:
        stderr = pipe(process.stderr).read()
        assert (process.wait(), stderr) == (0, b"")


def test_an_output_that_does_not_wait_gets_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)  # as programs do that share it
    rows = bytearray()

    def until_there_is_room(*_: object) -> None:
        rows.extend(os.read(reading, 1 << 20))

    monkeypatch.setattr(select, "select", until_there_is_room)
    with os.fdopen(writing, "w") as busy, os.fdopen(reading), monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", busy)
        patch.setattr(sys, "stderr", busy)
        streams.install()
        for number in range(50_000):
            sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        until_there_is_room()
    assert [int(row) for row in rows.split()] == [*range(50_000)]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("stderr", [">/dev/full", ">&-"])
@IN_ONE_PROCESS
def test_what_cannot_be_said_on_stderr_costs_no_row(stderr: str) -> None:
    words = shlex.join([sys.executable, *WITHOUT_NETWORK, "predict", str(SEVEN), "lost.png", str(SEVEN), *DIGITS])
    done = subprocess.run(["/bin/sh", "-c", f"{words} 2{stderr}"], stdout=subprocess.PIPE, timeout=LIMIT_S, check=False)
    assert [row["status"] for row in rows(done.stdout)] == ["ok", "error", "ok"]
    assert done.returncode == ExitCode.SOME_FAILED


def test_what_the_system_refuses_is_not_blamed_on_the_output(resnest: Resnest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files", "/some/where")

    monkeypatch.setattr("resnest_cli.models.catalog.list_models", refused)
    done = resnest("list-models")
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", "error: /some/where: Too many open files.\n")
    assert isinstance(done.exception, SystemExit)


# Inputs of all kinds


@IN_ONE_PROCESS
def test_files_that_are_none_cost_a_row_each_and_nothing_more(shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "broken.png").write_bytes(SEVEN.read_bytes()[:-30])
    (folder / "good.png").write_bytes(SEVEN.read_bytes())
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "up").symlink_to(folder)  # a folder inside itself
    os.mkfifo(tmp_path / "fifo.png")
    named = [SEVEN, tmp_path / "fifo.png", folder, tmp_path / "missing.png", SEVEN]
    done = shell("resnest", "predict", *named, *DIGITS)
    outcomes = [
        (Path(row["path"]).name, row["error"]["type"] if "error" in row else row["predictions"][0]["label"])
        for row in rows(done.stdout)
    ]
    assert outcomes == [
        ("seven_0081.png", "seven"),
        ("fifo.png", "UnreadableInput"),
        ("broken.png", "TruncatedImage"),
        ("good.png", "seven"),
        ("loop.png", "UnreadableInput"),
        ("missing.png", "UnreadableInput"),
        ("seven_0081.png", "seven"),
    ]
    assert done.returncode == ExitCode.SOME_FAILED
    assert b"4 of 7 inputs failed" in done.stderr


@IN_ONE_PROCESS
def test_a_picture_is_read_from_standard_input(shell: Shell) -> None:
    done = shell("resnest", "predict", "-", *DIGITS, stdin=SEVEN.read_bytes())
    (row,) = rows(done.stdout)
    assert (row["path"], row["predictions"][0]["label"]) == ("-", "seven")
    assert done.returncode == 0


@IN_ONE_PROCESS
def test_an_empty_standard_input_is_no_image(resnest: Resnest) -> None:
    done = resnest("predict", "-", *DIGITS)
    (row,) = rows(done.stdout_bytes)
    assert (row["path"], row["error"]["type"]) == ("-", "NotAnImage")
    assert done.exit_code == ExitCode.SOME_FAILED


@IN_ONE_PROCESS
def test_a_text_is_no_image_whatever_its_suffix(resnest: Resnest, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not a picture\n")
    done = resnest("predict", tmp_path, *DIGITS)
    (row,) = rows(done.stdout_bytes)
    assert row["error"]["type"] == "NotAnImage"
    assert done.exit_code == ExitCode.SOME_FAILED


# Errors


@pytest.mark.parametrize("verbose", [True, False])
@IN_ONE_PROCESS
def test_a_traceback_is_shown_only_if_asked_for(shell: Shell, tmp_path: Path, *, verbose: bool) -> None:
    flags = ["-v"] if verbose else []
    done = shell("resnest", "predict", SEVEN, "--weights", tmp_path / "nowhere.safetensors", *flags)
    assert done.returncode == 1
    assert done.stdout == b""
    assert b"nowhere.safetensors: no such file" in done.stderr
    assert (b"Traceback" in done.stderr) is verbose


# A terminal


@IN_ONE_PROCESS
def test_a_terminal_shows_the_table_and_below_it_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SAMPLES)  # a long path would be wrapped
    leader, follower = pty.openpty()
    job = started("predict", SEVEN.name, "lost.png", "-m", "digits", program=WITHOUT_NETWORK, stdout=follower)
    with os.fdopen(leader, "rb", buffering=0) as screen, job as process:
        os.close(follower)
        shown = b"".join(until_hang_up(screen)).decode()
        assert process.wait() == ExitCode.SOME_FAILED
    assert "classifying" in shown
    assert "2/2" in shown
    # What stands in a line is what came after it was last erased, without the colors.
    visible = [re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", line.split("\x1b[2K")[-1]) for line in shown.split("\r\n")]
    assert visible[0] == SEVEN.name
    assert "    UnreadableInput: no such file." in [line.rstrip() for line in visible]
    assert visible[-1].strip() == ""  # the bar is gone


def until_hang_up(screen: IO[bytes]) -> Iterator[bytes]:
    """Read a terminal until its last writer has closed it, which Linux tells by an error."""
    with contextlib.suppress(OSError):
        while text := screen.read(4096):
            yield text


@IN_ONE_PROCESS
def test_a_pipe_as_output_file_that_nobody_reads_to_its_end_is_no_error(shell: Shell) -> None:
    predict = f"'{sys.executable}' -c \"$PROGRAM\" predict {1000 * f'{SEVEN} '} -m digits -q -f jsonl -o /dev/stdout"
    ended = shell("bash", "-c", f"{predict} | head -1; exit ${{PIPESTATUS[0]}}", PROGRAM=FAKE)
    assert (ended.returncode, ended.stdout.count(b"\n"), ended.stderr) == (0, 1, b"")


@IN_ONE_PROCESS
def test_streams_that_the_caller_closed_are_told_and_not_needed_for_a_file(shell: Shell, tmp_path: Path) -> None:
    resnest = f"exec '{sys.executable}' -c \"$PROGRAM\""
    closed = shell("sh", "-c", f"{resnest} predict '{SEVEN}' -m digits >&-", PROGRAM=FAKE)
    assert (closed.returncode, b"the output cannot be written" in closed.stderr) == (1, True)
    written = shell("sh", "-c", f"{resnest} predict - -m digits -o '{tmp_path}/x.jsonl' >&- <&-", PROGRAM=FAKE)
    (row,) = rows((tmp_path / "x.jsonl").read_bytes())
    assert (written.returncode, row["error"]["message"]) == (ExitCode.SOME_FAILED, "standard input is closed.")
    assert b"Traceback" not in closed.stderr + written.stderr
