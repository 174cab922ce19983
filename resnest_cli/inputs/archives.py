"""Tar archives from untrusted sources: read forwards, and within limits.

In: the path of an archive, plain or compressed by gzip, bzip2 or xz. Out: its members, in order, and the bytes of each.
tarfile parses the headers. It reads them from a file object of ours, which goes forwards only, returns a bounded part
of a header, and decompresses a bounded number of bytes: no size in a header costs endless time or memory. An archive
with a damaged header is damaged; it does not end there. Does not know what a member is.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tarfile
import zlib
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from resnest_cli.errors import ResnestError, UnreadableInput
from resnest_cli.system.paths import reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

MAX_MEMBER_BYTES = 1 << 29  # per image, which is unpacked before it is read
MAX_HEADER_BYTES = 1 << 20  # of all headers of a member: a name has up to 4 KB, an access list some more
MAX_NAME_BYTES = 4096
MAX_GLOBAL = 64  # header values for all members; programs set one or two
# Compressed photographs are as large as plain ones, drawings may be a hundredth. A file of some KB can hold terabytes.
UNPACKED_FREELY, MOST_TIMES = 1 << 28, 100
_CHUNK_BYTES = 1 << 20
_PACKED: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
    b"\x5d\0\0": lzma.open,
}
_LONGEST = max(map(len, _PACKED))


class Archive:
    """An open archive; `opened` returns one."""

    def __init__(self, place: str, file: _Forwards) -> None:
        self._place = place
        self._file = file
        file.allowed = MAX_HEADER_BYTES
        self._tar = tarfile.open(fileobj=file, mode="r:")  # type: ignore[call-overload] # noqa: SIM115 - `opened` closes it; it needs read, seek, tell

    def members(self) -> Iterator[tarfile.TarInfo]:
        """Yield every member, in order.

        Raises:
            Exception: as tarfile raises for a damaged header; `opened` translates it.
        """
        while member := self._tar.next():
            self._tar.members = []  # tarfile would keep every member
            if member.size < 0:
                raise tarfile.ReadError("a member has a negative size")
            if len(self._tar.pax_headers) > MAX_GLOBAL:
                raise tarfile.ReadError(f"more than {MAX_GLOBAL} values are set for all members")
            yield member
            self._file.allowed = MAX_HEADER_BYTES
        if self._file.last.strip(b"\0"):  # tarfile takes it for the end
            raise tarfile.ReadError("a header is damaged")

    def read(self, member: tarfile.TarInfo) -> Iterator[bytes]:
        """Yield the bytes of the member that was yielded last.

        Raises:
            UnreadableInput: the archive is damaged.
        """
        with readable(self._place):
            self._file.allowed = left = member.size
            self._file.seek(member.offset_data)
            while left:
                chunk = self._file.read(min(left, _CHUNK_BYTES))
                if not chunk:
                    raise tarfile.ReadError("unexpected end of data")
                left -= len(chunk)
                yield chunk


@contextmanager
def opened(place: str) -> Iterator[Archive]:
    """Yield an open archive; errors of the block are translated as by `readable`.

    Raises:
        UnreadableInput: it is damaged, or exceeds the limits.
    """
    with readable(place), Path(place).open("rb") as packed, _unpacked(packed) as file:
        limit = max(UNPACKED_FREELY, MOST_TIMES * os.fstat(packed.fileno()).st_size)
        yield Archive(place, _Forwards(file, limit))


@contextmanager
def readable(place: str) -> Iterator[None]:
    """Raise errors of other libraries while an archive is read as `UnreadableInput`.

    Raises:
        UnreadableInput: the archive cannot be read.
    """
    try:
        yield
    except ResnestError:
        raise
    except OSError as error:
        why = reason(error) if error.strerror else f"{error}."
        raise UnreadableInput(f"{place} cannot be read: {why}") from error
    except Exception as error:  # tarfile also raises ValueError, RecursionError, OverflowError of a damaged header
        raise UnreadableInput(f"{place} cannot be read: {error or type(error).__name__}.") from error


def is_tar(place: str) -> bool:
    """Return whether a file is a tar archive.

    Raises:
        UnreadableInput: it cannot be read, or its first header exceeds the limits.
    """
    try:
        with opened(place):
            return True
    except UnreadableInput as error:
        if isinstance(error.__cause__, tarfile.ReadError | EOFError | zlib.error | lzma.LZMAError):
            return False
        if isinstance(error.__cause__, OSError) and not error.__cause__.strerror:  # of gzip and bz2: not compressed so
            return False
        raise


def unusable(member: tarfile.TarInfo) -> str:
    """Return why a member is not read; "" if it is read."""
    if not member.isreg():
        return "a link, a device or the like, and no file of its own: unpack the archive, and give the folder."
    if member.issparse():
        return "a file with holes, which no image has."
    if member.size > MAX_MEMBER_BYTES:
        return f"larger than {MAX_MEMBER_BYTES >> 20} MB."
    if len(member.name.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES:
        return f"its name has more than {MAX_NAME_BYTES:,} bytes."
    return ""


class _BeyondLimitsError(Exception):
    """An archive asks for more than an archive of images needs."""


class _Forwards:
    """The bytes of an archive for tarfile: forwards only, at most `allowed` at a time, and none beyond `limit`."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file = file
        self._limit = limit
        self.allowed = 0
        self.last = b""  # the bytes that were read last

    def tell(self) -> int:
        """Return the position of the next byte."""
        return self._file.tell()

    def seek(self, place: int) -> None:
        """Go forwards.

        Raises:
            _BeyondLimitsError: the position is behind, or too far.
        """
        self._check(place)
        self._file.seek(place)

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes.

        Raises:
            _BeyondLimitsError: a header or the archive is too large.
        """
        self.allowed -= size
        if size < 0 or self.allowed < 0:
            raise _BeyondLimitsError(f"it has a header of more than {MAX_HEADER_BYTES >> 20} MB")
        self._check(self.tell() + size)
        self.last = self._file.read(size)
        return self.last

    def _check(self, place: int) -> None:
        if place < self.tell():
            raise _BeyondLimitsError("a header leads backwards")
        if place > self._limit:
            message = f"it holds more than {self._limit >> 20} MB, or says so; unpack it, and give the folder"
            raise _BeyondLimitsError(message)


def _unpacked(file: IO[bytes]) -> AbstractContextManager[IO[bytes]]:
    """Return a file that decompresses, chosen by the first bytes; the file itself if it is not compressed."""
    begin = file.read(_LONGEST)
    file.seek(0)
    open_packed = next((unpack for sign, unpack in _PACKED.items() if begin.startswith(sign)), None)
    return open_packed(file) if open_packed else nullcontext(file)
