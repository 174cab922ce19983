"""Names from a list: one per line, or each up to a NUL byte.

In: a file that is open for bytes. Out: names, each as soon as it is complete. Names keep their bytes. Lists in UTF-16
or with a byte order mark, as Windows writes them, are read too.
"""

from __future__ import annotations

import codecs
import os
import re
from typing import IO, TYPE_CHECKING

from resnest_cli.errors import ResnestError, UsageError
from resnest_cli.system.paths import reason

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK_BYTES = 1 << 16
MAX_NAME_BYTES = 1 << 16  # a path has up to 4 KB, a URL with a signature some more
_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_LONE_CR = re.compile(rb"\r[^\n]")


def listed(file: IO[bytes], *, null: bool = False) -> Iterator[str]:
    """Yield the names of a list: one per line (ended as on Unix, Windows or old Macs), or with `null` up to a NUL byte.

    Bytes that are not valid text become surrogate escapes. Empty names are skipped. The name "-" becomes "./-", since
    standard input may be the list.

    Raises:
        UsageError: it has NUL bytes where lines are expected, or a name that is too long.
        ResnestError: the list cannot be read to its end.
    """
    for name in _split(_plain(_chunks(file)), null=null):
        path = os.fsdecode(name if null else name.removesuffix(b"\r"))
        if path:
            yield f"./{path}" if path == "-" else path


def _split(chunks: Iterator[bytes], *, null: bool) -> Iterator[bytes]:
    begun: list[bytes] = []  # parts of the current name, joined once, however long it gets
    separator = b"\0" if null else b""
    for chunk in chunks:
        if not separator:
            chunk = begun.pop() + chunk if begun and begun[-1].endswith(b"\r") else chunk  # noqa: PLW2901 - see _LONE_CR
            separator = _line_end(chunk)
        first, *others = chunk.split(separator) if separator else [chunk]
        begun.append(first)
        if sum(map(len, begun)) > MAX_NAME_BYTES:
            raise UsageError(f"--files-from: a name has more than {MAX_NAME_BYTES:,} bytes: this is no list of names.")
        if others:
            yield b"".join(begun)
            *names, last = others
            yield from names
            begun = [last]
    yield b"".join(begun)


def _line_end(begin: bytes) -> bytes:
    """Return the bytes that end the lines of a list, from its first part; b"" if no line ends in it.

    Raises:
        UsageError: the names end with NUL bytes.
    """
    if b"\0" in begin:
        raise UsageError("--files-from: the list has NUL bytes: names that end with one are read with -0.")
    if b"\n" in begin:
        return b"\n"
    return b"\r" if _LONE_CR.search(begin) else b""


def _plain(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Remove the byte order mark, and convert UTF-16 to the encoding of file names.

    Raises:
        ResnestError: the UTF-16 is damaged.
    """
    begin = b""
    for chunk in chunks:
        begin += chunk
        if not any(mark.startswith(begin) and mark != begin for mark in _MARKS):  # a mark may be incomplete
            break
    if not begin.startswith(_MARKS[1:]):
        yield begin.removeprefix(codecs.BOM_UTF8)
        yield from chunks
        return
    decoder = codecs.getincrementaldecoder("utf-16")()
    try:
        yield os.fsencode(decoder.decode(begin))
        for chunk in chunks:
            yield os.fsencode(decoder.decode(chunk))
        decoder.decode(b"", final=True)
    except UnicodeError as error:
        raise ResnestError("the list of inputs is not the UTF-16 that its first bytes promise.") from error


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the bytes that are there, without waiting for more."""
    try:
        while chunk := file.read1(CHUNK_BYTES):  # type: ignore[attr-defined] # every buffered reader has it
            yield chunk
    except (OSError, ValueError) as error:
        raise ResnestError(f"the list of inputs cannot be read to its end: {reason(error)}") from error
