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
from resnest_cli.cli.parameters import Names
from resnest_cli.errors import UsageError
from resnest_cli.system.paths import look, reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resnest_cli.types import Failure, Source

EXCLUDE = click.option(
    *("--exclude",),
    multiple=True,
    metavar="GLOB",
    help="Leave out of folders the names and paths that match; may be repeated.",
)
_DECLARED = (
    click.argument("names", nargs=-1, type=Names(), metavar="INPUT..."),
    click.option(
        "--files-from",
        type=click.Path(),
        metavar="FILE|-",
        help="Read more names of inputs there (.parquet: column path).",
    ),
    click.option("-0", "--null", is_flag=True, help="Names in that list end with a NUL byte, not a line."),
    EXCLUDE,
    click.option("--recursive/--no-recursive", default=True, show_default=True, help="Look into folders of folders."),
)


def input_options(command: Callable[..., None]) -> Callable[..., None]:
    """Declare INPUT... and how more are named; the command gets `inputs`."""

    @functools.wraps(command)
    def collect(
        *,
        names: tuple[str, ...],
        files_from: str | None,
        null: bool,
        recursive: bool,
        exclude: tuple[str, ...],
        **values: Any,  # noqa: ANN401 - as declared
    ) -> None:
        inputs = Inputs(names, files_from, null=null, recursive=recursive, exclude=exclude)
        command(inputs=inputs, **values)

    return declare(collect, _DECLARED)


@dataclass(frozen=True)
class Inputs:
    """What a person named: arguments, and perhaps a list; `null`: a NUL byte ends each name in it."""

    names: tuple[str, ...]
    files_from: str | None = None
    null: bool = False
    recursive: bool = True
    exclude: tuple[str, ...] = ()

    @property
    def may_be_many(self) -> bool:
        """Whether more than one image is to be expected."""
        return self.files_from is not None or len(self.names) > 1 or look(self.names[0]).is_folder

    def find(self) -> Iterator[Source | Failure]:
        """Find them: the arguments first, then what the list holds, as it is read.

        Raises:
            UsageError: nothing is named, the list cannot be read, or object stores not at all. That is found out now,
                all else later.
        """
        from resnest_cli.inputs import buckets
        from resnest_cli.inputs.find import find_sources

        if any(map(buckets.is_bucket, self.names)):
            buckets.require()
        return find_sources(self._named(), recursive=self.recursive, exclude=self.exclude)

    def count(self, done: int = 0) -> Callable[[], int | None]:
        """Count, in the background, what comes after the first `done`; what can be read but once is not counted."""
        from resnest_cli.inputs.find import count_sources, find_sources
        from resnest_cli.inputs.photographs import LeftOut
        from resnest_cli.types import STDIN

        if self.files_from == STDIN or (self.files_from is not None and not look(self.files_from).is_file):
            return lambda: None
        again = find_sources(self._named(), recursive=self.recursive, exclude=self.exclude, left_out=LeftOut())
        return count_sources(again, done)

    def _named(self) -> Iterator[str | Failure]:
        from resnest_cli.types import STDIN

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
        return chain(self.names, _some(self.files_from, self._listed(self.files_from)))

    def _listed(self, path: str) -> Iterator[str]:
        from resnest_cli.inputs.columns import index
        from resnest_cli.inputs.lists import listed

        return index(path) if path.endswith(".parquet") else listed(_open_list(path), null=self.null)


def _some(path: str, names: Iterator[str]) -> Iterator[str | Failure]:
    """Pass names on; a list without any is an input without images, as an empty folder is."""
    from resnest_cli.types import Failure

    first = next(names, None)
    if first is None:
        yield Failure(path, "NoImages", "the list of inputs names nothing.")
        return
    yield first
    yield from names


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
    except (OSError, ValueError) as error:
        raise UsageError(f"--files-from {path}: the list cannot be read: {reason(error)}") from error
    click.get_current_context().call_on_close(file.close)
    return file
