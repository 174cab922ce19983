"""Outputs that a cluster writes: a folder of Parquet files, for the commands that can run on one."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from resnest_cli.errors import ExitCode, UsageError
from resnest_cli.outputs.summary import complete
from resnest_cli.text.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from resnest_cli.cli.view import View
    from resnest_cli.cluster.folder import Folder, Span, Tables
    from resnest_cli.outputs.limits import MaxFailures
    from resnest_cli.pipeline.trunk import Runner
    from resnest_cli.types import Failure, Source


def require_cluster(output: str, elsewhere: object) -> None:
    """Refuse a folder where there is no cluster to write it.

    Raises:
        UsageError: it is a single machine's job.
    """
    if elsewhere is None:
        raise UsageError(f"-o {output}: a folder of Parquet files is written by a cluster: add --ray, or name a file.")


def write(  # noqa: PLR0913 - what a job consists of
    folder: Folder,
    trunk: Runner,
    found: Iterable[Source | Failure],
    make: Tables,
    *,
    fingerprint: dict[str, Any],
    view: View,
    overwrite: bool,
    resume: bool,
    total: Callable[[], int | None],
    most: MaxFailures,
) -> None:
    """Let the cluster write the rows of what is found, and say what came of it; exit with 3 if an input failed."""
    from resnest_cli.cluster import RayTrunk

    if not isinstance(trunk, RayTrunk):
        raise TypeError(type(trunk))
    spans = folder.begin(fingerprint, overwrite=overwrite, resume=resume)
    if folder.is_finished():
        folder.refuse_more(found, spans)
        view.say(complete(sum(span.rows for span in spans)))
        _leave(spans)
        return
    earlier, begun = sum(span.rows for span in spans), time.perf_counter()
    written = _each_row(trunk.save(found, folder, spans, make), spans, most)
    if view.has_bar():
        written = view.follow(written, lambda: None if (count := total()) is None else count - earlier, "writing")
    for _ in written:
        pass
    seconds = time.perf_counter() - begun
    folder.finish(spans, seconds)
    _summarise(spans, earlier, seconds, view)


def _each_row(saved: Iterator[Span], spans: list[Span], most: MaxFailures) -> Iterator[int]:
    """Take note of each file, and give something for each of its rows, that a bar may count them.

    Raises:
        TooManyFailures: more than `most` have failed.
    """
    for span in saved:
        spans.append(span)
        yield from range(span.rows)
        most.check(*_counts(spans))
    most.check(*_counts(spans), at_end=True)


def _counts(spans: list[Span]) -> tuple[int, Counter[str]]:
    """Count the rows with an answer, and the failures by type."""
    failures = sum((Counter(span.failures) for span in spans), Counter[str]())
    return sum(span.rows for span in spans) - failures.total(), failures


def _summarise(spans: list[Span], earlier: int, seconds: float, view: View) -> None:
    ok, failures = _counts(spans)
    rows = ok + failures.total()
    before = f" after {earlier:,} done before" if earlier else ""
    held = f"{counted(len(spans), 'file')}, {counted(rows, 'row')}"
    view.say(f"{counted(rows - earlier, 'input')} in {seconds:.1f} s{before}; {held}.")
    if failures:
        types = ", ".join(f"{kind} {count:,}" for kind, count in failures.most_common())
        view.say(f"{failures.total():,} of {counted(rows, 'input')} failed: {types}.")
    _leave(spans)


def _leave(spans: list[Span]) -> None:
    """Exit with the code of a finished job in which inputs failed, if any did."""
    if any(span.failures for span in spans):
        click.get_current_context().exit(ExitCode.SOME_FAILED)
