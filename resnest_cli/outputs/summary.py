"""What came of a job: counts of answers and failures, and the time that each stage took.

In: records as they pass. Out: the counts, and the lines that report them. Does not know how records are written.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

from resnest_cli.errors import ExitCode
from resnest_cli.outputs.limits import MaxFailures
from resnest_cli.text.words import counted
from resnest_cli.types import Failure, Result, Stages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from os import PathLike

_Item = TypeVar("_Item")
MOST_CLASSES = 5  # in the counts by class
# Strangeness is uniform where images are as those of the calibration: mean 0.5, standard deviation 0.29. Ten images
# have a mean beyond `STRANGE` by chance in 1 of 50,000 folders; one class of the digits alone has 0.38 to 0.56.
STRANGE, LEAST_IMAGES = 0.85, 10


class Summary:
    """Counts of a job; `watch` counts the records that pass through it.

    Attributes:
        ok: inputs with an answer, those of earlier runs included.
        failures: failed inputs by the type of their error, those of earlier runs included.
        classes: first classes of the answers of this run; empty where rows have none, or others wrote them.
        calibrated: answers of this run that say how sure they are.
        unsure: those of them that abstain.
        strangeness: the sum of their strangeness.
        earlier: inputs that had a row before this run.
        gone: those of them that are not there any more; their rows stay.
        complete: an earlier run had finished the job, so this run wrote nothing.
        stages: seconds per stage; `watch` adds the time that its consumer takes to `write`.
        seconds: from the first record asked for to the last one written.
        output: the file or folder that was written; None for a stream.
        files: how many files a folder got.
    """

    def __init__(self, stages: Stages | None = None, most: MaxFailures | None = None) -> None:
        self._most = most or MaxFailures()
        self.ok = 0
        self.failures: Counter[str] = Counter()
        self.classes: Counter[str] = Counter()
        self.calibrated = self.unsure = 0
        self.strangeness = 0.0
        self.earlier = 0
        self.gone = 0
        self.complete = False
        self.stages = stages or Stages()
        self.seconds = 0.0
        self.output: str | PathLike[str] | None = None
        self.files = 0

    def __repr__(self) -> str:
        """Return the counts, and the name of the output."""
        output = None if self.output is None else str(self.output)
        counts = f"ok={self.ok}, failures={dict(self.failures)}, earlier={self.earlier}, complete={self.complete}"
        return f"Summary({counts}, output={output!r})"

    @property
    def failed(self) -> int:
        """Inputs without an answer."""
        return self.failures.total()

    @property
    def exit_code(self) -> ExitCode:
        """What the process tells its caller: 3 if an input failed."""
        return ExitCode.SOME_FAILED if self.failed else ExitCode.OK

    def watch(self, records: Iterable[_Item]) -> Iterator[_Item]:
        """Pass records on, counting them.

        Raises:
            TooManyFailures: more have failed than the job may have; the last of them was passed on.
        """
        begun = time.perf_counter()
        for record in records:
            self.count(record.type if isinstance(record, Failure) else None)
            if isinstance(record, Result):
                self.classes.update(best.label for best in record.predictions[:1])
                self._count_certainty(record)
            given = time.perf_counter()
            yield record
            self.seconds = time.perf_counter() - begun
            self.stages.write += time.perf_counter() - given
            self.check()
        self.check(at_end=True)

    def count(self, error: str | None, number: int = 1) -> None:
        """Count inputs by the type of their error, None for an answer; a negative number takes them back."""
        if error is None:
            self.ok += number
        else:
            self.failures[error] += number
            self.failures = +self.failures

    def _count_certainty(self, result: Result) -> None:
        if known := result.certainty:
            self.calibrated += 1
            self.unsure += known.abstained
            self.strangeness += known.strangeness

    def check(self, *, at_end: bool = False) -> None:
        """Stop a job in which too many inputs failed.

        Raises:
            TooManyFailures: more have failed than the job may have.
        """
        self._most.check(self.ok, self.failures, at_end=at_end)

    def words(self) -> str:
        """Return a line for what was written and how fast, and another for what failed."""
        total = self.ok + self.failed
        gone = f"\n{counted(self.gone, 'input')} with a row {'is' if self.gone == 1 else 'are'} gone; the rows stay."
        failed = f"{self.failed:,} of {counted(total, 'input')} failed: {self._types()}."
        if self.complete:
            lines = [f"complete: {counted(total, 'row')}", *([failed] if self.failed else [])]
            return "\n".join(lines) + (gone if self.gone else "")
        now = total - self.earlier
        rate = f", {now / self.seconds:.1f}/s" if self.seconds and now else ""
        before = f" after {self.earlier:,} done before" if self.earlier else ""
        files = f" {counted(self.files, 'file')}," if self.files else ""
        done = f"wrote {self.output},{files} {counted(total, 'row')}," if self.output else counted(now, "input")
        lines = [f"{done} in {self.seconds:.1f} s{rate}{before}."]
        if self.failed:
            lines.append(failed)
        return "\n".join(lines) + (gone if self.gone else "")

    def _types(self) -> str:
        return ", ".join(f"{kind} {count:,}" for kind, count in self.failures.most_common())

    def by_class(self) -> str:
        """Return lines with the most frequent first classes of this run."""
        images, shown = self.classes.total(), self.classes.most_common(MOST_CLASSES)
        lines = [f"{counted(images, 'image')}{' of this run' * (self.earlier > 0)}, by first class:"]
        width = len(f"{shown[0][1]:,}")
        lines += [f"  {count:>{width},}  {label}" for label, count in shown]
        if rest := len(self.classes) - len(shown):
            others = images - sum(count for _, count in shown)
            lines.append(f"  {others:>{width},}  in {rest:,} more class{'es' * (rest != 1)}")
        return "\n".join(lines)

    def certainty(self) -> str:
        """Return lines on how sure the answers of this run are; "" where they do not say it."""
        if not self.calibrated:
            return ""
        of = counted(self.calibrated, "answer")
        lines = [f"unsure of {self.unsure:,} of {of} ({self.unsure / self.calibrated:.1%})."]
        mean = self.strangeness / self.calibrated
        if self.calibrated >= LEAST_IMAGES and mean >= STRANGE:
            lines.append(
                f"these images are unlike those of the calibration: mean strangeness {mean:.2f}, where 0.5 is usual. "
                "Its promise does not hold here: calibrate with labeled images like these."
            )
        return "\n".join(lines)

    def times(self) -> str:
        """Return a line with the seconds of each stage."""
        stages = [f"{name} {seconds:.2f} s" for name, seconds in asdict(self.stages).items() if seconds]
        return f"time by stage: {', '.join(stages)}."
