"""One HTTP exchange, bounded in time and bytes: what every request of this program goes through.

In: a URL, how patient to be, maybe a secret and a rule of which addresses may be reached. Out: the answer's status,
headers and body, or `Trouble` with the cause in words. Redirects are followed here, and bodies unpacked, which requests
does without a limit. Does not know hubs, models or images; connections are `wire`'s.
"""

from __future__ import annotations

import contextlib
import time
import zlib
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit, urlunsplit

from resnest_cli.net.connection import Line, Patience, Refused, Trouble, Unreached
from resnest_cli.text import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import requests

__all__ = ["Answer", "Patience", "Refused", "Trouble", "Unreached", "ask"]
REDIRECTS = 5
CHUNK = 1 << 14
MOST, DIGITS = 10**15, 15  # more bytes than a disk has, more seconds than anybody waits; and how long such a number is
_REDIRECT_CODES = {301, 302, 303, 307, 308}
_AGAIN_CODES = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Answer:
    """What came back: the URL that answered after redirects, its status and its headers (names in any case)."""

    url: str
    status: int
    headers: Mapping[str, str]
    _response: requests.Response
    _line: Line

    @property
    def promised(self) -> int | None:
        """The bytes of the body as it travels; None if the server does not say."""
        return number(self.headers.get("Content-Length", ""))

    def chunks(self, limit: int | None = None) -> Iterator[bytes]:
        """Yield the body, unpacked, in pieces of at most `CHUNK` bytes.

        Raises:
            Trouble: it ends early, takes too long, cannot be unpacked, or is longer than `limit`.
        """
        total = 0
        if limit is not None and (self.promised or 0) > limit:
            raise _too_large(limit)
        for piece in _unpacked(self._raw(), self.headers.get("Content-Encoding", "").lower()):
            total += len(piece)
            if limit is not None and total > limit:
                raise _too_large(limit)
            yield piece

    def refusal(self) -> Trouble | None:
        """Return what a status other than success means, or None."""
        if self.status in {200, 206}:
            return None
        meaning = self.headers.get("X-Error-Message") or self._response.reason or ""
        why = f"the server answers {self.status} {meaning[:200]}".rstrip()
        again = self.status in _AGAIN_CODES
        wait_s = _seconds(self.headers.get("Retry-After", "")) if again else 0.0
        if wait_s > self._line.patience.left():
            why += f" and asks to wait {wait_s:.0f} s"
        return Trouble(why, again=again, status=self.status, wait_s=wait_s)

    def _raw(self) -> Iterator[bytes]:
        came = 0
        while True:
            with self._line.translated():
                piece: bytes = self._response.raw.read(CHUNK, decode_content=False)
            if not piece:
                break
            came += len(piece)
            yield piece
        if self.promised is not None and came < self.promised:
            message = f"the connection was cut: received {came} bytes, expected {self.promised}"
            raise Trouble(message, again=True)


@contextlib.contextmanager
def ask(  # noqa: PLR0913 - one exchange has that many sides
    method: str,
    url: str,
    patience: Patience,
    *,
    headers: Mapping[str, str] | None = None,
    secret: str = "",
    permit: Callable[[str], None] | None = None,
    last: Callable[[Mapping[str, str]], bool] | None = None,
) -> Iterator[Answer]:
    """Ask for `url` and follow at most `REDIRECTS` redirects, by http and https only and never from https to http.

    Args:
        method: "GET" or "HEAD".
        url: without user name and password.
        patience: ends the exchange, wherever it is, when nothing is left of it; the caller tells it of progress.
        headers: sent with each request.
        secret: the value of `Authorization`, sent to the scheme, host and port of `url` only.
        permit: raises for an address (as text) that must not be reached; asked at every hop.
        last: tells from its headers that a redirect is itself the answer.

    Raises:
        Trouble: no answer; also whatever `permit` raises.
    """
    try:
        origin = _origin(url)
    except ValueError as error:
        message = "it is not a URL that can be asked for"
        raise Refused(message) from error

    def headers_for(place: str) -> dict[str, str]:
        private = {"Authorization": secret} if secret and _origin(place) == origin else {}
        return {**(headers or {}), **private}

    with (
        Line(patience, permit) as line,
        contextlib.closing(_follow(line, method, url, headers_for, last)) as response,
    ):
        yield Answer(response.url, response.status_code, response.headers, response, line)


def _follow(
    line: Line,
    method: str,
    url: str,
    headers_for: Callable[[str], dict[str, str]],
    last: Callable[[Mapping[str, str]], bool] | None,
) -> requests.Response:
    for _ in range(REDIRECTS + 1):
        response = line.send(method, url, headers_for(url))
        place = response.headers.get("Location")
        if response.status_code not in _REDIRECT_CODES or not place or (last and last(response.headers)):
            return response
        response.close()
        url = _next(url, place)
    message = f"more than {REDIRECTS} redirects"
    raise Refused(message)


def _next(url: str, place: str) -> str:
    """Resolve a redirect.

    Raises:
        Refused: it leads away from http and https, or from https to http.
    """
    try:
        target = urljoin(url, place)
        scheme, host, _ = _origin(target)
    except ValueError as error:
        message = f"it redirects to what is no URL: {redact.url(place)}"
        raise Refused(message) from error
    if scheme not in {"http", "https"} or not host:
        message = f"it redirects to {redact.url(target)}: only http and https are followed"
        raise Refused(message)
    if scheme == "http" and urlsplit(url).scheme == "https":
        message = f"it redirects from https to {redact.url(target)}, which anyone on the way could change"
        raise Refused(message)
    parts = urlsplit(target)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def number(text: str) -> int | None:
    """Read a whole number from a header, as far as `MOST`; None where it is none."""
    if not text.isdecimal():
        return None
    return int(text) if len(text) <= DIGITS else MOST  # Python raises for thousands of digits


def _origin(url: str) -> tuple[str, str | None, int | None]:
    """Return scheme, host and port.

    Raises:
        ValueError: it is no URL.
    """
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _unpacked(pieces: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """Undo gzip or deflate, never giving more than `CHUNK` bytes at a time whatever the ratio is."""
    if encoding in {"", "identity"}:
        yield from pieces
        return
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        message = f"it comes packed as {encoding[:40]!r}, which was not asked for"
        raise Trouble(message)
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)  # 32: tell gzip from zlib by the header
    try:
        for piece in pieces:
            rest = piece
            while rest and not unpacker.eof:
                if unpacked := unpacker.decompress(rest, CHUNK):
                    yield unpacked
                rest = unpacker.unconsumed_tail
    except zlib.error as error:
        message = f"it cannot be unpacked as {encoding}"
        raise Trouble(message) from error
    if not unpacker.eof:
        message = f"the {encoding} body ends too early"
        raise Trouble(message, again=True)


def _too_large(limit: int) -> Trouble:
    return Trouble(f"it is larger than {limit / 1e6:.4g} MB")


def _seconds(retry_after: str) -> float:
    """Read a `Retry-After`: seconds, or a date; 0 where it is neither."""
    if (seconds := number(retry_after)) is not None:
        return float(seconds)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, OverflowError, TypeError, IndexError):  # the standard library checks no numbers
        return 0.0
