"""Which inputs the files of a folder have rows of.

In: what each file says of itself, and inputs. Out: `Span` values, and the inputs that have no row yet. Does not know
where the files are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from resnest_cli.errors import OutputError, UsageError
from resnest_cli.text.json_input import LONGEST_PATH, Entries, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from resnest_cli.cluster.stages import Item

MOST_INPUTS = 10**12


class Span(NamedTuple):
    """The inputs of one file: number and path of the first and of the last, and how many failed by type."""

    first: int
    last: int
    first_path: str
    last_path: str
    failures: dict[str, int]

    @property
    def rows(self) -> int:
        """The number of its rows."""
        return self.last - self.first + 1

    @property
    def name(self) -> str:
        """The file's name."""
        return f"rows-{self.first:012d}-{self.last:012d}.parquet"


def remaining(items: Iterable[Item], spans: list[Span]) -> Iterator[tuple[int, Item]]:
    """Number the inputs, and yield those that have no row yet.

    Raises:
        UsageError: the rows that are there are of other inputs.
    """
    ends = {span.first: span for span in spans}
    span: Span | None = None
    count = 0
    for number, item in enumerate(items):
        count = number + 1
        span = ends.get(number, span)
        if span is None:
            yield number, item
            continue
        expected = {span.first: span.first_path, span.last: span.last_path}.get(number)
        if expected is not None and expected != item.path:
            raise UsageError(
                f"--resume: input {number} was {expected} and is now {item.path}: give the same inputs, or --overwrite."
            )
        if number == span.last:
            span = None
    if spans and count <= max(span.last for span in spans):
        raise UsageError(f"--resume: there are only {count} inputs now: give the same inputs, or --overwrite.")


def read_span(text: bytes, place: str) -> Span:
    """Read what the file at `place` says of itself.

    Raises:
        OutputError: no job wrote it.
    """
    try:
        first, last, first_path, last_path, failures = parse(text)
        given = Entries({"first": first, "last": last, "first_path": first_path, "last_path": last_path})
        counts = Entries(failures, "failures")
        return Span(
            given.integer("first", 0, MOST_INPUTS),
            given.integer("last", first, MOST_INPUTS),
            given.text("first_path", longest=LONGEST_PATH),
            given.text("last_path", longest=LONGEST_PATH),
            {kind: counts.integer(kind, 0, last - first + 1) for kind in counts.values},
        )
    except (ValueError, TypeError) as error:
        message = f"{place} is not a file that this job wrote ({error}): move it, or use --overwrite to start anew."
        raise OutputError(message) from error
