"""Finished files of rows whose failed inputs are tried once more; the other rows stay where and as they are.

In: inputs, of which those with a failed row are computed. Out: the same file with their new rows in the places of the
old ones. Until all are there the file is the old one: a stopped job changes nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from resnest_cli.errors import OutputError
from resnest_cli.outputs import records
from resnest_cli.outputs.reading import Results
from resnest_cli.outputs.resumable import ResumableFile
from resnest_cli.system import atomic, files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typing_extensions import Self

    from resnest_cli.outputs.formats import Format
    from resnest_cli.outputs.job import Follow, Found, Job
    from resnest_cli.outputs.rows import Row
    from resnest_cli.outputs.summary import Summary


class RetriedFile(ResumableFile):
    """A finished file of predictions; a context manager.

    Args:
        path: the file.
        format: how it holds rows.

    Raises:
        OutputError: it is not finished, was changed, or is being written by another process.
    """

    _again = "--retry-failed"

    def __init__(self, path: Path, format: Format) -> None:
        super().__init__(path, format, resume=True)

    def __enter__(self) -> Self:
        """Lock the file, and find which rows have failed."""
        if not self.path.exists():
            message = f"{self.path}: there is no such file; the same command without --retry-failed makes it."
            raise OutputError(message)
        super().__enter__()
        if not self._finished:
            self._ends.close()
            message = f"{self.path} is not finished: add {records.again(self.path)} in place of --retry-failed first."
            raise OutputError(message)
        self._results = Results(self.path)
        self._results.require_here()
        self._failed = {row["path"] for row in self._results.rows() if "error" in row}
        return self

    def fill(self, job: Job, found: Found, summary: Summary, follow: Follow) -> None:
        """Compute the inputs among these that have a failed row.

        Raises:
            OutputError: the rows were made in another way, or the file cannot be written.
        """
        self.begin(job.about, job.fingerprint, job.batch)
        summary.output = self.path
        for row in self._results.rows():
            if "error" not in row:
                summary.count(None)
        summary.earlier = summary.ok
        todo = (item for item in found if item.path in self._failed)
        new = {record.path: job.to_row(record) for record in follow(summary.watch(job.records(todo)), summary.earlier)}
        for row in self._results.rows():
            if "error" in row and row["path"] not in new:
                summary.count(row["error"]["type"])
        summary.complete = not new
        if new:
            with summary.stages.clock("write"), files.as_output_error(self.path):
                self._replace(new)

    def _replace(self, new: dict[str, Row]) -> None:
        """Write the file anew; without its record, its `.resume.json` says what made it."""
        atomic.write(self._sidecar, json.dumps(self._settings, indent=1).encode())
        with atomic.writer(self.path) as out:
            self.format.write(self._merged(new), out, self._about)
        records.write(self.path, self._settings, self._tally, self.format.companions, self._about)
        self._sidecar.unlink()

    def _merged(self, new: dict[str, Row]) -> Iterator[Row]:
        """Yield all rows, the new ones in the places of the failed ones."""
        for old in self._results.rows():
            row = new.get(old["path"], old) if "error" in old else old
            self._count(row)
            yield row
