"""Jobs with an output file: stopped in every way, continued, and refused where rows of two kinds would mix."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from conftest import SAMPLES, Resnest, Shell

from resnest_cli.errors import ExitCode, OutputError
from resnest_cli.outputs import features
from resnest_cli.outputs.formats import FORMATS, JSONL
from resnest_cli.outputs.journal import Journal
from resnest_cli.outputs.resumable import ResumableFile
from resnest_cli.outputs.rows import About, to_row
from resnest_cli.pipeline.stream import MAX_FAILURES_PER_BATCH
from resnest_cli.system.files import warn_once
from resnest_cli.types import Failure, Prediction, Record, Result, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

IN_PLACE = [name for name, format in FORMATS.items() if format.compose is None]
KILLS = int(os.environ.get("KILLS", "2"))  # for each format; KILLS=50 for the figure in the README
DIGITS = ("-m", "digits")
ODD = "\udcff \"'=<\n\r,\u202e.png"
RECORDS: list[Record] = [
    Result("a\n.jpg", (Prediction(1, 2, None, "two", 0.5), Prediction(2, 9, None, '"nine"\n', 0.25))),
    Failure(ODD, "BrokenImage", 'a "reason",\nof two lines.'),
    Result("-", (Prediction(1, 4, None, "four", 1.0),)),
    Result("none", ()),
]


def job(  # noqa: PLR0913 - all but three by name
    path: Path,
    format: str,
    records: list[Record],
    *,
    stop: int | None = None,
    batch: int = 1,
    resume: bool = False,
    overwrite: bool = False,
) -> tuple[int, list[str | None]]:
    """Write records as a command does, or only the first `stop`; return how many were there, and their errors."""
    seen: list[str | None] = []
    with ResumableFile(path, FORMATS[format], resume=resume, overwrite=overwrite) as out:
        out.begin(About(2, {"model": "m"}), {"model": "m"}, batch)
        found = list(out.rest((Source(record.path) for record in records), seen.append))
        assert len(found) == len(records) - out.done
        out.write(map(to_row, records[out.done : stop]))
        if stop is None:
            out.finish()
    return out.done, seen


def files(folder: Path) -> set[str]:
    """Name the files in a folder, but for what is kept of finished jobs."""
    return {path.name for path in folder.iterdir() if not path.name.endswith(".done.json")}


# Torn anywhere


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_cut_at_any_byte_is_continued_to_the_same_file(tmp_path: Path, format: str) -> None:
    whole, path = tmp_path / "whole", tmp_path / "x"
    job(whole, format, RECORDS)
    journal = path if format in IN_PLACE else tmp_path / "x.part"
    job(path, format, RECORDS, stop=len(RECORDS))
    text, sidecar = journal.read_bytes(), (tmp_path / "x.resume.json").read_bytes()
    kept = set()
    for size in range(0, len(text) + 1, 3 if format in IN_PLACE else 41):  # all others share one journal
        path.unlink(missing_ok=True)
        journal.write_bytes(text[:size])
        (tmp_path / "x.resume.json").write_bytes(sidecar)
        done, seen = job(path, format, RECORDS, resume=True)
        kept.add(done)
        assert seen == [None, "BrokenImage", None, None][:done]
        assert path.read_bytes() == whole.read_bytes()
        assert files(tmp_path) == {"whole", "x"}
    assert kept >= {0, 1, 3}  # a failure is in the batch of the image after it


def test_noise_after_a_crash_of_the_machine_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    job(path, "jsonl", RECORDS, stop=3)
    with path.open("ab") as file:
        file.write(bytes(4096) + b"\n[1]\n")
    assert job(path, "jsonl", RECORDS, resume=True)[0] == 3
    assert path.read_bytes() == b"".join(JSONL.encode(to_row(record), About(2, {})) for record in RECORDS)


ROW = b'{"path": "none", "status": "ok", "predictions": []}\n'
NPY, CSV = features.named(Path("x.npy")).lines, FORMATS["csv"].lines
EDITED = {
    "path": (JSONL, ROW.replace(b'"none"', b"5")),
    "no error": (JSONL, ROW.replace(b"}", b', "error": null}')),
    "error as text": (JSONL, ROW.replace(b"}", b', "error": "oops"}')),
    "error without type": (JSONL, ROW.replace(b"}", b', "error": {}}')),
    "huge cell": (CSV, b'"%s",ok,,\n' % (b"x" * 200_000)),
    "no features": (NPY, ROW),
    "features of another type": (NPY, ROW.replace(b"}", b', "embedding": 5}')),
}


@pytest.mark.parametrize("what", EDITED)
def test_a_row_that_was_edited_into_none_is_made_again_and_all_after_it(tmp_path: Path, what: str) -> None:
    lines, line = EDITED[what]
    assert lines
    path = tmp_path / "x"
    good = [row | {"embedding": None} for row in map(to_row, RECORDS)]
    about = About(1, {})
    path.write_bytes(lines.header(about) + lines.encode(good[0], about) + line + lines.encode(good[3], about))
    with closing(Journal(path, lines)) as journal:
        assert journal.recover(about, batch=1) == 1
        assert [row["path"] for row in journal.rows()] == [RECORDS[0].path]


def test_a_batch_that_was_not_whole_is_made_again(tmp_path: Path) -> None:
    # Some engines give other last digits to an image in a batch of another size.
    path = tmp_path / "x.jsonl"
    good: list[Record] = [Result(str(i), ()) for i in range(9)]
    job(path, "jsonl", good, stop=8)
    assert job(path, "jsonl", good, stop=8, batch=3, resume=True)[0] == 6
    bad: list[Record] = [Failure(str(i), "NotAnImage", "") for i in range(MAX_FAILURES_PER_BATCH + 5)]
    job(path, "jsonl", bad, stop=len(bad), overwrite=True)
    assert job(path, "jsonl", bad, batch=3, resume=True)[0] == MAX_FAILURES_PER_BATCH


# Killed


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_killed_again_and_again_a_job_ends_with_the_rows_of_an_uninterrupted_run(
    resnest: Resnest, tmp_path: Path, format: str
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    samples = sorted(SAMPLES.iterdir())
    total = max(100, 12 * KILLS)
    for i in range(total):
        if i % 10 == 7:
            (folder / f"{i:04}.png").write_bytes(b"no image")
        else:
            (folder / f"{i:04}.png").hardlink_to(samples[i % len(samples)])
    whole, path = tmp_path / f"whole.{format}", tmp_path / f"x.{format}"
    command: list[str | Path] = ["predict", folder, *DIGITS, "-q", "-o"]
    assert resnest(*command, whole).exit_code == ExitCode.SOME_FAILED
    journal = path if format in IN_PLACE else tmp_path / f"x.{format}.part"
    for kill in range(1, KILLS + 1):
        target = kill * total // (KILLS + 1) - random.randrange(5)  # noqa: S311 - rows; any number will do
        with subprocess.Popen([sys.executable, "-m", "resnest_cli", *map(str, command), path, "--resume"]) as process:
            while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") >= target):
                time.sleep(0.001)
            process.kill()
        assert process.returncode == -signal.SIGKILL, "the job ended before it was killed"
        assert format in IN_PLACE or not path.exists()
    assert resnest(*command, path, "--resume").exit_code == ExitCode.SOME_FAILED
    assert files(tmp_path) == {"in", whole.name, path.name}
    if format == "parquet":
        assert pq.read_table(path).equals(pq.read_table(whole), check_metadata=True)
    else:
        assert path.read_bytes() == whole.read_bytes()


# Out of space, in this process


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """Allow no file more than `size` bytes: a full disk for this process alone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


ROOM = 1500  # bytes: for some rows of the samples, and for what lies beside them


def fill_up(resnest: Resnest, output: Path, *words: str | Path) -> None:
    """Start a job over the samples that stops in its middle as the disk is full."""
    resnest(
        "predict", SAMPLES / "two_0051.png", *DIGITS, *words
    )  # with the graph in the cache, nothing else is written
    with no_file_above(ROOM):
        ended = resnest("predict", SAMPLES, *DIGITS, "-o", output, *words)
    assert ended.exit_code == ExitCode.FAILED
    assert f"{output} cannot be written: File too large." in ended.stderr
    assert "the same command with --resume continues" in ended.stderr


@pytest.mark.parametrize("format", FORMATS)
def test_a_disk_that_is_full_leaves_whole_rows_and_a_job_to_resume(
    resnest: Resnest, tmp_path: Path, format: str
) -> None:
    path, whole = tmp_path / f"x.{format}", tmp_path / f"whole.{format}"
    fill_up(resnest, path)
    journal = path if format in IN_PLACE else tmp_path / f"x.{format}.part"
    assert journal.read_bytes().endswith(b"\n")
    assert files(tmp_path) == {journal.name, f"{path.name}.resume.json"}
    assert resnest("predict", SAMPLES, *DIGITS, "-o", path, "--resume").exit_code == ExitCode.OK
    assert resnest("predict", SAMPLES, *DIGITS, "-o", whole).exit_code == ExitCode.OK
    assert path.read_bytes() == whole.read_bytes()


def test_no_room_for_the_final_file_keeps_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "x.html"
    job(path, "html", RECORDS, stop=4)
    with no_file_above(ROOM), pytest.raises(OutputError, match="File too large"):
        job(path, "html", RECORDS, resume=True)
    assert files(tmp_path) == {"x.html.part", "x.html.resume.json"}
    assert job(path, "html", RECORDS, resume=True)[0] == 4


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_device_is_written_to_and_not_replaced(resnest: Resnest) -> None:
    ended = resnest("predict", SAMPLES, *DIGITS, "-o", "/dev/full", "-f", "jsonl")
    assert (ended.exit_code, ended.stderr.splitlines()[-1]) == (
        ExitCode.FAILED,
        "error: /dev/full cannot be written: No space left on device.",
    )
    assert resnest("predict", SAMPLES, *DIGITS, "-o", "/dev/null", "-f", "csv").exit_code == ExitCode.OK
    assert Path("/dev/null").is_char_device()


# Finished

COMPLETE = [*RECORDS, Result("last", ())]


@pytest.mark.parametrize("format", FORMATS)
def test_a_finished_job_is_complete_and_its_file_is_left_alone(tmp_path: Path, format: str) -> None:
    path = tmp_path / f"x.{format}"
    job(path, format, COMPLETE, stop=2)
    job(path, format, COMPLETE, resume=True)
    before, at = path.read_bytes(), path.stat().st_mtime_ns
    done, seen = job(path, format, COMPLETE, resume=True)
    assert (done, sorted(seen, key=str)) == (5, ["BrokenImage", None, None, None, None])
    assert (path.read_bytes(), path.stat().st_mtime_ns, files(tmp_path)) == (before, at, {path.name})


@pytest.mark.slow
@pytest.mark.parametrize(("inputs", "code"), [(("seven_0081.png",), 0), (("lost.png", "seven_0081.png"), 3)])
def test_the_same_command_again_says_complete_and_has_its_exit_code(
    resnest: Resnest, tmp_path: Path, inputs: tuple[str, ...], code: int
) -> None:
    for command, output in (("predict", "x.csv"), ("predict", "x.json"), ("embed", "x.npy"), ("embed", "x.jsonl")):
        (tmp_path / command).mkdir(exist_ok=True)
        path = tmp_path / command / output
        words: list[str | Path] = [command, *(SAMPLES / name for name in inputs), *DIGITS, "-o", path, "--resume"]
        assert resnest(*words).exit_code == code
        before = {file: file.read_bytes() for file in path.parent.iterdir()}
        again = resnest(*words)
        assert (again.exit_code, again.stdout) == (code, "")
        failed = ["1 of 2 inputs failed: UnreadableInput 1."] if code else []
        rows = f"complete: {len(inputs)} row{'s' * (len(inputs) > 1)}"
        assert again.stderr.splitlines()[-1 - len(failed) :] == [rows, *failed]
        assert {file: file.read_bytes() for file in path.parent.iterdir()} == before


def test_a_finished_file_is_not_taken_for_that_of_another_job(resnest: Resnest, tmp_path: Path) -> None:
    path, seven, two = tmp_path / "x.csv", SAMPLES / "seven_0081.png", SAMPLES / "two_0051.png"
    words = (*DIGITS, "-o", path, "--resume")
    assert resnest("predict", seven, two, *words).exit_code == ExitCode.OK
    before = path.read_bytes()
    for other, message in (
        ((seven, two, "-k", "3"), "was begun with other settings: topk 5, now 3. "),
        ((seven, seven), "is finished: it has 2 rows, and the inputs are others. "),
        ((seven,), "is finished: it has 2 rows, and the inputs are others. "),
        ((seven, two, seven), f"is finished: it has 2 rows, and the inputs go on with '{seven}'. "),
    ):
        ended = resnest("predict", *other, *words)
        assert (ended.exit_code, path.read_bytes()) == (ExitCode.FAILED, before)
        assert f"error: {path} {message}" in ended.stderr
    path.write_bytes(before + b"mine\n")
    assert f"error: {path} is not as it was when the job was finished" in resnest("predict", seven, two, *words).stderr
    (tmp_path / ".x.csv.done.json").unlink()
    ended = resnest("predict", seven, two, *words)
    assert "whether it is complete cannot be told: .x.csv.done.json is not beside it." in ended.stderr
    assert path.read_bytes() == before + b"mine\n"


def test_a_record_of_a_file_that_is_gone_or_replaced_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    job(path, "jsonl", COMPLETE)
    path.unlink()
    assert job(path, "jsonl", COMPLETE, resume=True)[0] == 0
    job(path, "jsonl", COMPLETE[:1], overwrite=True)
    assert job(path, "jsonl", COMPLETE[:1], resume=True)[0] == 1


# Too many failures

LOST = [f"lost{i}.png" for i in range(5)]


@pytest.mark.parametrize(("command", "name"), [("predict", "x.json"), ("predict", "x.csv"), ("embed", "x.npy")])
def test_a_job_with_too_many_failures_stops_and_can_be_gone_on_with(
    resnest: Resnest, tmp_path: Path, command: str, name: str
) -> None:
    words: list[str | Path] = [command, *LOST, SAMPLES, *DIGITS, "-o", tmp_path / name, "-b", "1"]
    ended = resnest(*words, "--max-failures", "2")
    assert ended.exit_code == ExitCode.FAILED
    message = (
        "error: 3 of 3 inputs failed, more than --max-failures 2 allows: UnreadableInput 3. Raise the limit to go on."
    )
    assert ended.stderr.splitlines()[-1] == message
    assert "the same command with --resume continues" in ended.stderr
    assert (tmp_path / f"{name}.resume.json").exists()
    assert resnest(*words, "--max-failures", "5", "--resume").exit_code == ExitCode.SOME_FAILED
    again = resnest(*words, "--max-failures", "5", "--resume")
    said = ["complete: 17 rows", "5 of 17 inputs failed: UnreadableInput 5."]
    assert (again.exit_code, again.stderr.splitlines()[-2:]) == (ExitCode.SOME_FAILED, said)


def test_a_share_of_failures_is_judged_from_a_hundred_rows_on_and_at_the_end(resnest: Resnest) -> None:
    few = resnest("predict", *LOST, SAMPLES / "two_0051.png", *DIGITS, "--max-failures", "50%")
    assert (few.exit_code, len(few.stdout.splitlines())) == (ExitCode.FAILED, 6)
    assert "5 of 6 inputs failed, more than --max-failures 50% allows" in few.stderr
    enough = resnest("predict", *LOST, SAMPLES, *DIGITS, "--max-failures", "30%")
    assert (enough.exit_code, len(enough.stdout.splitlines())) == (ExitCode.SOME_FAILED, 17)
    many = resnest("predict", *(f"lost{i}.png" for i in range(200)), *DIGITS, "--max-failures", "99%")
    assert (many.exit_code, len(many.stdout.splitlines())) == (ExitCode.FAILED, 100)


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "101%", "nan%", "%", ""])
def test_a_limit_of_failures_that_cannot_be_meant_is_told(resnest: Resnest, text: str) -> None:
    ended = resnest("predict", "x.png", *DIGITS, "--max-failures", text)
    assert (ended.exit_code, ended.stdout) == (ExitCode.USAGE, "")
    assert f"--max-failures {text}: give a number of inputs, as 100, or a share, as 5%." in ended.stderr


# Killed before any step


class Steps:
    """Ends the process, as a kill does, before the step `last` of all that change a file."""

    def __init__(self, last: int) -> None:
        self.left = last

    def before(self, act: Any) -> Any:  # noqa: ANN401 - a function of any kind
        def step(*args: Any, **how: Any) -> Any:  # noqa: ANN401 - as `act`
            self.left -= 1
            if self.left < 0:
                os._exit(9)
            return act(*args, **how)

        return step


def ends_before_step(last: int, path: Path, format: str) -> bool:
    """Run a job in a process of its own that is killed before its step `last`; tell whether it came so far."""
    child = os.fork()
    if not child:
        steps = Steps(last)
        with pytest.MonkeyPatch.context() as patch:
            for owner, name in (
                (Path, "unlink"),
                (Path, "replace"),
                (Journal, "_put"),
                (Journal, "cut"),
                (os, "fsync"),
            ):
                patch.setattr(owner, name, steps.before(getattr(owner, name)))
            job(path, format, RECORDS, resume=True)
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.slow
@pytest.mark.parametrize("format", ["jsonl", "json"])
def test_killed_before_any_step_a_job_goes_on_and_is_complete(tmp_path: Path, format: str) -> None:
    job(tmp_path / "whole", format, RECORDS)
    whole = (tmp_path / "whole").read_bytes()
    for last in count():
        path = tmp_path / str(last) / "x"
        path.parent.mkdir()
        killed = ends_before_step(last, path, format)
        for _ in range(2):  # the second time there is nothing to do
            done, _ = job(path, format, RECORDS, resume=True)
            assert (path.read_bytes(), {*path.parent.iterdir()}) == (whole, {path, path.with_name(".x.done.json")}), (
                last
            )
        assert done == len(RECORDS)
        if not killed:
            break
    assert last > 10


# What is not ours


def test_files_that_are_not_ours_are_left_alone(resnest: Resnest, tmp_path: Path) -> None:
    words = ("predict", SAMPLES / "seven_0081.png", *DIGITS, "-o")
    (tmp_path / "x.json.part").write_text("a download of another program")
    for more in ((), ("--overwrite",), ("--resume",)):
        ended = resnest(*words, tmp_path / "x.json", *more)
        assert (ended.exit_code, "x.json.part is in the way, and not of a job" in ended.stderr) == (1, True)
    (tmp_path / "y.json.lock").write_text("of another program")
    (tmp_path / "y.json.tmp").write_text("and this")
    assert resnest(*words, tmp_path / "y.json").exit_code == ExitCode.OK
    texts = {path.name: path.read_text() for path in tmp_path.iterdir() if path.suffix in {".part", ".lock", ".tmp"}}
    assert texts == {
        "x.json.part": "a download of another program",
        "y.json.lock": "of another program",
        "y.json.tmp": "and this",
    }


def test_what_validate_and_bench_write_does_not_touch_a_job(resnest: Resnest, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    job(path, "json", RECORDS, stop=3)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    (tmp_path / "data" / "seven").mkdir(parents=True)
    (tmp_path / "data" / "seven" / "x.png").hardlink_to(SAMPLES / "seven_0081.png")
    words = ("validate", tmp_path / "data", *DIGITS, "-o", path)
    refused = resnest(*words)
    message = f"error: {path} is the name of a job that was begun and is not finished: give another name."
    assert (refused.exit_code, refused.stderr.splitlines()[-1]) == (ExitCode.FAILED, message)
    assert resnest(*words, "--overwrite").exit_code == ExitCode.OK
    assert {file: file.read_bytes() for file in before} == before


def test_an_index_takes_no_name_that_is_taken(resnest: Resnest, tmp_path: Path) -> None:
    words = ("embed", SAMPLES / "seven_0081.png", *DIGITS, "-o")
    for output, other in (("a.npy", "a.npy.json"), ("b.npy", "b.paths.jsonl"), ("c.jsonl", "c.jsonl.json")):
        (tmp_path / other).write_text("precious")
        for more in ((), ("--resume",)):
            ended = resnest(*words, tmp_path / output, *more)
            words_for = "cannot be told" if more else "; add --overwrite to replace it."
            assert ended.exit_code == ExitCode.FAILED
            assert re.search(rf"{re.escape(other)} exists.*{words_for}", ended.stderr)
        assert (tmp_path / other).read_text() == "precious"
        assert not (tmp_path / output).exists()
        assert resnest(*words, tmp_path / output, "--overwrite").exit_code == ExitCode.OK
        assert (tmp_path / other).read_text() != "precious"


@pytest.mark.parametrize("format", ["jsonl", "json"])
def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path: Path, format: str) -> None:
    (tmp_path / "there").mkdir()
    path, target = tmp_path / "x", tmp_path / "there" / "y"
    path.symlink_to(target)
    with ResumableFile(path, FORMATS[format]):
        pass
    assert path.is_symlink()
    assert not target.exists()
    job(path, format, RECORDS)
    assert path.is_symlink()
    assert target.read_bytes() == path.read_bytes() != b""
    target.chmod(0o600)
    job(path, format, RECORDS, overwrite=True)
    assert target.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["x.csv", "x.json"])
@pytest.mark.parametrize(
    ("target", "reason"), [("no/x", "No such file or directory"), ("{}", "Too many levels of symb")]
)
def test_a_link_that_leads_nowhere_is_told_before_the_work(
    resnest: Resnest, tmp_path: Path, name: str, target: str, reason: str
) -> None:
    (tmp_path / name).symlink_to(target.format(name))
    ended = resnest("predict", SAMPLES, "-m", "resnest101e", "-o", tmp_path / name)  # no weights here
    assert (ended.exit_code, f"{name} cannot be written: {reason}" in ended.stderr) == (ExitCode.FAILED, True)
    assert files(tmp_path) == {name}


# Disks without locks, and disks that cannot tell


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOLCK])
def test_a_disk_without_locks_is_written_to_and_that_is_said_once(
    resnest: Resnest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr("fcntl.flock", refusing(number))
    warn_once.cache_clear()
    said = "this disk has no locks: two processes that write the same there are not noticed.\n"
    ended = resnest("predict", SAMPLES, *DIGITS, "-o", tmp_path / "x.csv")
    assert (ended.exit_code, ended.stderr.count(said)) == (ExitCode.OK, 1)
    again = resnest("predict", SAMPLES, *DIGITS, "-o", tmp_path / "x.json")
    assert (again.exit_code, again.stderr.count(said), files(tmp_path)) == (ExitCode.OK, 0, {"x.csv", "x.json"})


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_disk_that_cannot_tell_when_data_is_safe_is_written_to(
    resnest: Resnest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "fsync", refusing(number))
    warn_once.cache_clear()
    ended = resnest("predict", SAMPLES, *DIGITS, "-o", tmp_path / "x.json")
    assert ended.exit_code == ExitCode.OK
    assert (
        ended.stderr.count("this disk cannot tell when data is safe on it: a power cut may cost the last rows.\n") == 1
    )


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("name", ["x.csv", "x.json"])
def test_a_disk_that_fails_is_an_error(
    resnest: Resnest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refusing(number))
        ended = resnest("predict", SAMPLES, *DIGITS, "-o", tmp_path / name)
    assert ended.exit_code == ExitCode.FAILED
    assert f"error: {tmp_path / name} cannot be written: {os.strerror(number)}." in ended.stderr
    assert resnest("predict", SAMPLES, *DIGITS, "-o", tmp_path / name, "--resume").exit_code == ExitCode.OK


def refusing(number: int) -> Any:  # noqa: ANN401 - in place of any function
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


# Refused


DIFFERENCES = {
    ("-m", "resnest14d", "--random-weights", "--img-size", "32"): "model digits, now resnest14d; weights ",
    ("--weights", "other.safetensors"): "weights ",
    ("--labels", "names.txt"): "labels ",
    ("--engine", "torch", "--precision", "bf16"): "engine openvino, now torch; precision fp32, now bf16.",
    ("--crop-pct", "0.9"): "crop_pct ",
    ("--no-exif",): "exif True, now False.",
    ("-k", "3"): "topk 5, now 3.",
    ("--threshold", "0.1"): "threshold 0.0, now 0.1.",
    ("-f", "csv"): "format jsonl, now csv.",
}


def test_another_job_is_refused_and_told_in_what_it_differs(
    resnest: Resnest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.numpy import load_file, save_file

    monkeypatch.chdir(tmp_path)
    weights = load_file(SAMPLES.parent / "model.safetensors")
    save_file({**weights, "fc.bias": weights["fc.bias"] + 1}, "other.safetensors")
    Path("names.txt").write_text("\n".join("ABCDEFGHIJ"))
    path = tmp_path / "x.jsonl"
    fill_up(resnest, path)
    before = path.read_bytes()
    for words, difference in DIFFERENCES.items():
        ended = resnest("predict", SAMPLES, *DIGITS, "-o", path, "--resume", *words)
        assert ended.exit_code == ExitCode.FAILED
        assert f"x.jsonl was begun with other settings: {difference}" in ended.stderr
        assert path.read_bytes() == before


def test_another_input_set_is_refused(resnest: Resnest, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    fill_up(resnest, path)
    before = path.read_bytes()
    other = resnest("predict", SAMPLES / "two_0051.png", SAMPLES, *DIGITS, "-o", path, "--resume")
    assert f"row 1 is of '{SAMPLES}/eight_0028.png', where there is now '{SAMPLES}/two_0051.png'." in other.stderr
    fewer = resnest("predict", SAMPLES / "eight_0028.png", *DIGITS, "-o", path, "--resume")
    assert "where there is nothing now" in fewer.stderr
    assert (other.exit_code, fewer.exit_code, path.read_bytes()) == (1, 1, before)


def test_two_jobs_on_one_output_are_refused(resnest: Resnest, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with ResumableFile(path, FORMATS["json"]):
        for words in ((), ("--overwrite",), ("--resume",)):
            ended = resnest("predict", SAMPLES, *DIGITS, "-o", path, *words)
            assert (ended.exit_code, "x.json is being written by another process" in ended.stderr) == (1, True)
    assert resnest("predict", SAMPLES, *DIGITS, "-o", path).exit_code == ExitCode.OK
    assert files(tmp_path) == {"x.json"}


def test_what_is_there_is_neither_lost_nor_taken_for_a_job(resnest: Resnest, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    seven = ("predict", SAMPLES / "seven_0081.png", *DIGITS, "-o", path)
    fill_up(resnest, path)
    unfinished = resnest(*seven)
    assert "x.jsonl was begun and not finished: add --resume to continue, or --overwrite" in unfinished.stderr
    assert resnest(*seven, "--overwrite").exit_code == ExitCode.OK
    assert [Path(json.loads(line)["path"]).name for line in path.read_text().splitlines()] == ["seven_0081.png"]
    finished = resnest(*seven)
    assert f"error: {path} exists; add --overwrite to replace it.\n" in finished.stderr
    assert (unfinished.exit_code, finished.exit_code) == (1, 1)
    new = tmp_path / "new.jsonl"
    assert resnest("predict", SAMPLES, *DIGITS, "-o", new, "--resume").exit_code == ExitCode.OK


def test_a_job_that_cannot_begin_leaves_everything_as_it_was(resnest: Resnest, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    begin = ("predict", SAMPLES, "-m", "resnest101e", "-o", path)  # no weights here
    assert "no weights for resnest101e" in resnest(*begin).stderr
    assert files(tmp_path) == set()
    path.write_text("precious")
    assert "no weights for resnest101e" in resnest(*begin, "--overwrite").stderr
    assert (files(tmp_path), path.read_text()) == ({"x.jsonl"}, "precious")


def test_a_place_that_cannot_be_written_is_told_before_the_model_is_opened(resnest: Resnest, tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "no" / "x.csv", "cannot be written: No such file or directory."),
        (tmp_path / f"{'x' * 252}.csv", "cannot be written: File name too long."),
        (tmp_path, "is a folder: give the name of a file in it."),
        (Path("/proc/x.json"), "cannot be written: "),
    ):
        ended = resnest("predict", SAMPLES, "-m", "resnest101e", "-f", "csv", "-o", path)
        assert (ended.exit_code, f"{path} {reason}" in ended.stderr) == (1, True)


def test_a_damaged_sidecar_is_told(resnest: Resnest, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    fill_up(resnest, path)
    (tmp_path / "x.jsonl.resume.json").write_text("[")
    ended = resnest("predict", SAMPLES, *DIGITS, "-o", path, "--resume")
    assert (ended.exit_code, "x.jsonl.resume.json is damaged: add --overwrite" in ended.stderr) == (1, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--resume",), "--resume: standard output cannot be continued"),
        (("--resume", "-o", "x.txt", "-f", "table"), "--resume: a table cannot be continued"),
        (("--resume", "--overwrite", "-o", "x.csv"), "--resume and --overwrite exclude each other"),
        (("-f", "parquet"), "-f parquet: it is complete only with its end; add -o FILE."),
        (("-f", "parquet", "-o", "/dev/null"), "-f parquet: it is complete only with its end; add -o FILE."),
    ],
)
def test_what_cannot_be_meant_is_told(resnest: Resnest, words: tuple[str, ...], message: str) -> None:
    ended = resnest("predict", SAMPLES, *DIGITS, *words)
    assert (ended.exit_code, message in ended.stderr) == (ExitCode.USAGE, True)


# Continued


def test_a_resumed_job_tells_and_ends_as_one_that_was_not_stopped(resnest: Resnest, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"")
    path = tmp_path / "x.jsonl"
    inputs = ("predict", bad, SAMPLES, *DIGITS, "-o", path)
    with no_file_above(ROOM):
        resnest(*inputs)
    done = path.read_bytes().count(b"\n")
    ended = resnest(*inputs, "--resume")
    assert ended.exit_code == ExitCode.SOME_FAILED  # of an earlier run, but the row is there
    assert f"after {done} done before." in ended.stderr
    assert "1 of 13 inputs failed: NotAnImage 1." in ended.stderr


def test_with_an_engine_whose_digits_depend_on_the_batch_the_rows_are_the_same(
    resnest: Resnest, tmp_path: Path
) -> None:
    words = ("--engine", "torch", "-b", "5")
    fill_up(resnest, tmp_path / "x.jsonl", *words)
    assert (tmp_path / "x.jsonl").read_bytes().count(b"\n") % 5
    assert resnest("predict", SAMPLES, *DIGITS, "-o", tmp_path / "x.jsonl", "--resume", *words).exit_code == 0
    assert (tmp_path / "x.jsonl").read_text() == resnest("predict", SAMPLES, *DIGITS, *words).stdout


@pytest.mark.slow
def test_few_descriptors_and_a_poor_locale_are_enough(shell: Shell, tmp_path: Path) -> None:
    name = os.fsdecode("\u00e9\udcff犬.png".encode("utf-8", "surrogateescape"))
    (tmp_path / name).hardlink_to(SAMPLES / "two_0051.png")
    resnest = f"ulimit -n 64; exec '{sys.executable}' -m resnest_cli predict '{tmp_path}' -m digits"
    poor = "export LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 NO_COLOR=1"
    ended = shell("sh", "-c", f"{poor}; ({resnest} -o '{tmp_path}/x.html') && {resnest} -o '{tmp_path}/x.csv' -q")
    assert ended.returncode == 0, ended.stderr
    assert b"\x1b" not in ended.stdout + ended.stderr
    assert f"{tmp_path}/{name},ok,2,".encode("utf-8", "surrogateescape") in (tmp_path / "x.csv").read_bytes()
    piped = shell("sh", "-c", f"{poor}; {resnest} -f table")
    assert (piped.returncode, b"\x1b" in piped.stdout) == (0, False)


# A process that does not listen

LIMIT_S = 60
STUCK = """
import ctypes
from resnest_cli import cli
from resnest_cli.engines.fake import FakeEngine
from resnest_cli.pipeline import trunk
from resnest_cli.system import lifetime

class Stuck(FakeEngine):
    def answer(self, batch):
        if len(self.batch_sizes) == 2:
            mutex, lock = bytes(64), ctypes.CDLL(None).pthread_mutex_lock
            lock(mutex)
            print("stuck", flush=True)
            lock(mutex)  # waits for ever, and no signal wakes it
        return super().answer(batch)

trunk.open_engine = lambda spec, options, want: Stuck(spec)
lifetime.GRACE_S = {grace}
cli.main()
"""


@pytest.mark.parametrize(
    ("number", "grace", "code"),
    [(signal.SIGTERM, 0.1, 143), (signal.SIGHUP, 0.1, 129), (signal.SIGINT, 1000, 130)],
)
def test_a_signal_ends_even_what_is_inside_of_a_forward_pass(
    tmp_path: Path, number: signal.Signals, grace: float, code: int
) -> None:
    path = tmp_path / "x.jsonl"
    words: list[Any] = [sys.executable, "-c", STUCK.replace("{grace}", str(grace))]
    words += ["predict", SAMPLES, *DIGITS, "-b", "1", "-o", path]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"stuck\n"
        process.send_signal(number)
        while (
            grace > LIMIT_S and process.poll() is None
        ):  # only a second one can end it, which must come after the first
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
            process.send_signal(number)
        assert process.wait(LIMIT_S) == code
    assert [json.loads(line)["status"] for line in path.read_text().splitlines()] == ["ok", "ok"]
