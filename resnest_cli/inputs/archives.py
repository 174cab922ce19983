"""Tar archives that anybody may have made: read forwards, and within limits.

In: the path of an archive, plain or packed by gzip, bzip2 or xz. Out: its members, in order, and the bytes of each.
tarfile understands the headers. What it reads them from is ours, and goes forwards only, holds a bounded part of a
header, and unpacks a bounded number of bytes: so no size in a header costs endless time or memory. Where a header is
damaged, the archive is, and is not taken for one that ends there. Does not know what a member is.
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

MAX_MEMBER_BYTES = 1 << 29  # of an image: it is unpacked before it is read
MAX_HEADER_BYTES = 1 << 20  # of all headers of a member: names of files have 4 KB, lists of who may read them some more
MAX_NAME_BYTES = 4096
MAX_GLOBAL = 64  # values that hold for all members; who writes archives sets one or two
# Packed photographs are as large as unpacked ones, drawings may be a hundredth. A file of some KB can hold terabytes.
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
    """An open archive; `opened` gives one."""

    def __init__(self, place: str, file: _Forwards) -> None:
        self._place = place
        self._file = file
        file.allowed = MAX_HEADER_BYTES
        self._tar = tarfile.open(fileobj=file, mode="r:")  # type: ignore[call-overload] # noqa: SIM115 - `opened` closes it; it needs read, seek, tell

    def members(self) -> Iterator[tarfile.TarInfo]:
        """Yield every member, in order.

        Raises:
            Exception: whatever tarfile raises where a header is damaged; `opened` translates it.
        """
        while member := self._tar.next():
            self._tar.members = []  # or it would keep what it knows of each
            if member.size < 0:
                raise tarfile.ReadError("a member has a negative size")
            if len(self._tar.pax_headers) > MAX_GLOBAL:
                raise tarfile.ReadError(f"more than {MAX_GLOBAL} values are set for all members")
            yield member
            self._file.allowed = MAX_HEADER_BYTES
        if self._file.last.strip(b"\0"):  # tarfile takes it for the end
            raise tarfile.ReadError("a header is damaged")

    def read(self, member: tarfile.TarInfo) -> Iterator[bytes]:
        """Yield the bytes of the member that was given last.

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
    """Open an archive; what is raised while it is read becomes an error in words.

    Raises:
        UnreadableInput: it is damaged, or goes beyond the limits.
    """
    with readable(place), Path(place).open("rb") as packed, _unpacked(packed) as file:
        limit = max(UNPACKED_FREELY, MOST_TIMES * os.fstat(packed.fileno()).st_size)
        yield Archive(place, _Forwards(file, limit))


@contextmanager
def readable(place: str) -> Iterator[None]:
    """Say in our words that an archive cannot be read.

    Raises:
        UnreadableInput: anything was raised that is no error of ours.
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


def is_one(place: str) -> bool:
    """Tell whether a file is a tar archive.

    Raises:
        UnreadableInput: it cannot be read, or its first header goes beyond the limits.
    """
    try:
        with opened(place):
            return True
    except UnreadableInput as error:
        if isinstance(error.__cause__, tarfile.ReadError | EOFError | zlib.error | lzma.LZMAError):
            return False
        if isinstance(error.__cause__, OSError) and not error.__cause__.strerror:  # of gzip and bz2: not packed so
            return False
        raise


def unusable(member: tarfile.TarInfo) -> str:
    """Say why a member is not read; nothing of one that is."""
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
    """An archive asks for more than any archive of images needs."""


class _Forwards:
    """The bytes of an archive as tarfile asks for them: forwards only, `allowed` of them, and none beyond `limit`."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file = file
        self._limit = limit
        self.allowed = 0
        self.last = b""  # what was read last

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._file.tell()

    def seek(self, place: int) -> None:
        """Go forwards.

        Raises:
            _BeyondLimitsError: that would be backwards, or too far.
        """
        self._check(place)
        self._file.seek(place)

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes.

        Raises:
            _BeyondLimitsError: that is more than there may be of a header, or in all.
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
    """Return what unpacks a file while it is read, by how the file begins; the file itself if nothing has to."""
    begin = file.read(_LONGEST)
    file.seek(0)
    open_packed = next((unpack for sign, unpack in _PACKED.items() if begin.startswith(sign)), None)
    return open_packed(file) if open_packed else nullcontext(file)
