"""Files of rows that grow with the inputs: an input that has a row is skipped, a new or changed one gets one.

In: inputs, as for `resumable`, whose files and steps these are. Out: a file with a row per input, in the order in which
they were first seen; beside it a `ledger` of which state of an input has the row. The new row of an input that has
changed comes at the end, and the old one is dropped when the job ends.
"""

from __future__ import annotations

import json
import logging
import os
from collections import deque
from typing import TYPE_CHECKING, Any

from resnest_cli.outputs import records
from resnest_cli.outputs.ledger import Ledger, Stamp
from resnest_cli.outputs.reading import Results
from resnest_cli.outputs.resumable import ResumableFile
from resnest_cli.system import atomic, files
from resnest_cli.system.paths import working_folder
from resnest_cli.text.words import counted
from resnest_cli.types import names_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from resnest_cli.outputs.formats import Format
    from resnest_cli.outputs.job import Follow, Found, Job
    from resnest_cli.outputs.rows import About, Row
    from resnest_cli.outputs.summary import Summary
    from resnest_cli.types import Failure, Source

_log = logging.getLogger(__name__)
ALL_ROWS = 0  # are kept of a file that was being written: it need not end with a whole batch


class GrowingFile(ResumableFile):
    """A file of predictions that gets the rows of new and changed inputs; a context manager.

    Args:
        path: the file; made if it is not there.
        format: how it holds rows.
        by_hash: an input has changed if its content has; each is read for that.
        hold: says of the path of a failed input whether it will come again, so that it gets no row yet.

    Raises:
        OutputError: it is being written by another process, or cannot be written, or nothing says what made it.
    """

    _again = "--append-new"

    def __init__(
        self, path: Path, format: Format, *, by_hash: bool = False, hold: Callable[[str], bool] | None = None
    ) -> None:
        super().__init__(path, format, resume=True)
        self._by_hash, self._hold = by_hash, hold
        self._errors: dict[str, str | None] = {}  # of the rows of earlier runs, by path
        self._given: dict[str, Stamp | None] = {}  # the inputs of this run, as they were last looked at
        self._under_way: dict[str, deque[Stamp | None]] = {}  # those of them that have no row yet
        self._adopted: dict[str, Stamp] = {}  # stamps of inputs that have not changed, but whose stamp has
        self._replaced: set[str] = set()
        self._here = working_folder()
        self._is_whole = False  # all inputs were seen

    def fill(self, job: Job, found: Found, summary: Summary, follow: Follow) -> None:
        """Write the rows of the inputs that have none, or that have changed; a signal ends the file as it is then.

        Raises:
            UsageError: an input has no name.
            OutputError: the rows that are there are of another job, or the file cannot be written.
        """
        super().fill(job, found, summary, follow)
        summary.complete = self.complete
        summary.earlier -= len(self._replaced)
        summary.gone = sum(map(self._is_gone, self._errors)) if self._is_whole else 0

    def begin(self, about: About, fingerprint: Mapping[str, Any], batch: int) -> None:  # noqa: ARG002 - as the base has it
        """Find which inputs have a row, and in which state.

        Raises:
            OutputError: the rows that are there were made in another way; the message names the differences.
        """
        super().begin(about, fingerprint, ALL_ROWS)
        with files.as_output_error(self.path):
            done = records.place(self.path)
            self._ledger = Ledger(self.path)
            self._ends.callback(self._ledger.close)
            self._stamps = {self._key(path): stamp for path, stamp in self._ledger.stamps.items()}
            self._since = done.stat().st_mtime_ns if self.complete and self._ledger.is_new else 0
            self._errors = {self._key(row["path"]): _error(row) for row in self._rows_there()}
            self.done = len(self._errors)

    def _rows_there(self) -> Iterator[Row]:
        if not self.complete:
            return self._journal.rows()
        finished = Results(self.path)
        finished.require_here()
        return finished.rows()

    def rest(self, found: Iterable[Source | Failure], seen: Callable[..., None]) -> Iterator[Source | Failure]:
        """Skip the inputs whose rows are up to date; `seen` gets the error type of each row, None for an answer."""
        self._count_rows = seen
        for error in self._errors.values():
            seen(error)
        return self._new(found)

    def write(self, rows: Iterable[Row]) -> None:
        """Append every row; a signal ends the file as it is then."""
        try:
            for row in rows:
                stamp = self._under_way[self._key(row["path"])].popleft()
                if self._hold and "error" in row and self._hold(row["path"]):
                    self._forget(row)
                    continue
                if "error" in row and stamp is None and names_file(row["path"]):
                    continue  # a name of no file, or an empty folder, is told, and leaves no row that fails for ever
                if not self._unfinished:
                    self._reopen()
                super().write([row])
                if stamp:
                    self._ledger.add(row["path"], stamp)
        except (KeyboardInterrupt, SystemExit):
            self.finish()
            _log.info("%s is complete so far: %s.", self.path, counted(self._tally.rows or len(self._errors), "row"))
            raise

    def finish(self) -> None:
        """Drop the rows that have a later one, and finish the file; one that has no new row stays as it is.

        Raises:
            OutputError: it cannot be written; the rows stay, and the same command continues.
        """
        with files.as_output_error(self.path):
            for path, stamp in self._adopted.items():
                self._ledger.add(path, stamp)
            if self._unfinished:
                self._compact()
        super().finish()

    def _forget(self, row: Row) -> None:
        """Let an input that was held come again."""
        self._count_rows(row["error"]["type"], -1)
        del self._given[self._key(row["path"])]

    def _new(self, found: Iterable[Source | Failure]) -> Iterator[Source | Failure]:
        """Yield the inputs that have no row, or have changed; in the thread that finds them."""
        for item in found:
            stamp, key = Stamp.of(item, by_hash=self._by_hash), self._key(item.path)
            if key in self._given and _same(self._given[key], stamp):
                continue
            is_first = key not in self._given
            self._given[key] = stamp
            if is_first and key in self._errors:
                if self._is_up_to_date(item.path, stamp):
                    continue
                if key not in self._replaced:
                    self._count_rows(self._errors[key], -1)
                self._replaced.add(key)
            self._under_way.setdefault(key, deque()).append(stamp)
            yield item
        self._is_whole = True

    def _is_up_to_date(self, path: str, stamp: Stamp | None) -> bool:
        """Return whether the row of a path is of this state of its file."""
        then = self._stamps.get(self._key(path))
        if stamp is None:  # nothing to compare: a URL, an object, a file that is gone
            return True
        is_same = then.is_as(stamp) if then else stamp.mtime_ns <= self._since
        if is_same and then != stamp:
            self._adopted[path] = stamp
        return is_same

    def _key(self, path: str) -> str:
        """Return what two spellings of a file's path have in common; other inputs are known by their text."""
        return os.path.normpath(os.path.join(self._here, path)) if names_file(path) else path  # noqa: PTH118 - as text

    def _is_gone(self, path: str) -> bool:
        """Return whether a path that has a row, and was not found now, was a file."""
        return path not in self._given and names_file(path) and not os.path.lexists(path)

    def _reopen(self) -> None:
        """Make a finished file one that is being written; until its record is gone, it is the finished one."""
        with files.as_output_error(self.path):
            finished = Results(self.path)
            self._open(self._ends)
            atomic.write(self._sidecar, json.dumps(self._settings, indent=1).encode())
            self._unfinished, self.complete = True, False
            if self.format.compose:
                self._journal.start(self._about)
                for row in finished.rows():
                    self._journal.append(row)
            else:
                self._journal.recover(self._about, ALL_ROWS)
            records.place(self.path).unlink()

    def _compact(self) -> None:
        """Drop the rows that have a later one, and count those that are left."""
        last: dict[str, tuple[int, str, str | None]] = {}
        count = 0
        for count, row in enumerate(self._journal.rows(), 1):
            last[self._key(row["path"])] = (count - 1, row["path"], _error(row))
        if len(last) < count:
            self._journal.keep({number for number, *_ in last.values()}.__contains__)
        self._tally = records.Tally()
        for _, path, error in sorted(last.values()):
            self._tally.add(path, error)


def _error(row: Row) -> str | None:
    return row["error"]["type"] if "error" in row else None


def _same(then: Stamp | None, now: Stamp | None) -> bool:
    return then.is_as(now) if then and now else then is now
