"""What is written to stderr: notes, progress bars, log records; decided here, by -q, -v and --no-progress."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, TypeVar

from resnest_cli.text.terminal import LogHandler, note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_Item = TypeVar("_Item")
VERBOSE = "resnest_cli.verbose"  # the key of -v in `Context.meta`, for the group's error handler


@dataclass(frozen=True)
class View:
    """How much is written to stderr.

    Attributes:
        quiet: Write only errors on stderr.
        verbose: Write more: sources, times per stage, tracebacks.
        no_progress: Show no progress bar.
    """

    quiet: bool = False
    verbose: bool = False
    no_progress: bool = False

    def __post_init__(self) -> None:
        """Show what the library and others log."""
        logger = logging.getLogger("resnest_cli")
        logger.handlers = [LogHandler(self._logged)]
        logger.setLevel(logging.INFO)
        logging.lastResort = LogHandler(self._logged, logging.WARNING)  # other libraries': -q holds for them too

    @property
    def flags(self) -> list[str]:
        """The options that make the same view."""
        return [f"--{name.replace('_', '-')}" for name, is_set in asdict(self).items() if is_set]

    @property
    def progress(self) -> bool:
        """Whether steps that take time are shown."""
        return not (self.quiet or self.no_progress)

    @property
    def is_watched(self) -> bool:
        """Whether a person reads stderr."""
        return not self.quiet and sys.stderr.isatty()

    def say(self, text: str) -> None:
        """Write a note to stderr, unless -q."""
        if not self.quiet:
            note(text, dim=True)

    def _logged(self, text: str) -> None:
        self.say(f"{text}.")

    def detail(self, text: str) -> None:
        """Write a note with -v only."""
        if self.verbose:
            self.say(text)

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Show a step that takes time: on a terminal until it ends, elsewhere as a line."""
        if not (self.progress and sys.stderr.isatty()):
            self.say(f"{what} ...")
            yield
            return
        from resnest_cli.cli.output import console, status

        with status(f"{what} ...", console(sys.stderr)):
            yield

    def has_bar(self) -> bool:
        """Return whether stderr gets a progress bar."""
        return self.progress and sys.stderr.isatty()

    def follow(
        self,
        items: Iterable[_Item],
        total: Callable[[], int | None],
        what: str,
        *,
        rows_on_stdout: bool = False,
        below_table: bool = False,
    ) -> Iterator[_Item]:
        """Yield the items, with a bar; see `output.bar`.

        It is on stderr, unless rows go to the same terminal; or on stdout, below a table that grows there.
        """
        stream = sys.stdout if below_table else sys.stderr
        if not (self.progress and stream.isatty()) or (rows_on_stdout and sys.stdout.isatty()):
            return iter(items)
        from resnest_cli.cli.output import bar, console

        return bar(items, total, what, console(stream))
