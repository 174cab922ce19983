"""What the commands share whose work is a job: how its output opens, and what it says on stderr.

In: options of a command. Out: an open output; a bar, and at the end what was written and what failed.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
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
    """Where rows go: a file, standard output (None), or a folder (text) that a cluster writes."""

    output: Path | str | None
    overwrite: bool
    resume: bool

    def open(self, format: Format, runner: RunnerFactory | None) -> AbstractContextManager[Output]:
        """Open it, before a model is loaded."""
        how = {"overwrite": self.overwrite, "resume": self.resume}
        if isinstance(self.output, str):
            from resnest_cli.cluster.output import open_folder

            return open_folder(self.output, runner, **how)
        from resnest_cli.outputs.opening import open_output

        return open_output(self.output, format, **how)


def following(view: View, inputs: Inputs, what: str, output: object, *, on_screen: bool = False) -> Follow:
    """Return what follows the records of a job with a bar: on stderr, or below the table that is `on_screen`."""

    def follow(records: Iterable[Any], earlier: int) -> Iterable[Any]:
        has_bar = view.progress and sys.stdout.isatty() if on_screen else view.has_bar(rows_on_stdout=output is None)
        if not has_bar:
            return records
        from resnest_cli.cli.output import bar, console

        return bar(records, inputs.count(earlier), what, console(sys.stdout if on_screen else sys.stderr))

    return follow


def ended(view: View, summary: Summary) -> ExitCode:
    """Print the summary of a job (of a single image only the times)."""
    if summary.output is not None or summary.ok + summary.failed > 1:
        view.say(summary.words())
        if summary.classes and view.is_watched:
            view.say(summary.by_class())
    if not summary.complete:
        view.detail(summary.times())
    return summary.exit_code
