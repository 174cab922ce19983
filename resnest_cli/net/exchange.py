"""One HTTP exchange, bounded in time and bytes: every request of this program goes through it.

In: a URL, a deadline, maybe an authorization and a check of addresses. Out: the response's status, headers and body, or
an `ExchangeError` with the cause in words. Follows redirects and unpacks bodies itself: requests does so without a
limit. Does not know hubs, models or images; `connection` has the sockets.
"""

from __future__ import annotations

import contextlib
import time
import zlib
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit, urlunsplit

from resnest_cli.net.connection import Connections
from resnest_cli.net.errors import ExchangeError, Refused
from resnest_cli.text import redact
from resnest_cli.text.numbers import parse_integer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import requests

    from resnest_cli.net.deadline import Deadline

MAX_REDIRECTS = 5
CHUNK = 1 << 14
_REDIRECT_CODES = {301, 302, 303, 307, 308}
_RETRY_CODES = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Response:
    """What came back: the URL after redirects, the status and the headers (names in any case)."""

    url: str
    status: int
    headers: Mapping[str, str]
    _raw: requests.Response
    _connections: Connections

    @property
    def content_length(self) -> int | None:
        """The bytes of the body as sent, maybe compressed; None if the server does not say."""
        return parse_integer(self.headers.get("Content-Length", ""))

    def chunks(self, limit: int | None = None) -> Iterator[bytes]:
        """Yield the body, unpacked, in chunks of at most `CHUNK` bytes.

        Raises:
            ExchangeError: the body ends early, takes too long, cannot be unpacked, or is longer than `limit` bytes.
        """
        total = 0
        if limit is not None and (self.content_length or 0) > limit:
            raise _too_large(limit)
        for chunk in _unpacked(self._chunks(), self.headers.get("Content-Encoding", "").lower()):
            total += len(chunk)
            if limit is not None and total > limit:
                raise _too_large(limit)
            yield chunk

    def content(self, limit: int) -> bytes:
        """Return the whole body, unpacked, of at most `limit` bytes.

        Raises:
            ExchangeError: the status is no success; see also `chunks`.
        """
        if error := self.error():
            raise error
        return b"".join(self.chunks(limit))

    def error(self) -> ExchangeError | None:
        """Return the `ExchangeError` of a status other than success, or None."""
        if self.status in {200, 206}:
            return None
        meaning = self.headers.get("X-Error-Message") or self._raw.reason or ""
        cause = f"the server answers {self.status} {meaning[:200]}".rstrip()
        retry = self.status in _RETRY_CODES
        wait_s = _seconds(self.headers.get("Retry-After", "")) if retry else 0.0
        if wait_s > self._connections.deadline.remaining():
            cause += f" and asks to wait {wait_s:.0f} s"
        return ExchangeError(cause, retry=retry, status=self.status, wait_s=wait_s)

    def _chunks(self) -> Iterator[bytes]:
        received = 0
        while True:
            with self._connections.translate_errors():
                chunk: bytes = self._raw.raw.read(CHUNK, decode_content=False)
            if not chunk:
                break
            received += len(chunk)
            yield chunk
        if self.content_length is not None and received < self.content_length:
            message = f"the connection was cut: received {received} bytes, expected {self.content_length}"
            raise ExchangeError(message, retry=True)


@contextlib.contextmanager
def request(  # noqa: PLR0913 - one exchange has that many sides
    method: str,
    url: str,
    deadline: Deadline,
    *,
    headers: Mapping[str, str] | None = None,
    authorization: str = "",
    check_address: Callable[[str], None] | None = None,
    is_final: Callable[[Mapping[str, str]], bool] | None = None,
) -> Iterator[Response]:
    """Send a request, follow at most `MAX_REDIRECTS` redirects, and yield the response.

    Only http and https are followed, and never a redirect from https to http.

    Args:
        method: "GET" or "HEAD".
        url: without user name and password.
        deadline: cuts the exchange, wherever it is; the caller restarts it as bytes arrive.
        headers: sent with each request.
        authorization: the value of that header, sent to the scheme, host and port of `url` only.
        check_address: raises for an address (as text) that must not be reached; called at every hop.
        is_final: tells from the headers of a redirect that it is not to be followed.

    Raises:
        ExchangeError: no response; also whatever `check_address` raises.
    """
    try:
        origin = _origin(url)
    except ValueError as error:
        message = "the URL is malformed"
        raise Refused(message) from error

    def headers_for(location: str) -> dict[str, str]:
        private = {"Authorization": authorization} if authorization and _origin(location) == origin else {}
        return {**(headers or {}), **private}

    with (
        Connections(deadline, check_address) as connections,
        contextlib.closing(_follow(connections, method, url, headers_for, is_final)) as response,
    ):
        yield Response(response.url, response.status_code, response.headers, response, connections)


def _follow(
    connections: Connections,
    method: str,
    url: str,
    headers_for: Callable[[str], dict[str, str]],
    is_final: Callable[[Mapping[str, str]], bool] | None,
) -> requests.Response:
    for _ in range(MAX_REDIRECTS + 1):
        response = connections.send(method, url, headers_for(url))
        location = response.headers.get("Location")
        if response.status_code not in _REDIRECT_CODES or not location or (is_final and is_final(response.headers)):
            return response
        response.close()
        url = _next(url, location)
    message = f"more than {MAX_REDIRECTS} redirects"
    raise Refused(message)


def _next(url: str, location: str) -> str:
    """Return the URL that a redirect leads to.

    Raises:
        Refused: it leads away from http and https, or from https to http.
    """
    try:
        target = urljoin(url, location)
        scheme, host, _ = _origin(target)
    except ValueError as error:
        message = f"it redirects to a malformed URL: {redact.url(location)}"
        raise Refused(message) from error
    if scheme not in {"http", "https"} or not host:
        message = f"it redirects to {redact.url(target)}: only http and https are followed"
        raise Refused(message)
    if scheme == "http" and urlsplit(url).scheme == "https":
        message = f"it redirects from https to {redact.url(target)}, which anyone on the way could read and change"
        raise Refused(message)
    parts = urlsplit(target)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _origin(url: str) -> tuple[str, str | None, int | None]:
    """Return scheme, host and port.

    Raises:
        ValueError: it is no URL.
    """
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _unpacked(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """Undo gzip or deflate, at most `CHUNK` bytes at a time whatever the compression ratio."""
    if encoding in {"", "identity"}:
        yield from chunks
        return
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        message = f"it is packed as {encoding[:40]!r}, which was not requested"
        raise ExchangeError(message)
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)  # 32: tell gzip from zlib by the header
    try:
        for chunk in chunks:
            rest = chunk
            while rest and not unpacker.eof:
                if unpacked := unpacker.decompress(rest, CHUNK):
                    yield unpacked
                rest = unpacker.unconsumed_tail
    except zlib.error as error:
        message = f"it cannot be unpacked as {encoding}"
        raise ExchangeError(message) from error
    if not unpacker.eof:
        message = f"the {encoding} body ends too early"
        raise ExchangeError(message, retry=True)


def _too_large(limit: int) -> ExchangeError:
    return ExchangeError(f"it is larger than {limit / 1e6:.4g} MB")


def _seconds(retry_after: str) -> float:
    """Return the seconds of a `Retry-After`, which holds seconds or a date; 0 where it is neither."""
    if (seconds := parse_integer(retry_after)) is not None:
        return float(seconds)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, OverflowError, TypeError, IndexError):  # the standard library checks no numbers
        return 0.0
