"""The bodies of requests: read within a limit of bytes and of time, and taken apart.

In: requests. Out: bytes, or images with their names. What is too large or too slow is never held as a whole. Nothing
is written to a disk, and no name from a client is opened.
"""

from __future__ import annotations

import asyncio
import io
from http import HTTPStatus
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from resnest_cli.serve.problems import ClientGone, Problem

if TYPE_CHECKING:
    from prometheus_client import Histogram
    from starlette.requests import Request

MULTIPART = b"multipart/form-data"
MAX_PARTS = 256
MAX_HEADER = 4096  # bytes of a part's header
MAX_HELD = 512 << 20  # bytes of all bodies that are here at the same time
_MALFORMED = "the multipart body is malformed: end it with its boundary, and give each part a name."


class Upload(io.BytesIO):
    """An image of a client; `name` is its row's path, and names no file here."""

    def __init__(self, name: str, content: bytes) -> None:
        super().__init__(content)
        self.name = name


class Bodies:
    """Reads bodies.

    Args:
        most: bytes of a body.
        within: seconds for a body to arrive.
        seconds: takes how long each body took.
    """

    def __init__(self, most: int, within: float, seconds: Histogram) -> None:
        self._most, self._within, self._seconds = most, within, seconds
        self._held = 0

    async def read(self, request: Request) -> bytes:
        """Return the body.

        Raises:
            Problem: 408 too slow, 413 too large, 415 compressed, 503 too many bodies at the same time.
            ClientGone: the client leaves before its end.
        """
        declared = request.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > self._most:
            raise self._too_large()
        if request.headers.get("content-encoding", "identity") != "identity":
            raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Encoding: send the body as it is.")
        try:
            with self._seconds.time():
                return await asyncio.wait_for(self._read(request), self._within)
        except asyncio.TimeoutError:
            message = f"the request has not arrived within {self._within:g} s."
            raise Problem(HTTPStatus.REQUEST_TIMEOUT, message, {"Connection": "close"}) from None
        except ClientDisconnect:
            raise ClientGone from None

    async def _read(self, request: Request) -> bytes:
        body = bytearray()
        try:
            async for chunk in request.stream():
                self._held += len(chunk)
                body += chunk
                if len(body) > self._most:
                    raise self._too_large()
                if self._held > max(MAX_HELD, self._most):
                    raise Problem(
                        HTTPStatus.SERVICE_UNAVAILABLE, "too many bytes arrive at the same time: retry later."
                    )
            return bytes(body)
        finally:
            self._held -= len(body)

    def _too_large(self) -> Problem:
        message = f"the request has more than {self._most:,} bytes; --max-bytes sets the limit."
        return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message, {"Connection": "close"})


async def uploads(request: Request, bodies: Bodies) -> list[Upload]:
    """Return the images of a request, at least one: its body, or the parts of a multipart body.

    Raises:
        Problem: as `Bodies.read`, or 400 for a body without an image, or a malformed one.
        ClientGone: the client leaves before its end.
    """
    kind, parameters = parse_options_header(request.headers.get("content-type"))
    body = await bodies.read(request)
    if kind == MULTIPART:
        found = await asyncio.to_thread(parts, body, parameters.get(b"boundary", b""))
    else:
        found = [Upload("#0", body)] if body else []
    if not found:
        raise Problem(HTTPStatus.BAD_REQUEST, "the request has no image: send its bytes as the body, or as multipart.")
    return found


def parts(body: bytes, boundary: bytes) -> list[Upload]:
    """Return the parts of a multipart body: each with the name of its file, or else with its position as "#0".

    Raises:
        Problem: it is malformed, or has too many parts.
    """
    reader = _Parts()
    try:
        parser = MultipartParser(boundary, reader.callbacks(), max_header_size=MAX_HEADER)  # type: ignore[arg-type] # a dict of its names
        parser.write(body)
    except (FormParserError, ValueError) as error:
        raise Problem(HTTPStatus.BAD_REQUEST, _MALFORMED) from error
    if not (boundary and reader.is_whole):
        raise Problem(HTTPStatus.BAD_REQUEST, _MALFORMED)
    return reader.found


class _Parts:
    """Collects what python-multipart's parser finds."""

    def __init__(self) -> None:
        self.found: list[Upload] = []
        self.is_whole = False
        self._field, self._value, self._content = b"", b"", bytearray()
        self._file = ""

    def callbacks(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in vars(type(self)) if name.startswith("on_")}

    def on_part_begin(self) -> None:
        if len(self.found) == MAX_PARTS:
            raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request has at most {MAX_PARTS} images.")
        self._content, self._file = bytearray(), ""

    def on_header_begin(self) -> None:
        self._field, self._value = b"", b""

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            _, parameters = parse_options_header(self._value.decode("latin-1"))
            self._file = parameters.get(b"filename", b"").decode("latin-1").encode("latin-1").decode("utf-8", "replace")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def on_part_end(self) -> None:
        self.found.append(Upload(self._file or f"#{len(self.found)}", bytes(self._content)))

    def on_end(self) -> None:
        self.is_whole = True
