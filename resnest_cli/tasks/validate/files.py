"""The result files of `resnest validate`: which file gets what.

In: the paths that the user wants. Out: a `ResultFiles`, each path of which can be written; then the files.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resnest_cli.errors import OutputError, UsageError
from resnest_cli.outputs import plots, saving
from resnest_cli.tasks.validate import report

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from resnest_cli.tasks.validate.request import Results
    from resnest_cli.tasks.validate.result import Validation

_PICTURE, _TABLE = ".png", ".csv"


@dataclass(frozen=True)
class ResultFiles:
    """The function that makes the content of each file; `claim` returns one."""

    writers: dict[Path, Callable[[Validation], bytes | str]]

    def save(self, found: Validation) -> None:
        """Write every file, also after one that cannot be written.

        Raises:
            OutputError: which files cannot be written, and why.
        """
        problems = []
        for path, write in self.writers.items():
            try:
                saving.save(path, write(found))
            except OutputError as error:  # noqa: PERF203 - a few files
                problems.append(error.message if str(path) in error.message else f"{path}: {error.message}")
        if problems:
            raise OutputError("\n".join(problems))


def claim(wanted: Results) -> ResultFiles:
    """Return the result files, after a check that each can be written.

    Raises:
        UsageError: a suffix that is not known, one path for two results, or a picture without matplotlib.
        OutputError: a file exists, or cannot be written.
    """
    one = [(wanted.output, summary), (wanted.per_class, report.classes_csv), (wanted.mistakes, report.mistakes_html)]
    chosen = [(path, write) for path, write in one if path] + [(path, _confusion(path)) for path in wanted.confusion]
    writers = dict(chosen)
    if len(writers) < len(chosen):
        message = "two results would have the same name: give each a file of its own."
        raise UsageError(message)
    for path in writers:
        saving.claim(path, overwrite=wanted.overwrite)
    return ResultFiles(writers)


def summary(found: Validation) -> str:
    """Return the numbers as a line of JSON."""
    return json.dumps(found.summary()) + "\n"


def _confusion(path: Path) -> Callable[[Validation], bytes | str]:
    suffix = path.suffix.lower()
    if suffix not in {_PICTURE, _TABLE}:
        message = f"--confusion {path}: give a name that ends in {_TABLE} or {_PICTURE}."
        raise UsageError(message)
    if suffix == _PICTURE:
        plots.require()
    return report.confusion_png if suffix == _PICTURE else report.confusion_csv
