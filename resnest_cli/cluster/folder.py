"""The files of a folder, or of a prefix in an object store, that a cluster writes.

In: tables of rows, on the nodes; on the driver, the files of earlier runs. Out: `rows-FIRST-LAST.parquet`, named by the
numbers of the inputs whose rows it has, `_job.json` (what made them) and at the end `_summary.json`. Each file is
atomic, and rows that are made twice have one name: neither a lost node nor a second run doubles a row.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from resnest_cli.cluster.spans import Span, read_span, remaining
from resnest_cli.errors import OutputError, UsageError
from resnest_cli.inputs import buckets
from resnest_cli.outputs import records
from resnest_cli.system import atomic
from resnest_cli.text import redact
from resnest_cli.text.json_input import Entries, parse
from resnest_cli.text.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from resnest_cli.cluster.stages import Block, Item

JOB, SUMMARY = "_job.json", "_summary.json"  # readers of folders of Parquet skip names with this first letter
OURS = ("number", "input", "seconds")  # columns of a table that are not for the file
READERS = 16  # files of an earlier run that are read at the same time
_NAME = re.compile(r"rows-\d{12}-\d{12}\.parquet")


@dataclass(frozen=True)
class Folder:
    """Where the files go: `place` is an absolute path, s3://... or gs://...; `facts` go into their metadata."""

    place: str
    facts: Mapping[str, Any]

    @classmethod
    def at(cls, output: str, facts: Mapping[str, Any]) -> Folder:
        """Return the folder under a name that holds on every machine.

        Raises:
            UsageError: it is no name in an object store.
        """
        if not buckets.is_bucket(output):
            return cls(str(Path(output).absolute()), facts)
        place = output.rstrip("/")
        if why := buckets.why_invalid(place):
            raise UsageError(f"-o {redact.url(output)}: {why}")
        return cls(place, facts)

    def begin(self, fingerprint: Mapping[str, Any], *, overwrite: bool, resume: bool) -> list[Span]:
        """Start the job, or return what is done.

        Raises:
            OutputError: there is a result already, or rows that were made in another way; or it cannot be written.
        """
        with self._as_output_error():
            self._store.create_dir(self._path(), recursive=True)
            names = self._names()
            rows = sorted(filter(_NAME.fullmatch, names))
            if overwrite:  # what says whose rows they are goes last
                self._remove([*({SUMMARY} & {*names}), *rows])
            elif JOB in names:
                self._check(names, fingerprint, resume=resume)
                return self._spans(rows)
            elif rows:
                raise OutputError(
                    f"{self.place}/{rows[0]} is in the way, and not of a job that was begun here: move it, add "
                    "--overwrite, or give another -o."
                )
            self._put(JOB, fingerprint)
        return []

    def is_finished(self) -> bool:
        """Return whether a job has written its summary, its last file.

        Raises:
            OutputError: the folder cannot be read.
        """
        with self._as_output_error():
            return SUMMARY in self._names()

    def refuse_more(self, found: Iterable[Item], spans: list[Span]) -> None:
        """Check that a finished job has the rows of these inputs and no others.

        Raises:
            OutputError, UsageError: the inputs are others, or rows are missing.
        """
        rows, before = sum(span.rows for span in spans), self._rows_when_finished()
        if rows != before:
            raise OutputError(
                f"{self.place} has {rows:,} of the {before:,} rows that it had when its job was finished: remove "
                f"{SUMMARY} in it, and --resume makes the others again."
            )
        if more := next(remaining(found, spans), None):
            raise OutputError(
                f"{self.place} is finished: it has {counted(rows, 'row')}, and the inputs go on with "
                f"{more[1].path!r}. Give the same inputs; or another -o for the new ones; or --overwrite in place of "
                "--resume to make it anew."
            )

    def finish(self, spans: list[Span], seconds: float) -> None:
        """Write the summary: how many rows there are, what failed, and what made them.

        Raises:
            OutputError: it cannot be written, or a node wrote elsewhere.
        """
        failures = sum((Counter(span.failures) for span in spans), Counter[str]())
        counts = {"rows": sum(span.rows for span in spans), "failed": failures.total(), "failures": failures}
        with self._as_output_error():
            if lost := {span.name for span in spans} - set(self._names()):
                raise OutputError(
                    f"{self.place}/{min(lost)} was written by a node and is not here: give an -o that all nodes share, "
                    "a shared folder, s3://... or gs://..."
                )
            self._put(SUMMARY, {**counts, "files": len(spans), "seconds": round(seconds, 1), **self.facts})

    def save(self, table: Any) -> Block:  # noqa: ANN401 - pyarrow has no types
        """Write a table of `Tables`, on a node: a file for each run of inputs; "span" says what they hold."""
        numbers = table["number"].to_numpy()
        ends = [0, *(np.flatnonzero(np.diff(numbers) != 1) + 1), len(numbers)]
        parts = [table.slice(begin, end - begin) for begin, end in pairwise(ends)]
        return {
            "span": np.array([json.dumps(self._write(part)) for part in parts]),
            "seconds": np.stack([np.stack(part["seconds"].to_numpy()).sum(0) for part in parts]),
        }

    def _write(self, table: Any) -> Span:  # noqa: ANN401 - pyarrow has no types
        import pyarrow.parquet as pq  # noqa: PLC0415 - of the extra "ray"

        failures = Counter(kind for kind in table["error_type"].to_pylist() if kind)
        numbers, inputs = table["number"], table["input"]
        first, last = numbers[0].as_py(), numbers[-1].as_py()
        span = Span(first, last, json.loads(inputs[0].as_py()), json.loads(inputs[-1].as_py()), dict(failures))
        facts = {"resnest": json.dumps(dict(self.facts)), "span": json.dumps(span)}
        rows = table.drop_columns(list(OURS)).replace_schema_metadata(facts)
        with self._begun(span.name) as file:
            pq.write_table(rows, file)
        return span

    def _check(self, names: list[str], fingerprint: Mapping[str, Any], *, resume: bool) -> None:
        """Refuse to replace what is there, or to continue rows that were made in another way."""
        if SUMMARY in names and not resume:
            raise OutputError(f"{self.place} exists; add --overwrite to replace it.")
        if not resume:
            raise OutputError(
                f"{self.place} was begun and not finished: add --resume to continue, or --overwrite to start anew."
            )
        with self._store.open_input_stream(self._path(JOB)) as file:
            before = records.begun_with(f"{self.place}/{JOB}", file.read())
        records.compare(self.place, before, fingerprint)

    def _rows_when_finished(self) -> int:
        with self._as_output_error(), self._store.open_input_stream(self._path(SUMMARY)) as file:
            return Entries(parse(file.read()), SUMMARY).integer("rows", 0, 1 << 53)

    def _spans(self, names: list[str]) -> list[Span]:
        """Read the span of each file."""
        import pyarrow.parquet as pq  # noqa: PLC0415 - of the extra "ray"

        def read(name: str) -> Span:
            metadata = pq.read_metadata(self._path(name), filesystem=self._store).metadata or {}
            return read_span(metadata.get(b"span", b""), f"{self.place}/{name}")

        with ThreadPoolExecutor(READERS) as pool:
            return list(pool.map(read, names))

    @property
    def _store(self) -> Any:  # noqa: ANN401 - pyarrow has no types
        from pyarrow.fs import LocalFileSystem  # noqa: PLC0415 - of the extra "ray"

        return buckets.opened(self.place)[0] if buckets.is_bucket(self.place) else LocalFileSystem()

    def _path(self, name: str = "") -> str:
        place = self.place.partition("://")[2] if buckets.is_bucket(self.place) else self.place
        return f"{place}/{name}" if name else place

    def _names(self) -> list[str]:
        from pyarrow.fs import FileSelector  # noqa: PLC0415 - of the extra "ray"

        return [entry.base_name for entry in self._store.get_file_info(FileSelector(self._path()))]

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            self._store.delete_file(self._path(name))

    def _put(self, name: str, facts: Mapping[str, Any]) -> None:
        with self._begun(name) as file:
            file.write(json.dumps(facts, indent=1).encode())

    def _begun(self, name: str) -> AbstractContextManager[Any]:
        """Open a file that gets its name when it is whole; objects do so by themselves."""
        is_object = buckets.is_bucket(self.place)
        return self._store.open_output_stream(self._path(name)) if is_object else atomic.writer(Path(self._path(name)))

    @contextmanager
    def _as_output_error(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
            raise OutputError(f"{self.place} cannot be written: {str(error).splitlines()[0]}") from error
