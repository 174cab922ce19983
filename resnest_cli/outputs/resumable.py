"""Files that a job can resume: each row is on disk as soon as it is made, whatever stops the process.

In: rows in the order of the inputs. Out: a file under its final name; a format that is composed at the end gets that
name only when it is complete. Until then three files may lie beside FILE: FILE.part (rows so far as JSON lines, where
FILE cannot hold half a job), FILE.resume.json (what made them) and FILE.lock (the system frees it with the process);
afterwards .FILE.done.json (see `records`). Of a row it knows the path and whether there is an error.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NoReturn

from resnest_cli.errors import OutputError, UsageError
from resnest_cli.inputs import memory
from resnest_cli.outputs import records
from resnest_cli.outputs.journal import Journal
from resnest_cli.system import atomic, files, locks
from resnest_cli.types import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from resnest_cli.outputs.formats import Format
    from resnest_cli.outputs.job import Follow, Found, Job
    from resnest_cli.outputs.rows import About, Row
    from resnest_cli.outputs.summary import Summary
    from resnest_cli.types import Failure

log = logging.getLogger(__name__)


class ResumableFile:
    """A file of rows; a context manager. `fill` writes it: `begin`, `rest`, `write` and `finish` are its steps.

    Args:
        path: the file.
        format: how it holds rows.
        overwrite: replace what is there.
        resume: continue the job that left what is there; begin where there is nothing.

    Raises:
        OutputError: the file exists, is being written by another process, or cannot be written.

    Attributes:
        is_traced: its rows are known by the checksum of the weights, among others.
        done: rows of earlier runs that are kept.
        complete: an earlier run has finished the job, so nothing is left to do.
    """

    is_traced = True
    _again = "--resume"  # what continues the job

    def __init__(self, path: Path, format: Format, *, overwrite: bool = False, resume: bool = False) -> None:
        if format.lines is None:
            raise TypeError(format.name)
        self.path = path
        self.format = format
        self.done = 0
        self.complete = False
        self._tally = records.Tally()
        self._finished: records.Finished | None = None
        self._lines = format.lines
        self._overwrite = overwrite
        self._resume = resume
        self._where = beside(path, ".part") if format.compose else path  # of the journal
        self._sidecar = records.unfinished(path)
        self._unfinished = False  # FILE and its sidecar are there for --resume
        self._fresh = False
        self._ends = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Lock and open the file before any work, so that an output that cannot be written fails first."""
        if self.path.name == "" or os.path.isdir(self.path):  # noqa: PTH112 - this one never raises
            message = f"{self.path} is a folder: give the name of a file in it."
            raise OutputError(message)
        with contextlib.ExitStack() as ends, files.as_output_error(self.path):
            if ends.enter_context(_locked(self.path)):
                for written in (
                    self.path,
                    self._where,
                    self._sidecar,
                    records.place(self.path),
                    *self.format.companions,
                ):
                    atomic.remove_leftovers(written)
            self._finished = self._find_finished(self._where)
            self._unfinished = self._sidecar.exists()
            self._check(self._where)
            files.check_writable(self.path)
            if not (self._finished and self._resume):
                self._open(ends)
            self._ends = ends.pop_all()
        return self

    def _open(self, ends: contextlib.ExitStack) -> None:
        self._fresh = not self._where.exists()
        self._journal = Journal(self._where, self._lines)
        ends.callback(self._journal.close)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Free the lock. An unfinished job keeps its rows; a job that did not begin leaves no files."""
        with files.as_output_error(self.path), self._ends:
            if self._fresh and not self._unfinished:
                files.resolve(self._journal.path).unlink(missing_ok=True)  # not the link that leads to it
            elif self._unfinished and self._journal.size:
                log.info("%s holds the rows so far: the same command with %s continues", self._where, self._again)

    def fill(self, job: Job, found: Found, summary: Summary, follow: Follow) -> None:
        """Write the row of every input that has none yet, and finish the file.

        Raises:
            UsageError: an input has no name to resume by.
            OutputError: the rows that are there are of another job, or the file cannot be written.
        """
        found = self._named(found) if self._resume else found
        self.begin(job.about, job.fingerprint, job.batch)
        rest = self.rest(found, summary.count)
        summary.output, summary.earlier, summary.complete = self.path, self.done, self.complete
        self.write(map(job.to_row, follow(summary.watch(job.records(rest)), self.done)))
        with summary.stages.clock("write"):
            self.finish()

    def begin(self, about: About, fingerprint: Mapping[str, Any], batch: int) -> None:
        """Start the job, or find how much of it is done.

        Args:
            about: what holds for all rows.
            fingerprint: what rows depend on, under the names that people know; JSON values.
            batch: images per forward pass.

        Raises:
            OutputError: the rows that are there were made in another way; the message names the differences.
        """
        self._about = about
        self._settings = fingerprint
        with files.as_output_error(self.path):
            if self._finished and self._resume:
                records.compare(self.path, self._finished.settings, fingerprint, self._again)
                self._refuse(self._finished.changed(self.path))
                self.complete, self.done = True, self._finished.rows
                return
            if self._resume and self._unfinished:
                with files.open_own(self._sidecar) as sidecar:
                    before = records.begun_with(self._sidecar, sidecar.read(records.MAX_BYTES), self._again)
                records.compare(self.path, before, fingerprint, self._again)
                self.done = self._journal.recover(about, batch)
            else:
                self._start(fingerprint)
            if self.format.begun:
                self.format.begun(about)

    def _start(self, fingerprint: Mapping[str, Any]) -> None:
        records.place(self.path).unlink(missing_ok=True)
        self._journal.cut(0)  # first, so that no sidecar ever stands beside rows of another job
        atomic.write(self._sidecar, json.dumps(fingerprint, indent=1).encode())
        self._unfinished = True
        self._journal.start(self._about)

    def rest(self, found: Iterable[Source | Failure], seen: Callable[..., None]) -> Iterator[Source | Failure]:
        """Skip the inputs whose rows are there; `seen` gets the error type of each, None for an answer.

        Raises:
            OutputError: the rows are of other inputs.
        """
        found = iter(found)
        if self.complete and self._finished:
            self._finished.refuse_others(self.path, found)
            for error in self._finished.errors():
                seen(error)
            return found
        for number, row in enumerate(self._journal.rows(), 1):
            item = next(found, None)
            if item is None or item.path != row["path"]:
                now = f"now {item.path!r}" if item else "nothing now"
                message = (
                    f"{self.path} was begun with another input set: row {number} is of {row['path']!r}, where there is "
                    f"{now}. Give the same inputs, or add --overwrite in place of --resume to start anew."
                )
                raise OutputError(message)
            seen(self._count(row))
        return found

    def _named(self, found: Found) -> Found:
        """Pass on the inputs; refuse one that only its position names: what is there now may be another image.

        The first is looked at before the job begins, so that a refused job leaves no files.
        """
        passed = map(self._refuse_nameless, found)
        return chain(list(islice(passed, 1)), passed)

    def _refuse_nameless(self, item: Source | Failure) -> Source | Failure:
        if isinstance(item, Source) and memory.is_nameless(item):
            raise UsageError(
                f"{self.path}: input {item.path} is an image in memory without a name, so a stopped job cannot resume: "
                "hand in paths or open files, or use overwrite=True in place of resume=True."
            )
        return item

    def write(self, rows: Iterable[Row]) -> None:
        """Append every row."""
        for row in rows:
            with files.as_output_error(self.path):
                self._journal.append(row)
            self._count(row)

    def finish(self) -> None:
        """Rename the complete file to its final name, and remove the files beside it.

        Raises:
            OutputError: it cannot be written; finished rows stay, and the job can be resumed.
        """
        if self.complete:
            return
        with files.as_output_error(self.path):
            self._journal.sync()
            if self.format.compose:
                with atomic.writer(self.path) as out:
                    self.format.compose(self._journal.rows(), out, self._about)
            records.write(self.path, self._settings, self._tally, self.format.companions, self._about)
            self._clear(self._journal.path)
            self._unfinished = self._fresh = False

    def _find_finished(self, journal: Path) -> records.Finished | None:
        """Return the record of a finished job, even of one that was killed while it cleared up."""
        found = records.read(self.path) if self.path.exists() else None
        if found and self._sidecar.exists():
            if found.changed(self.path):
                return None
            self._clear(journal)
        return found

    def _clear(self, journal: Path) -> None:
        """Remove the files that a finished job no longer needs."""
        if journal != self.path:
            journal.unlink(missing_ok=True)
        self._sidecar.unlink()

    def _refuse(self, changed: list[Path]) -> None:
        if changed:
            message = (
                f"{changed[0]} is not as it was when the job was finished: use --overwrite in place of {self._again} "
                "to make it anew, or give another -o."
            )
            raise OutputError(message)

    def _count(self, row: Row) -> str | None:
        """Count a row; return the type of its error."""
        error: str | None = row["error"]["type"] if "error" in row else None
        self._tally.add(row["path"], error)
        return error

    def _check(self, journal: Path) -> None:
        """Refuse to harm what is there."""
        if self._unfinished and not (self._resume or self._overwrite):
            message = f"{self.path} was begun and not finished: add --resume to continue, or --overwrite to start anew."
            raise OutputError(message)
        if self._unfinished and self._resume and self._again == "--resume" != records.again(self.path):
            message = f"{self.path} grew with --append-new: the same command with that continues."
            raise OutputError(message)
        if self._unfinished:
            return
        if journal != self.path and journal.exists() and journal.stat().st_size:  # even where FILE may be replaced
            message = f"{journal} is in the way, and not of a job that was begun here: move it, or give another -o."
            raise OutputError(message)
        if self._overwrite or (self._resume and self._finished):
            return
        # A job of JSON lines that was killed before its first step leaves an empty file.
        begun = [self.path] if self._resume and _is_empty(self.path) else []
        for path in (self.path, *self.format.companions):
            if path.exists() and path not in begun:
                message = f"{path} exists; add --overwrite to replace it."
                if self._resume:
                    message = (
                        f"{path} exists, and whether it is complete cannot be told: {records.place(self.path).name} is "
                        f"not beside it. Use --overwrite in place of {self._again} to make it anew, or give another -o."
                    )
                raise OutputError(message)


def _is_empty(path: Path) -> bool:
    return path.is_file() and not path.stat().st_size


def beside(path: Path, suffix: str) -> Path:
    """Name a file beside another."""
    return path.parent / (path.name + suffix)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Hold the lock of `path`, at most as long as the process; yield False on a disk without locks."""
    where = beside(path, ".lock")

    def refuse(_: object) -> NoReturn:
        message = f"{path} is being written by another process: wait for it, or give another -o."
        raise OutputError(message)

    with locks.hold(where, refuse) as held:
        try:
            yield held
        finally:
            with contextlib.suppress(FileNotFoundError):
                if held and not where.lstat().st_size:  # else it is somebody's file
                    where.unlink()  # while it is held: who waits for it looks again
