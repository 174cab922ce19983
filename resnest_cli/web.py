"""One HTTP exchange, bounded in time and bytes: what every request of this program goes through.

In: a URL, how patient to be, maybe a secret and a rule of which addresses may be reached. Out: the answer's status,
headers and body, or `Trouble` with the cause in words. Does not know hubs, models or images.

What requests leaves open is closed here. Its timeouts bound the gap between two bytes, so one byte a second lasts for
ever: a watchdog cuts the connection when patience ends, wherever it hangs. It looks names up without a limit, and
connects to what a second look-up says: here a name is looked up once, in bounded time, and the checked address is the
one that is connected to. It unpacks bodies without a limit. It gives passwords of `.netrc` to any host it is led to.
"""

from __future__ import annotations

import contextlib
import queue
import re
import socket
import threading
import time
import zlib
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit, urlunsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from resnest_cli import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from typing_extensions import Self

CONNECT_S = 6.0  # for all addresses of a name together
READ_S = 10.0  # between two bytes
REDIRECTS = 5
CHUNK = 1 << 14
_REDIRECT_CODES = {301, 302, 303, 307, 308}
_AGAIN_CODES = {408, 425, 429, 500, 502, 503, 504}


class Trouble(Exception):
    """Why an exchange failed, in words.

    Attributes:
        again: another try may help, ...
        wait_s: ... after that many seconds.
        status: the answer's, if there was one.
    """

    def __init__(self, why: str, *, again: bool = False, status: int = 0, wait_s: float = 0.0) -> None:
        super().__init__(why)
        self.again = again
        self.status = status
        self.wait_s = wait_s


class Refused(Trouble):
    """It was not asked for: a redirect that is not followed, or what is no URL at all."""


class Patience:
    """A point in time that moves on with each progress; `late` is what to say when it has come."""

    def __init__(self, seconds: float, late: str = "it took longer than {:.3g} s") -> None:
        self.seconds = seconds
        self.late = late.format(seconds)
        self._until = time.monotonic() + seconds

    def left(self) -> float:
        """Give the seconds that are left, not below 0."""
        return max(0.0, self._until - time.monotonic())

    def progress(self) -> None:
        """Begin anew."""
        self._until = time.monotonic() + self.seconds


@dataclass(frozen=True)
class Answer:
    """What came back: the URL that answered after redirects, its status and its headers (names in any case)."""

    url: str
    status: int
    headers: Mapping[str, str]
    _response: requests.Response
    _line: _Line

    def chunks(self, limit: int | None = None) -> Iterator[bytes]:
        """Give the body, unpacked, in pieces of at most `CHUNK` bytes.

        Raises:
            Trouble: it ends early, takes too long, cannot be unpacked, or is longer than `limit`.
        """
        total = 0
        promised = self.headers.get("Content-Length", "")
        if limit is not None and promised.isdecimal() and int(promised) > limit:
            raise _too_large(limit)
        for piece in _unpacked(self._raw(), self.headers.get("Content-Encoding", "").lower()):
            total += len(piece)
            if limit is not None and total > limit:
                raise _too_large(limit)
            yield piece

    def refusal(self) -> Trouble | None:
        """Give what a status other than success means, or None."""
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
        promised = self.headers.get("Content-Length", "")
        came = 0
        while True:
            with self._line.translated():
                piece: bytes = self._response.raw.read(CHUNK, decode_content=False)
            if not piece:
                break
            came += len(piece)
            yield piece
        if promised.isdecimal() and came < int(promised):
            message = f"the connection was cut: received {came} bytes, expected {promised}"
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
    with (
        _Line(patience, permit) as line,
        contextlib.closing(line.follow(method, url, dict(headers or {}), secret, last)) as response,
    ):
        yield Answer(response.url, response.status_code, response.headers, response, line)


def shown(url: str) -> str:
    """Give a URL as it may be shown and stored: no user name, no password, no values that look like secrets."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:  # brackets that do not match: nothing in it can be told apart
        return re.sub(r"//[^/]*@", "//***@", url)
    netloc = f"***@{host}" if "@" in parts.netloc else host
    query = _SECRET_VALUE.sub(r"\1***", parts.query)
    return urlunsplit((parts.scheme, netloc, parts.path, query, parts.fragment))


# Names of query parameters whose values let others in: of signed URLs of the great clouds, and the usual ones.
_SECRET_VALUE = re.compile(
    r"((?:^|[&;])[^=&;]*(?:token|secret|passw|pwd|signature|credential|api[-_]?key|access[-_]?key|auth)[^=&;]*=|"
    r"(?:^|[&;])(?:sig|key|policy)=)[^&;]*",
    re.IGNORECASE,
)


class _Line:
    """The sockets of one exchange: names looked up, addresses checked, connections cut when patience ends."""

    def __init__(self, patience: Patience, permit: Callable[[str], None] | None) -> None:
        self.patience = patience
        self.permit = permit
        self.is_cut = False
        self._sockets: list[socket.socket] = []
        self._done = threading.Event()
        self._session = requests.Session()
        self._session.headers.update({"User-Agent": f"resnest-cli/{__version__}", "Accept-Encoding": "identity"})
        self._adapter = _Adapter(self)

    def __enter__(self) -> Self:
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._done.set()
        self._adapter.close()
        for twin in self._sockets:
            twin.close()

    def follow(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        secret: str,
        last: Callable[[Mapping[str, str]], bool] | None,
    ) -> requests.Response:
        first = url
        for _ in range(REDIRECTS + 1):
            private = {"Authorization": secret} if secret and _origin(url) == _origin(first) else {}
            response = self._send(method, url, headers | private)
            place = response.headers.get("Location")
            if response.status_code not in _REDIRECT_CODES or not place or (last and last(response.headers)):
                return response
            response.close()
            url = _next(url, place)
        message = f"more than {REDIRECTS} redirects"
        raise Refused(message)

    @contextlib.contextmanager
    def translated(self) -> Iterator[None]:
        """Turn what the libraries raise into `Trouble`, and a connection that the watchdog cut too."""
        try:
            yield
        except (requests.RequestException, urllib3.exceptions.HTTPError, HTTPException, OSError, ValueError) as error:
            if self.is_cut:
                raise Trouble(self.patience.late) from error
            raise _told(error) from error
        if self.is_cut:  # a body without a length seems to end there
            raise Trouble(self.patience.late)

    def connect(self, host: str, port: int, *, checked: bool) -> socket.socket:
        """Connect to a host's first address that answers; if `checked`, only if all of them are permitted."""
        addresses = _look_up(host, port, min(CONNECT_S, self.patience.left()))
        if checked and self.permit:
            for *_, address in addresses:
                self.permit(str(address[0]))
        end = time.monotonic() + min(CONNECT_S, self.patience.left())
        for i, (family, kind, protocol, _, address) in enumerate(addresses, 1):
            made = socket.socket(family, kind, protocol)
            try:
                made.settimeout(max(0.01, (end - time.monotonic()) / (len(addresses) - i + 1)))
                made.connect(address)
            except OSError as error:
                made.close()
                if i == len(addresses):
                    who = f"{host} port {port}" if checked else f"the proxy {host} port {port}"
                    message = f"{who}: {_connect_cause(error)}"
                    raise Trouble(message) from error
            else:
                made.settimeout(READ_S)
                self._sockets.append(made.dup())  # TLS takes the socket over; its twin can still be shut down
                return made
        message = f"{host} has no address"
        raise Trouble(message)  # pragma: no cover - getaddrinfo raises instead

    def _send(self, method: str, url: str, headers: dict[str, str]) -> requests.Response:
        if self.patience.left() <= 0:
            raise Trouble(self.patience.late)
        with self.translated():
            # Not `Session.send`: it reads the whole body of a redirect, unpacked, to look where it leads.
            request = self._session.prepare_request(requests.Request(method, url, headers, auth=_leave))
            settings = self._session.merge_environment_settings(request.url, {}, True, None, None)  # noqa: FBT003
            if self.permit and requests.utils.select_proxy(url, settings["proxies"]):
                self._check_behind_proxy(url)
            return self._adapter.send(request, timeout=(CONNECT_S, READ_S), **settings)  # type: ignore[arg-type] # all settled

    def _check_behind_proxy(self, url: str) -> None:
        """Check what the proxy would connect to, as far as it can be known here: it looks names up by itself."""
        parts = urlsplit(url)
        try:
            addresses = _look_up(parts.hostname or "", parts.port or 80, min(CONNECT_S / 2, self.patience.left()))
        except Trouble:
            return
        for *_, address in addresses:
            self.permit(str(address[0]))  # type: ignore[misc] # the caller knows that there is one

    def _watch(self) -> None:
        while not self._done.wait(self.patience.left()):
            if self.patience.left() <= 0:
                self.is_cut = True
                for twin in list(self._sockets):
                    with contextlib.suppress(OSError):  # closed in the meantime
                        twin.shutdown(socket.SHUT_RDWR)
                self._done.wait(0.05)  # a connection may be made just now


class _Adapter(HTTPAdapter):
    """An adapter whose connections are made by a line: those to a proxy without the check of addresses."""

    def __init__(self, line: _Line) -> None:
        self._direct = _pools(line, checked=True)
        self._to_proxy = _pools(line, checked=False)
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - passed on
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._direct

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:  # noqa: ANN401 - passed on
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not proxy.lower().startswith("socks"):  # those have connections of their own
            manager.pool_classes_by_scheme = self._to_proxy
        return manager


def _pools(line: _Line, *, checked: bool) -> dict[str, type]:
    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return line.connect(self._dns_host, self.port or 80, checked=checked)

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return line.connect(self._dns_host, self.port or 443, checked=checked)

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def _leave(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Authorise nothing: without it requests would take a password from `.netrc` and replace our header."""
    return request


def _look_up(host: str, port: int, seconds: float) -> list[tuple[Any, ...]]:
    """Look a name up, in bounded time: a system's resolver alone can take a minute."""
    found: queue.SimpleQueue[list[tuple[Any, ...]] | Exception] = queue.SimpleQueue()

    def look() -> None:
        try:
            found.put([*socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)])
        except (OSError, UnicodeError) as error:
            found.put(error)

    threading.Thread(target=look, daemon=True).start()
    try:
        result = found.get(timeout=seconds)
    except queue.Empty as error:
        message = f"DNS does not answer for {host} within {seconds:.3g} s"
        raise Trouble(message) from error
    if isinstance(result, Exception):
        message = f"the name {host} is not known to DNS ({getattr(result, 'strerror', '') or result})"
        raise Trouble(message) from result
    return result


def _next(url: str, place: str) -> str:
    """Resolve a redirect.

    Raises:
        Refused: it leads away from http and https, or from https to http.
    """
    try:
        target = urljoin(url, place)
        scheme, host = urlsplit(target).scheme, urlsplit(target).hostname
    except ValueError as error:
        message = f"it redirects to what is no URL: {shown(place)}"
        raise Refused(message) from error
    if scheme not in {"http", "https"} or not host:
        message = f"it redirects to {shown(target)}: only http and https are followed"
        raise Refused(message)
    if scheme == "http" and urlsplit(url).scheme == "https":
        message = f"it redirects from https to {shown(target)}, which anyone on the way could change"
        raise Refused(message)
    parts = urlsplit(target)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _origin(url: str) -> tuple[str, str | None, int | None]:
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
    """Read a `Retry-After`: seconds, or a date."""
    if retry_after.isdecimal():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return 0.0


def _connect_cause(error: OSError) -> str:
    return "no answer to the connection" if isinstance(error, TimeoutError) else (error.strerror or str(error)).lower()


def _told(error: Exception) -> Trouble:
    """Say what an exception of the libraries means; their own text can hold a whole URL with its secrets."""
    chain = [*_causes(error)]
    if any(isinstance(item, urllib3.exceptions.ProxyError) for item in chain):
        return Trouble(f"the proxy refuses: {chain[-1]}")
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.MissingSchema | UnicodeError):
        return Refused("it is not a URL that can be asked for")
    if any(isinstance(item, urllib3.exceptions.SSLError | requests.exceptions.SSLError) for item in chain):
        return Trouble(f"the secure connection failed: {chain[-1]}")
    if any(isinstance(item, TimeoutError | urllib3.exceptions.ReadTimeoutError) for item in chain):
        return Trouble(f"the server was silent for {READ_S:.3g} s", again=True)
    if any(isinstance(item, urllib3.exceptions.IncompleteRead) for item in chain):
        return Trouble("the connection was cut before the end", again=True)
    return Trouble(f"the connection was lost ({type(chain[-1]).__name__})", again=True)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Give an exception and those it came from, as urllib3 links them: by cause, context or argument."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        inner = [arg for arg in error.args if isinstance(arg, BaseException)]
        reason = getattr(error, "reason", None)
        following = reason if isinstance(reason, BaseException) else next(iter(inner), None)
        error = following or error.__cause__ or error.__context__
