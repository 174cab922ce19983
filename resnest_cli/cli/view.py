"""What is written to stderr: notes, progress bars, log records; decided here, by -q, -v and --no-progress."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from resnest_cli.text.terminal import LogHandler, note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_Item = TypeVar("_Item")
VERBOSE = "resnest_cli.verbose"  # the key of -v in `Context.meta`, for the group's error handler


@dataclass(frozen=True)
class View:
    """How much is written to stderr."""

    quiet: bool
    progress: bool
    verbose: bool = False

    def __post_init__(self) -> None:
        """Show what the library and others log."""
        logger = logging.getLogger("resnest_cli")
        logger.handlers = [LogHandler(self._logged)]
        logger.setLevel(logging.INFO)
        logging.lastResort = LogHandler(self._logged, logging.WARNING)  # other libraries': -q holds for them too

    @property
    def flags(self) -> list[str]:
        """The options that make the same view."""
        flags = {"--quiet": self.quiet, "--verbose": self.verbose, "--no-progress": not (self.progress or self.quiet)}
        return [flag for flag, is_set in flags.items() if is_set]

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

    def has_bar(self, *, rows_on_stdout: bool = False) -> bool:
        """Return whether stderr gets a progress bar: not if rows go to the same terminal."""
        return self.progress and sys.stderr.isatty() and not (rows_on_stdout and sys.stdout.isatty())

    def follow(
        self, items: Iterable[_Item], total: Callable[[], int | None], what: str, *, rows_on_stdout: bool = False
    ) -> Iterator[_Item]:
        """Yield the items, with a bar on stderr if it gets one; see `output.bar`."""
        if not self.has_bar(rows_on_stdout=rows_on_stdout):
            return iter(items)
        from resnest_cli.cli.output import bar, console

        return bar(items, total, what, console(sys.stderr))
