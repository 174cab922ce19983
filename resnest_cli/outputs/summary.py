"""What a job came to: counts of answers and failures, and the time that each stage took.

In: records as they pass. Out: the counts, and the lines that report them. Does not know where records are written.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

from resnest_cli.outputs.limits import MaxFailures
from resnest_cli.text.words import counted
from resnest_cli.types import Failure, Stages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_Item = TypeVar("_Item")


def complete(rows: int) -> str:
    """Say that an earlier run has finished the job."""
    return f"complete: {counted(rows, 'row')}"


class Summary:
    """Counts the records that pass through `watch`, and so knows what to say at the end, and the exit code.

    Attributes:
        ok: records with an answer.
        failures: failed records by the type of their error.
        stages: seconds by stage; `watch` adds to `write` what its consumer takes.
        seconds: from the first record asked for to the last one written.
    """

    def __init__(self, stages: Stages | None = None, *, most: MaxFailures | None = None) -> None:
        self._most = most or MaxFailures()
        self.ok = 0
        self.failures: Counter[str] = Counter()
        self.stages = stages or Stages()
        self.seconds = 0.0

    @property
    def failed(self) -> int:
        """Records without an answer."""
        return self.failures.total()

    def watch(self, records: Iterable[_Item]) -> Iterator[_Item]:
        """Pass records on, counting them.

        Raises:
            TooManyFailures: more than `most` have failed; the last of them was passed on.
        """
        begun = time.perf_counter()
        for record in records:
            self.count(record.type if isinstance(record, Failure) else None)
            given = time.perf_counter()
            yield record
            self.seconds = time.perf_counter() - begun
            self.stages.write += time.perf_counter() - given
            self._most.check(self.ok, self.failures)
        self._most.check(self.ok, self.failures, at_end=True)

    def count(self, error: str | None) -> None:
        """Count one record: the type of its error, or None for an answer."""
        if error is None:
            self.ok += 1
        else:
            self.failures[error] += 1

    def words(self, earlier: int, output: Path | None = None) -> str:
        """Say how many there were or where they were written, how fast that was, what failed and why.

        `earlier` of them are of runs before this one.
        """
        total = self.ok + self.failed
        now = total - earlier
        rate = f", {now / self.seconds:.1f}/s" if self.seconds and now else ""
        before = f" after {earlier:,} done before" if earlier else ""
        done = f"wrote {output}, {counted(total, 'row')}," if output else counted(now, "input")
        lines = [f"{done} in {self.seconds:.1f} s{rate}{before}."]
        if self.failed:
            types = ", ".join(f"{kind} {count:,}" for kind, count in self.failures.most_common())
            lines.append(f"{self.failed:,} of {counted(total, 'input')} failed: {types}.")
        return "\n".join(lines)

    def times(self) -> str:
        """Say where the time went."""
        stages = [f"{name} {seconds:.2f} s" for name, seconds in asdict(self.stages).items() if seconds]
        return f"time by stage: {', '.join(stages)}."
