"""What the commands share whose work is a job: how its output opens, and what it says on stderr.

In: options of a command. Out: an open output; a bar, and at the end what was written and what failed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from resnest_cli.cli.options import option
from resnest_cli.errors import UsageError
from resnest_cli.outputs.limits import LEAST_ROWS, MaxFailures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from resnest_cli.cli.view import View
    from resnest_cli.errors import ExitCode
    from resnest_cli.inputs.named import Inputs
    from resnest_cli.outputs.formats import Format
    from resnest_cli.outputs.job import Follow, Output
    from resnest_cli.outputs.summary import Summary
    from resnest_cli.pipeline.trunk import RunnerFactory


@dataclass(frozen=True)
class Target:
    """Where the rows of a job go, where they are computed, and when the job stops.

    Attributes:
        output: A file, standard output (None), or a folder (text) that a cluster writes.
        overwrite: Replace an output file that exists.
        resume: Continue the job that was stopped while it wrote that file.
        append_new: Add the rows of new and changed inputs to that file, and skip the others.
        by_hash: With --append-new, an input has changed if its content has, whatever its time says.
        retry_failed: Try the inputs once more whose rows in that file have failed; replace these rows.
        watch: Go on with --append-new as files come into the folders, until Ctrl-C.
        max_failures: How many inputs may fail.
        ray: Run on Ray Data: a cluster (see --ray-address), or a private one here.
        ray_address: The cluster; RAY_ADDRESS names it too, with --ray.
    """

    output: Path | str | None = None
    overwrite: bool = False
    resume: bool = False
    append_new: bool = False
    by_hash: bool = False
    retry_failed: bool = False
    watch: bool = False
    max_failures: MaxFailures | None = None
    ray: bool = False
    ray_address: str | None = None

    @property
    def runner(self) -> RunnerFactory | None:
        """What opens the cluster; None for this machine."""
        if not (self.ray or self.ray_address):
            return None
        from resnest_cli.cluster.trunk import RayTrunk

        address = self.ray_address or os.environ.get("RAY_ADDRESS") or "local"
        return partial(RayTrunk, address=None if address == "local" else address)

    def open(self, format: Format, hold: Callable[[str], bool] | None = None) -> AbstractContextManager[Output]:
        """Open it, before a model is loaded; for `hold` see `growing`."""
        if isinstance(self.output, str):
            from resnest_cli.cluster.output import open_folder

            if self.append_new or self.retry_failed or self.watch:
                raise UsageError(f"-o {self.output}: a folder cannot be added to: name a file, or use --resume.")
            return open_folder(self.output, self.runner, overwrite=self.overwrite, resume=self.resume)
        from resnest_cli.outputs.opening import open_output

        how = {name: getattr(self, name) for name in _HOW}
        how["append_new"] |= self.watch
        return open_output(self.output, format, hold=hold, **how)


_HOW = ("overwrite", "resume", "append_new", "by_hash", "retry_failed")
REWRITE = (option(Target, "--overwrite"), option(Target, "--resume"))
AGAIN = (option(Target, "--append-new"), option(Target, "--by-hash"), option(Target, "--retry-failed"))
WATCH = option(Target, "--watch")
_LIMIT = f"Stop, with code 1, when more inputs have failed; P% from {LEAST_ROWS} rows on, and at the end."
RUN = (
    option(Target, "--max-failures", type=MaxFailures.of, metavar="N|P%", help=_LIMIT),
    option(Target, "--ray"),
    option(Target, "--ray-address", metavar="auto|HOST:PORT"),
)


def following(view: View, inputs: Inputs, what: str, target: Target, *, table: bool = False) -> Follow:
    """Return what follows the records of a job with a bar, which begins to count the inputs."""

    def follow(records: Iterable[Any], earlier: int) -> Iterable[Any]:
        count = cache(partial(inputs.count, earlier))
        on_stdout = target.output is None

        def total() -> int | None:
            return None if target.watch else count()()

        return view.follow(
            records, total, what, rows_on_stdout=on_stdout and not table, below_table=on_stdout and table
        )

    return follow


def ended(view: View, summary: Summary) -> ExitCode:
    """Print the summary of a job (of a single image only the times)."""
    if summary.output is not None or summary.ok + summary.failed > 1:
        view.say(summary.words())
        if certainty := summary.certainty():
            view.say(certainty)
        if summary.classes and view.is_watched:
            view.say(summary.by_class())
    if not summary.complete:
        view.detail(summary.times())
    return summary.exit_code
