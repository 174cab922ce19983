"""From what the user names to a stream of sources: files, folders, patterns, URLs, buckets, "-" for standard input.

Python programs hand in images that are in memory, too (see `memory`).

In: arguments. Out: `Source` values in the order given, folders sorted by name, one per mention (duplicates stay). A
folder or pattern that names no image, and a name that cannot be looked at, becomes a `Failure`. Reads no image
(`read_source` does). Lazy: it holds the names of one folder per level, which are sorted, and nothing else.
"""

from __future__ import annotations

import glob
import logging
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

from resnest_cli.errors import NoImages, ResnestError, UnreadableInput, as_image_error
from resnest_cli.inputs import buckets, memory, urls, walk
from resnest_cli.inputs.selection import LeftOut, Rule
from resnest_cli.options import MAX_PIXELS
from resnest_cli.system.paths import Kind, look
from resnest_cli.text import redact
from resnest_cli.types import STDIN, Failure, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from resnest_cli.inputs.memory import InMemory

Input: TypeAlias = "str | os.PathLike[str] | InMemory"

_log = logging.getLogger(__name__)


def find_sources(
    inputs: Iterable[Input | Source | Failure],
    *,
    recursive: bool = True,
    exclude: Sequence[str] = (),
    max_pixels: int = MAX_PIXELS,
    left_out: LeftOut | None = None,
) -> Iterator[Source | Failure]:
    """Yield the sources of the inputs, lazily.

    A named file is always read; in folders `selection.Rule` decides. Links to folders are followed unless they lead
    to a folder that contains them.

    Args:
        inputs: what the user named; a source or a failure is passed on.
        recursive: enter folders of folders.
        exclude: patterns of names to leave out of folders, see `selection.Rule`.
        max_pixels: the most that an image in memory may have; others are looked at when they are read.
        left_out: receives the counts of files that are not read; without it, they are logged at the end.
    """
    total, uses_stdin = LeftOut() if left_out is None else left_out, False
    for number, named in enumerate(inputs):
        if isinstance(named, (Source, Failure)):
            yield named
        elif not isinstance(named, (str, os.PathLike)):
            yield memory.source(named, number, max_pixels)
        elif os.fspath(named) != STDIN:
            path = os.fspath(named)
            yield from _contained(path, _found(path, exclude, total, recursive=recursive))
        elif uses_stdin:
            yield Failure.of(STDIN, UnreadableInput("standard input holds one image, and is named more than once."))
        else:
            uses_stdin = True
            yield Source(STDIN)
    if left_out is None and total:
        _log.info("%s", total.words())


def _contained(path: str, found: Iterator[Source | Failure]) -> Iterator[Source | Failure]:
    """Yield what one input names; an exception becomes its `Failure`, and the next input follows."""
    try:
        yield from found
    except Exception as error:  # noqa: BLE001 - see `as_image_error`
        name = redact.url(path) if buckets.is_bucket(path) or urls.is_url(path) else path
        yield Failure.of(name, as_image_error(error))


def _found(path: str, exclude: Sequence[str], left_out: LeftOut, *, recursive: bool) -> Iterator[Source | Failure]:
    """Yield what one input names."""
    seen, rule = look(path), Rule(exclude, path)
    if seen.is_folder:
        yield from _or_failure(path, "this folder", walk.walk(path, rule, recursive=recursive), rule, left_out)
    elif buckets.is_bucket(path):
        found = buckets.find(path, rule, recursive=recursive)
        yield from _or_failure(path, "this bucket or prefix", found, rule, left_out)
    elif urls.is_url(path):
        yield urls.source(path)
    elif glob.has_magic(path) and not seen.is_there and not os.path.lexists(path):
        yield from _matched(path, Rule(exclude, walk.parted(path)[0]), left_out, recursive=recursive)
    elif seen.kind is Kind.UNKNOWN:
        yield Failure.of(path, UnreadableInput(seen.why))
    else:
        yield Source(path)


def count_sources(found: Iterable[Source | Failure], done: int = 0) -> Callable[[], int | None]:
    """Count sources in the background.

    The returned function gives the number of sources after the first `done` once it is known, None before. It stays
    None if the sources cannot all be found, which the job itself reports.
    """
    counted: list[int] = []

    def run() -> None:
        with suppress(ResnestError):
            counted.append(sum(1 for _ in found) - done)

    threading.Thread(target=run, daemon=True).start()
    return lambda: counted[0] if counted else None


def _or_failure(
    path: str, what: str, found: Iterator[Source | Failure], rule: Rule, left_out: LeftOut
) -> Iterator[Source | Failure]:
    """Yield what was found, or a `Failure` if that is nothing: each named input has a record."""
    first = next(found, None)
    if first is None:
        counts = rule.left_out.counts()
        yield Failure.of(path, NoImages(f"no images in {what}{f': {counts}' if counts else ', which holds no files'}."))
        return
    yield first
    yield from found
    left_out.add(path, rule.left_out)


def _matched(pattern: str, rule: Rule, left_out: LeftOut, *, recursive: bool) -> Iterator[Source | Failure]:
    """Yield what a pattern matches; a name with brackets that matches nothing is a missing file."""
    found = walk.match(pattern, rule, recursive=recursive)
    first = next(found, None)
    if first is not None:
        yield first
        yield from found
        left_out.add(pattern, rule.left_out)
    elif any(wildcard in pattern for wildcard in "*?"):
        counts = rule.left_out.counts()
        yield Failure.of(pattern, NoImages(f"nothing matches this pattern{f': {counts}' if counts else ''}."))
    else:
        yield Failure.of(pattern, UnreadableInput("no such file, and as a pattern it matches nothing."))
