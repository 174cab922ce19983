"""A job: inputs go through an opened model, and a row for each goes to an output.

In: a `Job` (what computes rows and what made them), inputs, and an open `Output`. Out: the filled output and a
`Summary`. Knows no task and no terminal: a progress bar is a function that follows the stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from resnest_cli.outputs.limits import MaxFailures
from resnest_cli.outputs.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resnest_cli.outputs.formats import Format
    from resnest_cli.outputs.rows import About, Row
    from resnest_cli.pipeline.trunk import Runner
    from resnest_cli.types import Failure, Source

Found: TypeAlias = "Iterable[Source | Failure]"
# Passes on the records of a job while they come; gets how many inputs have rows of an earlier run.
Follow: TypeAlias = Callable[[Iterable[Any], int], Iterable[Any]]


@dataclass(frozen=True)
class Job:
    """What is computed for each input, and how an output holds it.

    Attributes:
        runner: turns sources into rows of numbers, float32 [F].
        finish: turns a row of numbers into a record; a failure stays one. A value: other machines can do it too.
        to_row: turns a record into the row that the output takes.
        table: turns rows, and F, into the Arrow table that a Parquet file has.
        about: what holds for all rows.
        fingerprint: what rows depend on, under the names that people know; a job resumes only where all are equal.
        batch: images per forward pass.
    """

    runner: Runner
    finish: Callable[[Any], Any]
    to_row: Callable[[Any], Any]
    table: Callable[[list[Row], int], Any]
    about: About
    fingerprint: Mapping[str, Any]
    batch: int

    def records(self, found: Found) -> Iterator[Any]:
        """Yield the record of each input, lazily and in order."""
        return map(self.finish, self.runner.rows(found))


class Output(Protocol):
    """What rows go to."""

    @property
    def format(self) -> Format:
        """How it holds rows."""

    @property
    def is_traced(self) -> bool:
        """Whether it says what made its rows, so that the checksum of the weights is worth computing."""

    def fill(self, job: Job, found: Found, summary: Summary, follow: Follow) -> None:
        """Write the row of each input that has none yet, counting them all."""


def run(
    job: Job,
    found: Found,
    out: Output,
    *,
    max_failures: MaxFailures | int | str | None = None,
    follow: Follow | None = None,
) -> Summary:
    """Fill an output with the rows of inputs.

    Args:
        job: what is computed.
        found: the inputs, in order.
        out: where rows go.
        max_failures: stop when more inputs have failed: a number, or a share as "5%".
        follow: sees each record on its way, see `Follow`.

    Raises:
        OutputError: it cannot be written, or holds rows of another job.
        TooManyFailures: more than `max_failures` have failed; finished rows stand.
    """
    summary = Summary(job.runner.stages, MaxFailures.of(max_failures))
    out.fill(job, found, summary, follow or _unseen)
    return summary


def _unseen(records: Iterable[Any], _: int) -> Iterable[Any]:
    return records
