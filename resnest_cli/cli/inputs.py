"""Which images a command is about: its arguments, and a list of more of them (`--files-from`)."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from resnest_cli.cli.options import declare
from resnest_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resnest_cli.types import Failure, Source

_DECLARED = (
    click.argument("names", nargs=-1, metavar="INPUT..."),
    click.option(
        "--files-from",
        type=click.Path(),
        metavar="FILE|-",
        help="Read more names of inputs there (.parquet: column path).",
    ),
    click.option("-0", "--null", is_flag=True, help="Names in that list end with a NUL byte, not a line."),
    click.option("--recursive/--no-recursive", default=True, show_default=True, help="Look into folders of folders."),
)


def input_options(command: Callable[..., None]) -> Callable[..., None]:
    """Declare INPUT... and how more are named; the command gets `inputs`."""

    @functools.wraps(command)
    def collect(*, names: tuple[str, ...], files_from: str | None, null: bool, recursive: bool, **values: Any) -> None:  # noqa: ANN401 - as declared
        command(inputs=Inputs(names, files_from, null=null, recursive=recursive), **values)

    return declare(collect, _DECLARED)


@dataclass(frozen=True)
class Inputs:
    """What a person named: arguments, and perhaps a list; `null`: a NUL byte ends each name in it."""

    names: tuple[str, ...]
    files_from: str | None = None
    null: bool = False
    recursive: bool = True

    @property
    def may_be_many(self) -> bool:
        """Whether more than one image is to be expected."""
        return self.files_from is not None or len(self.names) > 1 or Path(self.names[0]).is_dir()

    def find(self) -> Iterator[Source | Failure]:
        """Find them: the arguments first, then what the list holds, as it is read.

        Raises:
            UsageError: nothing is named, or the list cannot be read. That is found out now, all else later.
        """
        from resnest_cli.sources import find

        return find(self._named(), recursive=self.recursive)

    def count(self, done: int = 0) -> Callable[[], int | None]:
        """Count, in the background, what comes after the first `done`; what can be read but once is not counted."""
        from resnest_cli.sources import count

        if self.files_from is not None and not Path(self.files_from).is_file():
            return lambda: None
        return count(self.find(), done)

    def _named(self) -> Iterator[str]:
        from resnest_cli.buckets import index
        from resnest_cli.sources import STDIN, listed

        if self.files_from is None:
            if self.null:
                raise UsageError("-0 tells how a list is read: name it with --files-from.")
            if not self.names:
                raise click.UsageError(
                    "Missing argument 'INPUT...': files, folders, patterns, - or a list (--files-from)."
                )
            return iter(self.names)
        if self.files_from == STDIN and STDIN in self.names:
            raise UsageError("- and --files-from - exclude each other: standard input is an image, or the list.")
        if self.files_from.endswith(".parquet"):
            return chain(self.names, index(self.files_from))
        return chain(self.names, listed(_open_list(self.files_from), null=self.null))


def _open_list(path: str) -> IO[bytes]:
    """Open a list of names, "-" or a file that is closed with the command.

    Raises:
        UsageError: there is no such file, or it cannot be read.
    """
    if path == "-":
        if sys.stdin is None:
            raise UsageError("--files-from -: standard input is closed.")
        return sys.stdin.buffer
    try:
        file = Path(path).open("rb")  # noqa: SIM115 - closed with the command
    except OSError as error:
        raise UsageError(f"--files-from {path}: the list cannot be read: {error.strerror or error}.") from error
    click.get_current_context().call_on_close(file.close)
    return file
