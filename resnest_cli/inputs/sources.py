"""From what the user names to a stream of things to read: files, folders, patterns, URLs, buckets, "-" for stdin.

In: arguments. Out: `Source` values in the order given, folders sorted by name, one for each mention (nothing is dropped
as a duplicate); a folder or pattern that names no image, and a name that cannot be looked at, becomes a `Failure`. No
image is read here: `read` does that, one at a time and late, and refuses what is not a regular file, so that a FIFO or
a device cannot hang a job. All is lazy: what is held is a folder's names, which have to be sorted.
"""

from __future__ import annotations

import glob
import logging
import os
import re
import stat
import sys
import threading
from contextlib import suppress
from typing import IO, TYPE_CHECKING

from resnest_cli.errors import ImageTooLarge, NoImages, NotAnImage, ResnestError, UnreadableInput, as_image_error
from resnest_cli.inputs import buckets, ends, urls, walk
from resnest_cli.inputs.photographs import LeftOut, Rule
from resnest_cli.options import MAX_PIXELS
from resnest_cli.system.paths import Kind, look, reason
from resnest_cli.text import redact
from resnest_cli.types import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

STDIN = "-"
MAX_BYTES = 4 * MAX_PIXELS
CHUNK_BYTES = 1 << 16
LONGEST_NAME = 4096  # bytes of the first name in a list
_NETPBM = re.compile(r"P\d\b")  # the first line of such an image, and perhaps the name of a file
_log = logging.getLogger(__name__)


def find(
    inputs: Iterable[str | os.PathLike[str] | Failure],
    *,
    recursive: bool = True,
    exclude: Sequence[str] = (),
    left_out: LeftOut | None = None,
) -> Iterator[Source | Failure]:
    """Turn inputs into sources, lazily.

    A named file is always tried; in folders `photographs.Rule` decides. Links to folders are followed unless they lead
    back to a folder they are in.

    Args:
        inputs: what the user named; a failure is passed on.
        recursive: look into the folders of folders.
        exclude: patterns of what to leave out of folders, see `photographs.Rule`.
        left_out: gets the count of what was found and is not looked at; without it, that is logged at the end.
    """
    total, uses_stdin = LeftOut() if left_out is None else left_out, False
    for named in inputs:
        if isinstance(named, Failure):
            yield named
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
    """Pass on what one input names; whatever it raises becomes its `Failure`, and the next one has its turn."""
    try:
        yield from found
    except Exception as error:  # noqa: BLE001 - see `as_image_error`
        shown = redact.url(path) if buckets.is_bucket(path) or urls.is_url(path) else path
        yield Failure.of(shown, as_image_error(error))


def _found(path: str, exclude: Sequence[str], left_out: LeftOut, *, recursive: bool) -> Iterator[Source | Failure]:
    """Find what one input names."""
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


def count(found: Iterable[Source | Failure], done: int = 0) -> Callable[[], int | None]:
    """Count sources in the background, so that nobody waits for it.

    What is returned gives the number of those after the first `done`, once it is known; never, if they cannot all be
    found, which the job itself meets and says.
    """
    counted: list[int] = []

    def run() -> None:
        with suppress(ResnestError):
            counted.append(sum(1 for _ in found) - done)

    threading.Thread(target=run, daemon=True).start()
    return lambda: counted[0] if counted else None


def read(source: Source, *, max_bytes: int = MAX_BYTES, allow_private: bool = False) -> bytes:
    """Read the bytes of `source`; `allow_private` is for URLs (see `urls.read`).

    Raises:
        UnreadableInput: missing, not permitted, or not a regular file.
        ImageTooLarge: more than `max_bytes`.
        UrlRefused, DownloadFailed: see `urls.read`.
    """
    if source.path == STDIN:
        if sys.stdin is None:
            message = "standard input is closed."
            raise UnreadableInput(message)
        return _only_image(_read_within(sys.stdin.buffer, max_bytes))
    if buckets.is_bucket(source.path):
        return buckets.read(source.url or source.path, max_bytes)
    if source.url or urls.is_url(source.path):
        return urls.read(source.url or source.path, allow_private=allow_private)
    try:
        # O_NONBLOCK: opening a FIFO that nobody writes to would wait for ever. Regular files are not affected.
        descriptor = os.open(source.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                message = "not a regular file: give an image file, or `-` to read one from standard input."
                raise UnreadableInput(message)
            _check_size(status.st_size, max_bytes)
            return file.read()
    except (OSError, ValueError) as error:
        why = _missing(source.path) if isinstance(error, FileNotFoundError) else reason(error)
        raise UnreadableInput(why) from error


def _missing(path: str) -> str:
    """Say of what is not there what may be the matter."""
    if os.path.islink(path):  # noqa: PTH114 - as typed
        return "a link to what is not there."
    if path.startswith("~"):
        return "no such file: a shell makes a home folder of ~, but not within quotes or a list."
    if len(path) > 1 and path[0] == path[-1] and path[0] in "\"'":
        return "no such file: the quotes are taken for a part of the name."
    return "no such file."


def _read_within(file: IO[bytes], limit: int) -> bytes:
    """Read to the end, but not endlessly: a device or a program may feed it."""
    content = bytearray()
    try:
        while chunk := file.read(CHUNK_BYTES):
            content += chunk
            _check_size(len(content), limit)
    except (OSError, ValueError) as error:  # it is a folder, or was closed
        raise UnreadableInput(f"standard input: {reason(error)}") from error
    return bytes(content)


def _only_image(content: bytes) -> bytes:
    """Return what standard input held; say so if there is a second image in it, of which there can be no record.

    Raises:
        NotAnImage: it is a list of names.
    """
    name = os.fsdecode(re.split(rb"[\r\n\0]", content[:LONGEST_NAME], maxsplit=1)[0])
    if name and not _NETPBM.match(name) and (urls.is_url(name) or look(name).is_there):
        raise NotAnImage(
            "this is a list of names, not an image: --files-from - reads one (-0 where NUL bytes end them)."
        )
    if ends.another_follows(content):
        _log.warning("standard input holds more than one image, and only the first is looked at: name the files")
    return content


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise ImageTooLarge(f"the file has more than {limit:,} bytes, which is the limit ({size:,}); see --max-pixels.")


def _or_failure(
    path: str, what: str, found: Iterator[Source | Failure], rule: Rule, left_out: LeftOut
) -> Iterator[Source | Failure]:
    """Pass on what was found; say so when that was nothing, since each input named has a record."""
    first = next(found, None)
    if first is None:
        counts = rule.left_out.counts()
        yield Failure.of(path, NoImages(f"no images in {what}{f': {counts}' if counts else ', which holds no files'}."))
        return
    yield first
    yield from found
    left_out.add(path, rule.left_out)


def _matched(pattern: str, rule: Rule, left_out: LeftOut, *, recursive: bool) -> Iterator[Source | Failure]:
    """Find what a pattern matches; a name with brackets that nothing matches is taken for a file that is not there."""
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
