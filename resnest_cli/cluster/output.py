"""A folder of Parquet files as the output of a job: the nodes of a cluster write the rows.

In: a `Job` whose runner is a `RayTrunk`, and inputs. Out: the folder's files and its summary. Does not know how the
files are called or what is in them: see `folder`.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resnest_cli.cluster.folder import OURS, Folder
from resnest_cli.cluster.trunk import RayTrunk
from resnest_cli.errors import UsageError
from resnest_cli.outputs.formats import FORMATS, Format

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray

    from resnest_cli.cluster.spans import Span
    from resnest_cli.outputs.job import Follow, Found, Job
    from resnest_cli.outputs.rows import Row
    from resnest_cli.outputs.summary import Summary
    from resnest_cli.pipeline import stream
    from resnest_cli.pipeline.trunk import RunnerFactory
    from resnest_cli.types import Failure


@dataclass(frozen=True)
class Tables:
    """Finishes blocks of rows of numbers, on a node, as Arrow tables; see `Job` for its parts."""

    finish: Callable[[Any], Any]
    to_row: Callable[[Any], Row]
    table: Callable[[list[Row], int], Any]

    def __call__(
        self, numbers: NDArray[np.int64], rows: list[stream.Row | Failure], width: int, seconds: NDArray[np.float32]
    ) -> Any:  # noqa: ANN401 - pyarrow has no types
        """Return the table, with the columns `OURS` that are not for the file."""
        import pyarrow as pa  # noqa: PLC0415 - of the extra "ray"

        inputs = pa.array([json.dumps(row.path) for row in rows])
        times = pa.FixedSizeListArray.from_arrays(pa.array(seconds.ravel()), 3)
        table = self.table([self.to_row(self.finish(row)) for row in rows], width)
        for name, column in zip(OURS, (pa.array(numbers), inputs, times), strict=True):
            table = table.append_column(name, column)
        return table


@dataclass(frozen=True)
class Shards:
    """A folder, or a prefix in an object store, of Parquet files.

    Attributes:
        place: the folder, s3://... or gs://...
        overwrite: replace what is there.
        resume: continue the job that left what is there; begin where there is nothing.
    """

    place: str
    overwrite: bool = False
    resume: bool = False
    is_traced = True

    @property
    def format(self) -> Format:
        """The format of its files."""
        return FORMATS["parquet"]

    def fill(self, job: Job, found: Found, summary: Summary, follow: Follow) -> None:
        """Write, on the nodes, the rows of every input that has none yet.

        Raises:
            UsageError: the model runs on this machine.
            OutputError: the rows that are there are of another job, or the folder cannot be written.
        """
        if not isinstance(job.runner, RayTrunk):
            raise without_cluster(self.place)
        folder = Folder.at(self.place, job.about.facts)
        spans = folder.begin(job.fingerprint, overwrite=self.overwrite, resume=self.resume)
        for span in spans:
            _count(span, summary)
        summary.output, summary.files = self.place, len(spans)
        summary.earlier = sum(span.rows for span in spans)
        if folder.is_finished():
            folder.refuse_more(found, spans)
            summary.complete = True
            return
        begun = time.perf_counter()
        make = Tables(job.finish, job.to_row, job.table)
        saved = job.runner.save(found, folder, spans, make)
        for _ in follow(_each_row(saved, spans, summary), summary.earlier):
            pass
        summary.seconds, summary.files = time.perf_counter() - begun, len(spans)
        folder.finish(spans, summary.seconds)


def open_folder(
    place: str, runner: RunnerFactory | None, *, overwrite: bool, resume: bool
) -> AbstractContextManager[Shards]:
    """Open the folder that the cluster of `runner` is to write, before a model is loaded.

    Raises:
        UsageError: there is no cluster.
    """
    if runner is None:
        raise without_cluster(place)
    return nullcontext(Shards(place, overwrite=overwrite, resume=resume))


def without_cluster(place: str) -> UsageError:
    """Return the refusal of a folder that no cluster would write."""
    return UsageError(f"-o {place}: a folder of Parquet files is written by a cluster: add --ray, or name a file.")


def _each_row(saved: Iterable[Span], spans: list[Span], summary: Summary) -> Iterator[int]:
    """Note and count each file, and yield something for each of its rows.

    Raises:
        TooManyFailures: more have failed than the job may have.
    """
    for span in saved:
        spans.append(span)
        _count(span, summary)
        yield from range(span.rows)
        summary.check()
    summary.check(at_end=True)


def _count(span: Span, summary: Summary) -> None:
    for error, number in span.failures.items():
        summary.count(error, number)
    summary.count(None, span.rows - Counter(span.failures).total())
