"""The connections of one HTTP exchange: which addresses they may reach, and how long they may take.

In: requests to send, a deadline, a check of addresses. Out: responses with their body unread, or an `ExchangeError`.
Does not know redirects, nor what is requested.

It closes what requests leaves open:
- Timeouts of requests bound the gap between two bytes, so one byte per second lasts for ever. A watchdog cuts the
  connection at the deadline, wherever it hangs.
- requests looks names up without a limit, and connects to what a second look-up says. Here each name is looked up once,
  in bounded time, and the address that was checked is the address that is connected to.
- requests sends passwords of `.netrc` to any host it is redirected to. Here it sends none.
"""

from __future__ import annotations

import contextlib
import queue
import re
import socket
import threading
import time
from http.client import HTTPException, HTTPResponse
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from resnest_cli import __version__
from resnest_cli.errors import ResnestError
from resnest_cli.net import causes
from resnest_cli.net.errors import ExchangeError, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from typing_extensions import Self

    from resnest_cli.net.deadline import Deadline

CONNECT_S = 6.0  # for all addresses of a name together
READ_S = 10.0  # between two bytes
_PROXIES = {"http", "https", "socks4", "socks4a", "socks5", "socks5h"}
# Names that only the proxy can resolve, or whose ending is reserved for private networks.
_PRIVATE_NAME = re.compile(
    r":|(?:^|\.)(?:\d+|0x[0-9a-f]*)$|^[^.]*$|\.(?:localhost|local|internal|home\.arpa)$", re.IGNORECASE
)


class Connections:
    """The sockets of one exchange: names looked up, addresses checked, all cut at the deadline.

    Args:
        deadline: when it passes, all sockets are shut down.
        check_address: raises for an address or name (as text) that must not be reached; None allows all.
    """

    def __init__(self, deadline: Deadline, check_address: Callable[[str], None] | None) -> None:
        self.deadline = deadline
        self.check_address = check_address
        self.was_cut = False
        self._sockets: list[socket.socket] = []
        self._done = threading.Event()
        self._session = requests.Session()
        self._session.headers.update({"User-Agent": f"resnest-cli/{__version__}", "Accept-Encoding": "identity"})
        self._adapter = _Adapter(self)

    def __enter__(self) -> Self:
        """Start the watchdog."""
        threading.Thread(target=self._cut_at_deadline, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close all sockets."""
        self._done.set()
        self._adapter.close()
        for copy in self._sockets:
            copy.close()

    @contextlib.contextmanager
    def translate_errors(self) -> Iterator[None]:
        """Raise what the libraries raise as an `ExchangeError`, also where the watchdog cut the connection."""
        try:
            yield
        except (ExchangeError, ResnestError):  # the second is what `check_address` raises
            raise
        except Exception as error:
            if self.was_cut:
                raise ExchangeError(self.deadline.message) from error
            raise causes.as_exchange_error(error, READ_S) from error
        if self.was_cut:  # a body without a length seems to end there
            raise ExchangeError(self.deadline.message)

    def connect(self, host: str, port: int, *, checked: bool) -> socket.socket:
        """Connect to a host's first address that answers; if `checked`, only if `check_address` allows all of them."""
        addresses = self._look_up(host, port, CONNECT_S)
        if checked and self.check_address:
            for *_, address in addresses:
                self.check_address(str(address[0]))
        end = time.monotonic() + min(CONNECT_S, self.deadline.remaining())
        for i, (family, kind, protocol, _, address) in enumerate(addresses, 1):
            made = socket.socket(family, kind, protocol)
            try:
                made.settimeout(max(0.01, (end - time.monotonic()) / (len(addresses) - i + 1)))
                made.connect(address)
            except (OSError, OverflowError) as error:  # the second kind: no port has such a number
                made.close()
                if i == len(addresses):
                    who = f"{host} port {port}" if checked else f"the proxy {host} port {port}"
                    message = f"{who}: {causes.connect_cause(error)}"
                    raise Unreachable(message) from error
            else:
                made.settimeout(READ_S)
                self._sockets.append(made.dup())  # TLS takes the socket over; its copy can still be shut down
                return made
        message = f"{host} has no address"
        raise ExchangeError(message)  # pragma: no cover - getaddrinfo raises instead

    def send(self, method: str, url: str, headers: dict[str, str]) -> requests.Response:
        """Send one request, and return the response with its body unread, also if it is a redirect.

        Raises:
            ExchangeError: no response; also whatever `check_address` raises.
        """
        if self.deadline.remaining() <= 0:
            raise ExchangeError(self.deadline.message)
        with self.translate_errors():
            # Not `Session.send`: it reads the whole body of a redirect, unpacked, to look where it leads.
            request = self._session.prepare_request(requests.Request(method, url, headers, auth=_no_authorization))
            settings = self._session.merge_environment_settings(request.url, {}, True, None, None)  # noqa: FBT003
            if proxy := requests.utils.select_proxy(str(request.url), settings["proxies"]):
                _check_proxy(proxy)
                self._check_behind_proxy(str(request.url))
            return self._adapter.send(request, timeout=(CONNECT_S, READ_S), **settings)  # type: ignore[arg-type] # all settled

    def _check_behind_proxy(self, url: str) -> None:
        """Check what the proxy would connect to, as far as it is known here: the proxy looks names up itself."""
        if not self.check_address:
            return
        parts = urlsplit(url)
        host = parts.hostname or ""
        try:
            addresses = self._look_up(host, parts.port or 80, CONNECT_S / 2)
        except ExchangeError:
            if _PRIVATE_NAME.search(host.rstrip(".")):
                self.check_address(host)
            return
        for *_, address in addresses:
            self.check_address(str(address[0]))

    def _look_up(self, host: str, port: int, seconds: float) -> list[tuple[Any, ...]]:
        """Look a name up within `seconds` and the deadline.

        Raises:
            ExchangeError: it has no address, or the time is over.
        """
        remaining = self.deadline.remaining()
        try:
            return _look_up(host, port, min(seconds, remaining))
        except ExchangeError as error:
            if remaining < seconds and not self.deadline.remaining():
                raise ExchangeError(self.deadline.message) from error
            raise

    def _cut_at_deadline(self) -> None:
        while not self._done.wait(self.deadline.remaining()):
            if self.deadline.remaining() <= 0:
                self.was_cut = True
                for copy in list(self._sockets):
                    with contextlib.suppress(OSError):  # closed in the meantime
                        copy.shutdown(socket.SHUT_RDWR)
                self._done.wait(0.05)  # a connection may be made just now


class _Adapter(HTTPAdapter):
    """An adapter that connects through `Connections`; the address of a proxy is not checked."""

    def __init__(self, connections: Connections) -> None:
        self._direct = _pools(connections, checked=True)
        self._to_proxy = _pools(connections, checked=False)
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
        """Drop cookies: no request sends them, and the standard library prints a traceback over malformed ones."""
        for name in ("Set-Cookie", "Set-Cookie2"):
            del resp._original_response.msg[name]  # noqa: SLF001 - what requests itself reads them from
        return super().build_response(req, resp)


class _Response(HTTPResponse):
    """A response whose chunks have a size of 0 or more."""

    def _read_next_chunk_size(self) -> int:
        """Read the size of a chunk; the standard library takes -1 for a size, and then reads all that comes at once."""
        size: int = super()._read_next_chunk_size()  # type: ignore[misc] # there is no other way in
        if size < 0:
            message = "a chunk of negative size"
            raise HTTPException(message)
        return size


def _pools(connections: Connections, *, checked: bool) -> dict[str, type]:
    class Plain(HTTPConnection):
        response_class = _Response

        def _new_conn(self) -> socket.socket:
            return connections.connect(self._dns_host, self.port or 80, checked=checked)

    class Secure(HTTPSConnection):
        response_class = _Response

        def _new_conn(self) -> socket.socket:
            return connections.connect(self._dns_host, self.port or 443, checked=checked)

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def _no_authorization(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Change nothing: without this function requests would replace our header by a password of `.netrc`."""
    return request


def _check_proxy(proxy: str) -> None:
    """Refuse a malformed proxy, whose failure would look like a fault of the URL.

    Raises:
        ExchangeError: the environment names a proxy in another form than http://HOST:PORT.
    """
    message = "the environment names a malformed proxy: set HTTP_PROXY and HTTPS_PROXY to http://HOST:PORT"
    with contextlib.suppress(ValueError):
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        if parts.scheme.startswith("socks") and not find_spec("socks"):
            message = "the environment names a SOCKS proxy, which needs PySocks: pip install 'requests[socks]'"
        elif parts.scheme in _PROXIES and parts.hostname and parts.port != 0:
            return
    raise ExchangeError(message)


def _look_up(host: str, port: int, seconds: float) -> list[tuple[Any, ...]]:
    """Look a name up within `seconds`: the system's resolver alone can take a minute."""
    found: queue.SimpleQueue[list[tuple[Any, ...]] | Exception] = queue.SimpleQueue()

    def resolve() -> None:
        try:
            found.put([*socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)])
        except Exception as error:  # noqa: BLE001 - raised below
            found.put(error)

    threading.Thread(target=resolve, daemon=True).start()
    try:
        result = found.get(timeout=seconds)
    except queue.Empty as error:
        message = f"DNS does not answer for {host} within {seconds:.3g} s"
        raise Unreachable(message) from error
    if isinstance(result, Exception):
        message = f"the name {host} is not known to DNS ({getattr(result, 'strerror', '') or result})"
        raise Unreachable(message) from result
    return result
