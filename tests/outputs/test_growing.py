"""Files of rows that grow: each input has one row, of its state now, however the runs before it ended."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import SAMPLES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resnest_cli import Classifier
from resnest_cli.errors import OutputError, UsageError
from resnest_cli.inputs.find import find_sources
from resnest_cli.inputs.watching import Watch
from resnest_cli.outputs.formats import FORMATS
from resnest_cli.outputs.opening import open_output
from resnest_cli.outputs.reading import Results
from resnest_cli.outputs.rows import About, to_row
from resnest_cli.outputs.summary import Summary
from resnest_cli.types import Failure, Prediction, Record, Result, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from conftest import Resnest, Shell

TIME = 1_700_000_000
STEPS = {"open", "os.rename", "os.remove", "os.truncate"}


@dataclass
class Reading:
    """A job whose class of a file is its content; a file that says "bad" has none."""

    about: About = field(default_factory=lambda: About(1, {}))
    fingerprint: Mapping[str, Any] = field(default_factory=lambda: {"model": "reader"})
    batch: int = 3
    stop: int | None = None
    computed: list[str] = field(default_factory=list)

    def to_row(self, record: Record) -> dict[str, Any]:
        return to_row(record)

    def records(self, found: Iterable[Source | Failure]) -> Iterator[Record]:
        for number, item in enumerate(found):
            if number == self.stop:
                raise KeyboardInterrupt
            self.computed.append(item.path)
            if isinstance(item, Failure):
                yield item
                continue
            try:
                with open(item.path) as file:  # noqa: PTH123 - as typed
                    content = file.read()
            except FileNotFoundError:
                yield Failure(item.path, "UnreadableInput", "no such file.")
                continue
            if content == "bad":
                yield Failure(item.path, "NotAnImage", "bad")
            else:
                yield Result(item.path, (Prediction(1, 2, None, content, 0.5),))


def run(out: Path, folder: Path, **how: Any) -> tuple[Summary, list[str]]:  # noqa: ANN401 - as `Reading`
    """Add what is new in a folder; return what is told of it, and the names of what was computed."""
    job, summary = Reading(**how), Summary()
    with open_output(out, FORMATS[out.suffix[1:]], append_new=True) as output:
        output.fill(job, find_sources([folder]), summary, lambda records, _: records)  # type: ignore[arg-type] # as a `Job`
    return summary, [os.path.basename(path) for path in job.computed]  # noqa: PTH119 - as found


def put(folder: Path, name: str, content: str, time: int = TIME) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(content)
    os.utime(folder / name, (time, time))


def labels(out: Path) -> dict[str, str]:
    """Return what each row says of its file; there is one row per file."""
    rows = list(Results(out).rows())
    found = {
        os.path.basename(row["path"]): row["predictions"][0]["label"] if row["status"] == "ok" else row["error"]["type"]  # noqa: PTH119 - as found
        for row in rows
    }
    assert len(found) == len(rows)
    return found


@pytest.mark.parametrize("format", FORMATS)
def test_new_and_changed_inputs_get_their_rows(tmp_path: Path, format: str) -> None:
    out, folder = tmp_path / f"rows.{format}", tmp_path / "in"
    put(folder, "a.png", "one")
    put(folder, "b.png", "bad")
    put(folder, "c.png", "three")
    assert run(out, folder)[1] == ["a.png", "b.png", "c.png"]
    put(folder, "a.png", "ONE", TIME + 1)
    put(folder, "d.png", "four")
    (folder / "c.png").unlink()
    summary, computed = run(out, folder)
    assert computed == ["a.png", "d.png"]
    assert labels(out) == {"b.png": "NotAnImage", "c.png": "three", "a.png": "ONE", "d.png": "four"}
    assert (summary.ok, summary.failed, summary.earlier, summary.gone) == (3, 1, 2, 1)
    assert summary.words().startswith(f"wrote {out}, 4 rows")
    assert summary.words().endswith("1 of 4 inputs failed: NotAnImage 1.\n1 input with a row is gone; the rows stay.")


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_a_file_without_news_is_not_touched(tmp_path: Path, format: str) -> None:
    out, folder = tmp_path / f"rows.{format}", tmp_path / "in"
    put(folder, "a.png", "one")
    run(out, folder)
    before = {path: path.stat() for path in tmp_path.iterdir() if path.is_file()}
    summary, computed = run(out, folder)
    assert (computed, summary.complete, summary.words()) == ([], True, "complete: 1 row")
    assert {path: path.stat().st_mtime_ns for path in before} == {
        path: stat.st_mtime_ns for path, stat in before.items()
    }
    assert {*tmp_path.iterdir()} == {*before, folder}


def test_the_rows_of_a_plain_job_count(resnest: Resnest, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "rows.csv"
    folder.mkdir()
    two, five = (SAMPLES / name for name in ("two_0051.png", "five_0035.png"))
    (folder / "a.png").write_bytes(two.read_bytes())
    assert resnest("predict", folder, "-m", "digits", "-o", out).exit_code == 0
    (folder / "b.png").write_bytes(five.read_bytes())
    (folder / "a.png").write_bytes(five.read_bytes())
    os.utime(folder / "a.png", (TIME * 2, TIME * 2))  # after the job
    ended = resnest("predict", folder, "-m", "digits", "-o", out, "--append-new")
    assert "2 rows" in ended.stderr
    assert labels(out) == {"a.png": "five", "b.png": "five"}
    again = resnest("predict", folder, "-m", "digits", "-o", out, "--append-new")
    assert "complete: 2 rows" in again.stderr


def test_by_hash_only_the_content_counts(tmp_path: Path) -> None:
    out, image = tmp_path / "rows.jsonl", tmp_path / "a.png"
    image.write_bytes((SAMPLES / "two_0051.png").read_bytes())
    with Classifier("digits", device="cpu") as model:

        def again() -> bool:
            return model.write([image], out, append_new=True, by_hash=True).complete

        assert [again(), again()] == [False, True]
        os.utime(image, (TIME, TIME))
        assert again()
        image.write_bytes((SAMPLES / "five_0035.png").read_bytes())
        os.utime(image, (TIME, TIME))
        assert not again()
    assert labels(out) == {"a.png": "five"}


def test_an_input_that_is_named_twice_has_one_row(tmp_path: Path) -> None:
    put(tmp_path / "in", "a.png", "one")
    summary = Summary()
    with open_output(tmp_path / "x.csv", FORMATS["csv"], append_new=True) as out:
        out.fill(Reading(), find_sources([tmp_path / "in", tmp_path / "in"]), summary, lambda records, _: records)  # type: ignore[arg-type] # as a `Job`
    assert labels(tmp_path / "x.csv") == {"a.png": "one"}


def test_a_job_in_a_removed_folder_is_finished(shell: Shell, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    for more in ([], ["--append-new"]):
        gone.mkdir()
        words = [
            sys.executable,
            "-m",
            "resnest_cli",
            "predict",
            str(SAMPLES),
            "-m",
            "digits",
            "-o",
            str(tmp_path / f"x{len(more)}.csv"),
            *more,
        ]
        ended = shell("sh", "-c", 'cd "$0" && rmdir "$0" && exec "$@"', gone, *words)
        assert ended.returncode == 0, ended.stderr
        assert len(list(Results(tmp_path / f"x{len(more)}.csv").rows())) == 12


def test_another_spelling_of_a_folder_is_the_same_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "in", "a.png", "one")
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "rows.csv"
    for folder in (Path("in"), Path("./in"), tmp_path / "in", Path("in/../in")):
        run(out, folder)
        assert labels(out) == {"a.png": "one"}
    put(tmp_path / "in", "a.png", "two", TIME + 1)
    run(out, tmp_path / "in")
    assert labels(out) == {"a.png": "two"}


def test_a_name_of_nothing_leaves_no_row(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    put(tmp_path / "in", "a.png", "one")
    run(out, tmp_path / "in")
    before = out.read_bytes()
    summary, _ = run(out, tmp_path / "typo")
    assert summary.words() == "complete: 2 rows\n1 of 2 inputs failed: UnreadableInput 1."
    assert out.read_bytes() == before
    assert run(out, tmp_path / "in")[0].words() == "complete: 1 row"


def test_a_folder_that_was_empty_leaves_no_row(tmp_path: Path) -> None:
    out, folder = tmp_path / "rows.jsonl", tmp_path / "in"
    folder.mkdir()
    assert run(out, folder)[0].failures == {"NoImages": 1}
    put(folder, "a.png", "one")
    summary, _ = run(out, folder)
    assert (labels(out), summary.failed) == ({"a.png": "one"}, 0)


def test_rows_of_another_folder_are_not_added_to(
    resnest: Resnest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("here", "there"):
        (tmp_path / name / "in").mkdir(parents=True)
        (tmp_path / name / "in" / "a.png").write_bytes((SAMPLES / "two_0051.png").read_bytes())
    monkeypatch.chdir(tmp_path / "here")
    assert resnest("predict", "in", "-m", "digits", "-o", "rows.csv").exit_code == 0
    monkeypatch.chdir(tmp_path / "there")
    for words in (
        ("predict", "in", "-m", "digits", "-o", "../here/rows.csv", "--append-new"),
        ("predict", "in", "-m", "digits", "-o", "../here/rows.csv", "--retry-failed"),
        ("sort", "../here/rows.csv", "--to", "sorted", "--apply"),
        ("tag", "../here/rows.csv", "--apply"),
        ("check", "../here/rows.csv"),
    ):
        ended = resnest(*words)
        assert (ended.exit_code, f"Go there: cd {tmp_path / 'here'}" in ended.stderr) == (2, True), words
    assert [*(tmp_path / "there").iterdir()] == [tmp_path / "there" / "in"]
    (tmp_path / "here").rename(tmp_path / "moved")  # rows and images together
    monkeypatch.chdir(tmp_path / "moved")
    assert resnest("sort", "rows.csv", "--to", "sorted", "--apply").exit_code == 0


@pytest.mark.parametrize("grows", [True, False], ids=["stamps", "record"])
def test_an_image_that_changed_since_its_row_is_left_where_it_is(
    resnest: Resnest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, grows: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for name in ("a.png", "b.png"):
        Path("in", name).write_bytes((SAMPLES / "two_0051.png").read_bytes())
    resnest("predict", "in", "-m", "digits", "-o", "rows.csv", *(["--append-new"] if grows else []))
    Path("in/a.png").write_bytes((SAMPLES / "five_0035.png").read_bytes())
    os.utime("in/a.png", (TIME * 2, TIME * 2))
    for words in (("sort", "rows.csv", "--to", "sorted", "--apply"), ("tag", "rows.csv", "--apply")):
        ended = resnest(*words)
        assert (ended.exit_code, "changed since its row" in ended.stdout) == (3, True), ended.stdout
    assert sorted(path.name for path in Path("sorted").rglob("*.png")) == ["b.png"]
    assert sorted(path.name for path in Path("in").iterdir()) == ["a.png", "b.png", "b.png.xmp"]


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, folder = tmp_path / "rows.csv", tmp_path / "in"
    put(folder, "a.png", "one")
    run(out, folder)
    put(folder, "b.png", "two")

    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("resnest_cli.outputs.journal.files.open_for_update", refuse)
    with pytest.raises(OutputError, match="ermission denied"):
        run(out, folder)
    monkeypatch.undo()
    assert labels(out) == {"a.png": "one"}


def test_what_continues_a_file_that_was_killed_while_it_grew_is_said(resnest: Resnest, tmp_path: Path) -> None:
    out, folder = tmp_path / "rows.csv", tmp_path / "in"
    put(folder, "a.png", "one")
    run(out, folder)
    put(folder, "b.png", "two")
    for step in range(1, 100):  # up to the first at which it is neither finished nor begun anew
        killed_at(step, lambda: run(out, folder))
        if not (tmp_path / ".rows.csv.done.json").exists():
            break
    for more in (["--resume"], ["--retry-failed"]):
        ended = resnest("predict", folder, "-m", "digits", "-o", out, *more)
        assert (ended.exit_code, "--append-new" in ended.stderr) == (1, True), ended.stderr
    assert "the same command with --append-new finishes it" in resnest("sort", out, "--to", tmp_path / "x").stderr
    run(out, folder)
    assert labels(out) == {"a.png": "one", "b.png": "two"}


def test_other_settings_are_refused_and_change_nothing(tmp_path: Path) -> None:
    out, folder = tmp_path / "rows.csv", tmp_path / "in"
    put(folder, "a.png", "one")
    run(out, folder)
    before = out.read_bytes()
    put(folder, "b.png", "two")
    with pytest.raises(OutputError, match=r"begun with other settings: model reader, now other") as raised:
        run(out, folder, fingerprint={"model": "other"})
    assert "in place of --append-new" in raised.value.message
    assert out.read_bytes() == before
    out.write_bytes(before + b"x")
    with pytest.raises(OutputError, match="is not as it was"):
        run(out, folder)


@pytest.mark.parametrize("other", ["overwrite", "resume", "retry_failed"])
def test_what_excludes_each_other_is_said(tmp_path: Path, other: str) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        open_output(tmp_path / "x.csv", FORMATS["csv"], append_new=True, **{other: True})  # type: ignore[arg-type] # one of them
    with pytest.raises(UsageError, match="by_hash"):
        open_output(tmp_path / "x.csv", FORMATS["csv"], by_hash=True)
    with pytest.raises(UsageError, match="standard output cannot be continued"):
        open_output(None, FORMATS["csv"], append_new=True)


def test_an_interrupted_run_leaves_a_finished_file(tmp_path: Path) -> None:
    out, folder = tmp_path / "rows.jsonl", tmp_path / "in"
    for name in "abcd":
        put(folder, f"{name}.png", name)
    with pytest.raises(KeyboardInterrupt):
        run(out, folder, stop=2)
    assert labels(out) == {"a.png": "a", "b.png": "b"}
    assert run(out, folder)[1] == ["c.png", "d.png"]


def test_a_watched_folder_gets_its_rows_as_files_come(tmp_path: Path) -> None:
    inbox, out = tmp_path / "in", tmp_path / "rows.jsonl"
    inbox.mkdir()
    (inbox / "a.png").write_bytes((SAMPLES / "two_0051.png").read_bytes())
    (inbox / "bad.png").write_bytes((SAMPLES / "two_0051.png").read_bytes()[:300])
    seen = []

    def follow(records: Iterable[Record], _: int) -> Iterator[Record]:
        for record in records:
            seen.append(os.path.basename(record.path))  # noqa: PTH119 - as found
            yield record
            if len(seen) == 2:
                (inbox / "b.png").write_bytes((SAMPLES / "five_0035.png").read_bytes())
            if len(seen) == 3:
                raise KeyboardInterrupt

    watch = Watch([str(inbox)])
    with (
        open_output(out, FORMATS["jsonl"], append_new=True, hold=watch.hold) as output,
        Classifier("digits", device="cpu", live=True) as model,
        pytest.raises(KeyboardInterrupt),
    ):
        model.write_to(output, watch.sources(), follow=follow)
    assert sorted(seen[:2]) == ["a.png", "bad.png"]
    assert labels(out) == {"a.png": "two", "b.png": "five"}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "--watch: standard output cannot be continued"),
        (("-o", "x.html"), "--watch: rows are written as they come; html is written at the end"),
        (("-o", "x.csv", "--resume"), "exclude each other"),
        (("-o", "x.csv", "--files-from", "list.txt"), "it goes with folders, not with --files-from"),
    ],
)
def test_what_cannot_be_watched_is_said(resnest: Resnest, words: tuple[str, ...], why: str) -> None:
    ended = resnest("predict", SAMPLES, "-m", "digits", "--watch", *words)
    assert (ended.exit_code, why in ended.stderr) == (2, True), ended.stderr
    assert "is no folder" in resnest("predict", SAMPLES / "two_0051.png", "--watch", "-o", "x.csv").stderr


def test_a_model_that_is_not_live_watches_nothing(tmp_path: Path) -> None:
    with Classifier("digits", device="cpu") as model, pytest.raises(UsageError, match="live=True"):
        model.write(tmp_path, tmp_path / "rows.csv", watch=True)


@pytest.mark.parametrize("format", ["csv", "html"])
def test_a_run_that_is_killed_at_any_step_is_continued(tmp_path: Path, format: str) -> None:
    expected = {"a.png": "A", "b.png": "b", "c.png": "c"}
    for step in range(1, 1000):
        folder = tmp_path / f"{step}" / "in"
        folder.parent.mkdir()
        out = folder.parent / f"rows.{format}"
        put(folder, "a.png", "a")
        put(folder, "b.png", "b")
        run(out, folder)
        put(folder, "a.png", "A", TIME + 1)
        put(folder, "c.png", "c")
        was_killed = killed_at(step, lambda: run(out, folder))  # noqa: B023 - called at once
        run(out, folder)
        assert labels(out) == expected, step
        assert {path.name for path in out.parent.iterdir()} == {
            *("in", out.name, f".{out.name}.done.json", f".{out.name}.inputs.jsonl")
        }
        if not was_killed:
            break
    assert step > 5


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Run in a fork that SIGKILL ends at its `step`-th use of a file; return whether that came before its end."""
    child = os.fork()
    if not child:
        left = [step]

        def count(event: str, args: tuple[object, ...]) -> None:
            if event in STEPS and ".pyc" not in str(args[0]):
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        work()
        os._exit(0)
    return os.waitpid(child, 0)[1] == signal.SIGKILL


names = st.sampled_from("abcdef")
change = st.one_of(
    st.tuples(st.just("put"), names, st.sampled_from(["x", "y", "bad"])),
    st.tuples(st.just("drop"), names, st.just("")),
    st.tuples(st.just("run"), st.none() | st.integers(0, 3), st.just("")),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(changes=st.lists(change, max_size=12), format=st.sampled_from(["csv", "json"]))
def test_whatever_happens_each_file_has_one_row_of_its_content(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, Any, str]], format: str
) -> None:
    root = tmp_path_factory.mktemp("growing")
    folder, out = root / "in", root / f"rows.{format}"
    folder.mkdir()
    put(folder, "zero.png", "zero")
    for time, (what, which, content) in enumerate(changes):
        if what == "put":
            put(folder, f"{which}.png", content, TIME + time)
        elif what == "drop":
            (folder / f"{which}.png").unlink(missing_ok=True)
        else:
            with contextlib.suppress(KeyboardInterrupt):
                run(out, folder, stop=which)
    run(out, folder)
    now = {path.name: path.read_text().replace("bad", "NotAnImage") for path in folder.iterdir()}
    found = labels(out)
    assert {name: found[name] for name in now} == now
