"""From a source to its bytes: a file, a URL, an object of a store, standard input, or bytes that it carries.

In: a source. Out: at most so many bytes, or an `ImageError`. Refuses what is not a regular file, so that a FIFO or a
device cannot hang a job. Does not know what the bytes are.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import sys
from typing import Protocol

from resnest_cli.errors import ImageTooLarge, NotAnImage, UnreadableInput
from resnest_cli.inputs import buckets, second_image, urls
from resnest_cli.options import MAX_PIXELS
from resnest_cli.system.paths import look, reason
from resnest_cli.types import STDIN, Source

BYTES_PER_PIXEL = 4  # a file with more bytes per allowed pixel is refused unread
MAX_BYTES = BYTES_PER_PIXEL * MAX_PIXELS
CHUNK_BYTES = 1 << 16
MAX_NAME_BYTES = 4096  # of the first name in a list
_NETPBM = re.compile(r"P\d\b")  # the first line of such an image, and perhaps the name of a file
_log = logging.getLogger(__name__)


class SupportsRead(Protocol):
    """A file opened for reading bytes, or anything that reads like one."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, none at the end."""


def read_source(source: Source, *, max_bytes: int = MAX_BYTES, allow_private: bool = False) -> bytes:
    """Return the bytes of `source`; `allow_private` is for URLs (see `urls.read`).

    Raises:
        UnreadableInput: missing, not permitted, or not a regular file.
        ImageTooLarge: more than `max_bytes`.
        UrlRefused, DownloadFailed: see `urls.read`.
    """
    if source.content is not None:
        check_size(len(source.content), max_bytes)
        return source.content
    if source.path == STDIN:
        return _read_stdin(max_bytes)
    if buckets.is_bucket(source.path):
        return buckets.read(source.url or source.path, max_bytes)
    if source.url or urls.is_url(source.path):
        return urls.read(source.url or source.path, allow_private=allow_private)
    return _read_file(source.path, max_bytes)


def _read_file(path: str, max_bytes: int) -> bytes:
    try:
        # O_NONBLOCK: opening a FIFO without a writer would wait for ever. Regular files are not affected.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                message = "not a regular file: give an image file, or `-` to read one from standard input."
                raise UnreadableInput(message)
            check_size(status.st_size, max_bytes)
            return file.read()
    except (OSError, ValueError) as error:
        raise UnreadableInput(_missing(path) if isinstance(error, FileNotFoundError) else reason(error)) from error


def _missing(path: str) -> str:
    """Return why a path may name no file."""
    if os.path.islink(path):  # noqa: PTH114 - as typed
        return "a link to a file that does not exist."
    if path.startswith("~"):
        return "no such file: a shell expands ~, but not within quotes or a list."
    if len(path) > 1 and path[0] == path[-1] and path[0] in "\"'":
        return "no such file: the quotes are read as part of the name."
    return "no such file."


def _read_stdin(max_bytes: int) -> bytes:
    if sys.stdin is None:
        message = "standard input is closed."
        raise UnreadableInput(message)
    try:
        return _only_image(read_within(sys.stdin.buffer, max_bytes))
    except (OSError, ValueError) as error:  # it is a folder, or was closed
        raise UnreadableInput(f"standard input: {reason(error)}") from error


def read_within(file: SupportsRead, limit: int) -> bytes:
    """Read to the end, at most `limit` bytes: a device or a program may feed standard input without end.

    Raises:
        ImageTooLarge: there is more.
    """
    content = bytearray()
    while chunk := file.read(CHUNK_BYTES):
        content += chunk
        check_size(len(content), limit)
    return bytes(content)


def _only_image(content: bytes) -> bytes:
    """Return what standard input held; warn about a second image, which gets no record.

    Raises:
        NotAnImage: it is a list of names.
    """
    name = os.fsdecode(re.split(rb"[\r\n\0]", content[:MAX_NAME_BYTES], maxsplit=1)[0])
    if name and not _NETPBM.match(name) and (urls.is_url(name) or look(name).is_there):
        raise NotAnImage(
            "this is a list of names, not an image: --files-from - reads one (-0 where NUL bytes end them)."
        )
    if second_image.another_follows(content):
        _log.warning("standard input holds more than one image, and only the first is looked at: name the files")
    return content


def check_size(size: int, limit: int) -> None:
    """Raise `ImageTooLarge` for a file of more than `limit` bytes."""
    if size > limit:
        raise ImageTooLarge(f"the file has more than {limit:,} bytes, which is the limit ({size:,}); see --max-pixels.")
