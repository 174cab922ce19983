"""The connections of one HTTP exchange: where they may lead, how long they may take, and what their errors mean.

In: requests to send, how patient to be, a rule of which addresses may be reached. Out: answers with their body unread,
or `Trouble` with the cause in words. Does not know redirects, nor what is asked for.

What requests leaves open is closed here. Its timeouts bound the gap between two bytes, so one byte a second lasts for
ever: a watchdog cuts the connection when patience ends, wherever it hangs. It looks names up without a limit, and
connects to what a second look-up says: here a name is looked up once, in bounded time, and the checked address is the
one that is connected to. It gives passwords of `.netrc` to any host it is led to.
"""

from __future__ import annotations

import contextlib
import queue
import re
import socket
import threading
import time
from http.client import HTTPException, HTTPResponse, IncompleteRead, RemoteDisconnected
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from resnest_cli import __version__
from resnest_cli.errors import ResnestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from typing_extensions import Self

CONNECT_S = 6.0  # for all addresses of a name together
READ_S = 10.0  # between two bytes
LONGEST_WORDS = 500  # characters of a cause: a server may put 64 KB into a header, and a row has it all
_PROXIES = {"http", "https", "socks4", "socks4a", "socks5", "socks5h"}
# What is an address that only the proxy can read, or by its ending stands for no machine of the internet.
_PRIVATE_NAME = re.compile(
    r":|(?:^|\.)(?:\d+|0x[0-9a-f]*)$|^[^.]*$|\.(?:localhost|local|internal|home\.arpa)$", re.IGNORECASE
)
_NO_HTTP = (HTTPException, ValueError, urllib3.exceptions.InvalidHeader, requests.exceptions.InvalidHeader)


class Trouble(Exception):
    """Why an exchange failed, in words.

    Attributes:
        again: another try may help, ...
        wait_s: ... after that many seconds.
        status: the answer's, if there was one.
    """

    def __init__(self, why: str, *, again: bool = False, status: int = 0, wait_s: float = 0.0) -> None:
        super().__init__(why if len(why) <= LONGEST_WORDS else f"{why[:LONGEST_WORDS]}...")
        self.again = again
        self.status = status
        self.wait_s = wait_s


class Unreached(Trouble):
    """No connection came about: there is no network, no such name, or nobody listens."""


class Refused(Trouble):
    """It was not asked for: a redirect that is not followed, or what is no URL at all."""


class Patience:
    """A point in time that moves on with each progress; `late` is what to say when it has come."""

    def __init__(self, seconds: float, late: str = "it took longer than {:.3g} s") -> None:
        self.seconds = seconds
        self.late = late.format(seconds)
        self._until = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left, not below 0."""
        return max(0.0, self._until - time.monotonic())

    def progress(self) -> None:
        """Begin anew."""
        self._until = time.monotonic() + self.seconds


class Line:
    """The sockets of one exchange: names looked up, addresses checked, connections cut when patience ends.

    Args:
        patience: when it ends, whatever is open is cut.
        permit: raises for an address (as text) that must not be reached, and for what is none; None permits all.
    """

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
        """Begin to watch."""
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close what is open."""
        self._done.set()
        self._adapter.close()
        for twin in self._sockets:
            twin.close()

    @contextlib.contextmanager
    def translated(self) -> Iterator[None]:
        """Turn whatever the libraries raise into `Trouble`, and a connection that the watchdog cut too."""
        try:
            yield
        except (Trouble, ResnestError):  # our own: the second kind is what `permit` raises
            raise
        except Exception as error:
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
            except (OSError, OverflowError) as error:  # the second kind: no port has such a number
                made.close()
                if i == len(addresses):
                    who = f"{host} port {port}" if checked else f"the proxy {host} port {port}"
                    message = f"{who}: {_connect_cause(error)}"
                    raise Unreached(message) from error
            else:
                made.settimeout(READ_S)
                self._sockets.append(made.dup())  # TLS takes the socket over; its twin can still be shut down
                return made
        message = f"{host} has no address"
        raise Trouble(message)  # pragma: no cover - getaddrinfo raises instead

    def send(self, method: str, url: str, headers: dict[str, str]) -> requests.Response:
        """Ask once, and give the answer with its body unread, be it a redirect.

        Raises:
            Trouble: no answer; also whatever `permit` raises.
        """
        if self.patience.left() <= 0:
            raise Trouble(self.patience.late)
        with self.translated():
            # Not `Session.send`: it reads the whole body of a redirect, unpacked, to look where it leads.
            request = self._session.prepare_request(requests.Request(method, url, headers, auth=_leave))
            settings = self._session.merge_environment_settings(request.url, {}, True, None, None)  # noqa: FBT003
            if proxy := requests.utils.select_proxy(str(request.url), settings["proxies"]):
                _require_address(proxy)
                self._check_behind_proxy(str(request.url))
            return self._adapter.send(request, timeout=(CONNECT_S, READ_S), **settings)  # type: ignore[arg-type] # all settled

    def _check_behind_proxy(self, url: str) -> None:
        """Check what the proxy would connect to, as far as it can be known here: it looks names up by itself."""
        if not self.permit:
            return
        parts = urlsplit(url)
        host = parts.hostname or ""
        try:
            addresses = _look_up(host, parts.port or 80, min(CONNECT_S / 2, self.patience.left()))
        except Trouble:
            if _PRIVATE_NAME.search(host.rstrip(".")):
                self.permit(host)
            return
        for *_, address in addresses:
            self.permit(str(address[0]))

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

    def __init__(self, line: Line) -> None:
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

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:  # noqa: ANN401 - passed on
        """Leave cookies alone: nothing sends any, and over odd ones the standard library prints a traceback."""
        for name in ("Set-Cookie", "Set-Cookie2"):
            del resp._original_response.msg[name]  # noqa: SLF001 - what requests itself reads them from
        return super().build_response(req, resp)


class _Answer(HTTPResponse):
    """An answer whose body ends where it says, or not at all."""

    def _read_next_chunk_size(self) -> int:
        """Read the size of a piece; the standard library takes -1, and then all that comes, however much, at once."""
        size: int = super()._read_next_chunk_size()  # type: ignore[misc] # there is no other way in
        if size < 0:
            message = "a piece of negative size"
            raise HTTPException(message)
        return size


def _pools(line: Line, *, checked: bool) -> dict[str, type]:
    class Plain(HTTPConnection):
        response_class = _Answer

        def _new_conn(self) -> socket.socket:
            return line.connect(self._dns_host, self.port or 80, checked=checked)

    class Secure(HTTPSConnection):
        response_class = _Answer

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


def _require_address(proxy: str) -> None:
    """Refuse a proxy that cannot be meant, which would look like a fault of the URL.

    Raises:
        Trouble: the environment names it, and not as http://HOST:PORT.
    """
    message = "the environment names a proxy that cannot be meant: HTTP_PROXY and HTTPS_PROXY are http://HOST:PORT"
    with contextlib.suppress(ValueError):
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        if parts.scheme.startswith("socks") and not find_spec("socks"):
            message = "the environment names a SOCKS proxy, which needs PySocks: pip install 'requests[socks]'"
        elif parts.scheme in _PROXIES and parts.hostname and parts.port != 0:
            return
    raise Trouble(message)


def _look_up(host: str, port: int, seconds: float) -> list[tuple[Any, ...]]:
    """Look a name up, in bounded time: a system's resolver alone can take a minute."""
    found: queue.SimpleQueue[list[tuple[Any, ...]] | Exception] = queue.SimpleQueue()

    def look() -> None:
        try:
            found.put([*socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)])
        except Exception as error:  # noqa: BLE001 - raised where the answer is waited for
            found.put(error)

    threading.Thread(target=look, daemon=True).start()
    try:
        result = found.get(timeout=seconds)
    except queue.Empty as error:
        message = f"DNS does not answer for {host} within {seconds:.3g} s"
        raise Unreached(message) from error
    if isinstance(result, Exception):
        message = f"the name {host} is not known to DNS ({getattr(result, 'strerror', '') or result})"
        raise Unreached(message) from result
    return result


def _connect_cause(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer to the connection"
    return (getattr(error, "strerror", None) or str(error)).lower()


def _told(error: Exception) -> Trouble:
    """Say what an exception of the libraries means; their own text can hold a whole URL with its secrets."""
    chain = [*_causes(error)]
    if any(isinstance(item, urllib3.exceptions.ProxyError) for item in chain):
        return Trouble(f"the proxy refuses: {chain[-1]}")
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.MissingSchema | UnicodeError):
        return Refused("it is not a URL that can be asked for")
    if any(isinstance(item, urllib3.exceptions.SSLError | requests.exceptions.SSLError) for item in chain):
        return Trouble(f"the secure connection failed: {chain[-1]}")
    return _lost(chain)


def _lost(chain: list[BaseException]) -> Trouble:
    """Say how a connection ended, or what came over it that is no answer; another try may help."""
    if any(isinstance(item, TimeoutError | urllib3.exceptions.ReadTimeoutError) for item in chain):
        return Trouble(f"the server was silent for {READ_S:.3g} s", again=True)
    if any(isinstance(item, urllib3.exceptions.IncompleteRead | IncompleteRead) for item in chain):
        return Trouble("the connection was cut before the end", again=True)
    if any(isinstance(item, _NO_HTTP) and not isinstance(item, RemoteDisconnected) for item in chain):
        return Trouble(f"the server does not answer in HTTP ({type(chain[-1]).__name__})", again=True)
    return Trouble(f"the connection was lost ({type(chain[-1]).__name__})", again=True)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Return an exception and those it came from, as urllib3 links them: by cause, context or argument."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        inner = [arg for arg in error.args if isinstance(arg, BaseException)]
        reason = getattr(error, "reason", None)
        following = reason if isinstance(reason, BaseException) else next(iter(inner), None)
        error = following or error.__cause__ or error.__context__
