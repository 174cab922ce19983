"""Outputs of long jobs: rows are on disk as they are made, and a job that was stopped in any way can be continued.

In: rows in the order of the inputs. Out: a file under its final name; for formats that need their end only when it is
complete. Until then three files may lie beside FILE: FILE.part (rows so far, as JSON lines, where FILE itself cannot
hold half a job), FILE.resume.json (what made them) and FILE.lock (free again when the process is gone); afterwards
.FILE.done.json (see `records`). Does not know what a row means, but for its path, and whether it has an error.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections import Counter
from itertools import islice, repeat
from typing import TYPE_CHECKING, Any, NoReturn

from resnest_cli.errors import OutputError
from resnest_cli.outputs import records
from resnest_cli.outputs.journal import Journal
from resnest_cli.system import atomic, files, locks
from resnest_cli.text.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from resnest_cli.outputs.formats import Lines, Writer
    from resnest_cli.outputs.rows import About, Row
    from resnest_cli.types import Failure, Source

log = logging.getLogger(__name__)


class Output:
    """A file of rows in the making; a context manager. First `begin`, then `rest` and `append`, at last `finish`.

    Args:
        path: the file that is to be.
        lines: the format in which rows are kept while they come.
        compose: makes the final file of them in the end; None where the lines are that file.
        companions: the other files that the result will have.
        overwrite: replace what is there.
        resume: continue the job that left what is there; begin where there is nothing.

    Raises:
        OutputError: it exists, is being written by another process, or cannot be written.

    Attributes:
        done: rows of earlier runs that are kept.
        complete: an earlier run has finished the job, and nothing is left to do or to write.
    """

    def __init__(  # noqa: PLR0913 - all but three by name
        self,
        path: Path,
        lines: Lines,
        compose: Writer | None,
        *,
        companions: Sequence[Path] = (),
        overwrite: bool = False,
        resume: bool = False,
    ) -> None:
        self.path = path
        self.done = 0
        self.complete = False
        self._tally = records.Tally()
        self._finished: records.Finished | None = None
        self._lines = lines
        self._compose = compose
        self._companions = companions
        self._overwrite = overwrite
        self._resume = resume
        self._sidecar = records.unfinished(path)
        self._unfinished = False  # FILE and its sidecar are there for --resume
        self._fresh = False
        self._ends = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Take the lock and open the file, so that what cannot work fails before anything else is done."""
        if self.path.name == "" or os.path.isdir(self.path):  # noqa: PTH112 - this one never raises
            message = f"{self.path} is a folder: give the name of a file in it."
            raise OutputError(message)
        with contextlib.ExitStack() as ends, files.as_output_error(self.path):
            if ends.enter_context(_locked(self.path)):
                for written in (self.path, self._sidecar, records.place(self.path), *self._companions):
                    atomic.remove_leftovers(written)
            where = beside(self.path, ".part") if self._compose else self.path
            self._finished = self._find_finished(where)
            self._unfinished = self._sidecar.exists()
            self._check(where)
            files.check_writable(self.path)
            if not (self._finished and self._resume):
                self._fresh = not where.exists()
                self._journal = Journal(where, self._lines)
                ends.callback(self._journal.close)
            self._ends = ends.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let go. A job that is not finished keeps its rows; one that did not begin leaves no trace."""
        with files.as_output_error(self.path), self._ends:
            if self._fresh and not self._unfinished:
                files.resolve(self._journal.path).unlink(missing_ok=True)  # not the link that leads to it
            elif self._unfinished and self._journal.size:
                log.info("%s holds the rows so far: the same command with --resume continues", self._journal.path)

    def begin(self, about: About, fingerprint: Mapping[str, Any], batch: int) -> None:
        """Start, or find what is done.

        Args:
            about: what the writer needs to know.
            fingerprint: what rows depend on, by the name a person has for it; JSON values.
            batch: images a forward pass.

        Raises:
            OutputError: the rows that are there were made in another way; the message says in what.
        """
        self._about = about
        self._settings = fingerprint
        with files.as_output_error(self.path):
            if self._finished and self._resume:
                records.compare(self.path, self._finished.settings, fingerprint)
                self._refuse(self._finished.changed(self.path))
                self.complete, self.done = True, self._finished.rows
                return
            if self._resume and self._unfinished:
                with files.open_own(self._sidecar) as sidecar:
                    before = records.begun_with(self._sidecar, sidecar.read(records.MAX_BYTES))
                records.compare(self.path, before, fingerprint)
                self.done = self._journal.recover(about.topk, batch)
                return
            records.place(self.path).unlink(missing_ok=True)
            self._journal.cut(0)  # first, so that no sidecar ever stands beside rows of another job
            atomic.write(self._sidecar, json.dumps(fingerprint, indent=1).encode())
            self._unfinished = True
            self._journal.start(about.topk)

    def rest(self, found: Iterable[Source | Failure], seen: Callable[[str | None], None]) -> Iterator[Source | Failure]:
        """Skip the inputs whose rows are there; `seen` gets the error type of each (None: it has an answer).

        Raises:
            OutputError: the rows are of other inputs than these.
        """
        found = iter(found)
        if self.complete and self._finished:
            return self._nothing(found, self._finished, seen)
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

    def write(self, rows: Iterable[Row]) -> None:
        """Append every row."""
        for row in rows:
            with files.as_output_error(self.path):
                self._journal.append(row)
            self._count(row)

    def finish(self) -> None:
        """Give the complete file its name, and remove what lies beside it.

        Raises:
            OutputError: it cannot be written; what was done stays, and can be resumed.
        """
        if self.complete:
            return
        with files.as_output_error(self.path):
            self._journal.sync()
            if self._compose:
                with atomic.writer(self.path) as out:
                    self._compose(self._journal.rows(), out, self._about)
            records.write(self.path, self._settings, self._tally, self._companions)
            self._clear(self._journal.path)
            self._unfinished = self._fresh = False

    def _find_finished(self, journal: Path) -> records.Finished | None:
        """Look for a finished job; one that was killed while it cleared up is, if its files are whole."""
        found = records.read(self.path) if self.path.exists() else None
        if found and self._sidecar.exists():
            if found.changed(self.path):
                return None
            self._clear(journal)
        return found

    def _clear(self, journal: Path) -> None:
        """Remove what a finished job needs no more."""
        if journal != self.path:
            journal.unlink(missing_ok=True)
        self._sidecar.unlink()

    def _refuse(self, changed: list[Path]) -> None:
        if changed:
            message = (
                f"{changed[0]} is not as it was when the job was finished: use --overwrite in place of --resume to "
                "make it anew, or give another -o."
            )
            raise OutputError(message)

    def _count(self, row: Row) -> str | None:
        """Count a row; return the type of its error."""
        error: str | None = row["error"]["type"] if "error" in row else None
        self._tally.add(row["path"], error)
        return error

    def _nothing(
        self, found: Iterator[Source | Failure], done: records.Finished, seen: Callable[[str | None], None]
    ) -> Iterator[Source | Failure]:
        """Return what is left to do of a finished job, which is nothing.

        Raises:
            OutputError: its rows are of other inputs than these.
        """
        tally = records.Tally()
        for item in islice(found, done.rows):
            tally.add(item.path)
        more = next(found, None)
        if (tally.inputs, tally.rows) != (done.inputs, done.rows) or more is not None:
            now = (
                f"the inputs go on with {more.path!r}"
                if tally.inputs == done.inputs and more
                else "the inputs are others"
            )
            message = (
                f"{self.path} is finished: it has {counted(done.rows, 'row')}, and {now}. Give the same "
                "inputs; or another -o for the new ones; or --overwrite in place of --resume to make it anew."
            )
            raise OutputError(message)
        for error in (*Counter(done.failures).elements(), *repeat(None, done.rows - sum(done.failures.values()))):
            seen(error)
        return found

    def _check(self, journal: Path) -> None:
        """Refuse to harm what is there."""
        if self._unfinished and not (self._resume or self._overwrite):
            message = f"{self.path} was begun and not finished: add --resume to continue, or --overwrite to start anew."
            raise OutputError(message)
        if self._unfinished:
            return
        if journal != self.path and journal.exists() and journal.stat().st_size:  # even where FILE may be replaced
            message = f"{journal} is in the way, and not of a job that was begun here: move it, or give another -o."
            raise OutputError(message)
        if self._overwrite or (self._resume and self._finished):
            return
        # Empty is what a job of JSON lines leaves that was killed before its first step.
        begun = [self.path] if self._resume and _is_empty(self.path) else []
        for path in (self.path, *self._companions):
            if path.exists() and path not in begun:
                message = f"{path} exists; add --overwrite to replace it."
                if self._resume:
                    message = (
                        f"{path} exists, and whether it is complete cannot be told: {records.place(self.path).name} is "
                        "not beside it. Use --overwrite in place of --resume to make it anew, or give another -o."
                    )
                raise OutputError(message)


def _is_empty(path: Path) -> bool:
    return path.is_file() and not path.stat().st_size


def beside(path: Path, suffix: str) -> Path:
    """Name a file beside another."""
    return path.parent / (path.name + suffix)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Hold the lock of `path`, which the system frees when the process is gone; False where there are no locks."""
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
