"""Download images from http and https URLs, within limits of time, size and address.

In: a URL as typed. Out: its bytes, or an `ImageError`. Stateless, so that any worker can call it. Does not know what
the bytes are.

A list of URLs may come from a stranger, and this machine may reach hosts that the stranger does not. So only public
addresses are connected to, unless the user allows others. The address itself is checked, when it is connected to and at
every redirect, so neither a spelling of it nor a name that changes its address evades the check.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import re
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote, urlsplit, urlunsplit

from resnest_cli.errors import DownloadFailed, UrlRefused
from resnest_cli.net.deadline import Deadline
from resnest_cli.net.errors import ExchangeError, Refused
from resnest_cli.text import redact
from resnest_cli.types import Source

if TYPE_CHECKING:
    Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_BYTES = 100_000_000  # unpacked
DEADLINE_S = 30.0  # for look-ups, redirects and body together
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_UNICAST = ipaddress.ip_network("2000::/3")  # all public unicast addresses of IPv6


def is_url(path: str) -> bool:
    """Return whether an argument is a URL of any scheme, and no existing file."""
    return bool(_SCHEME.match(path)) and not os.path.lexists(path)


def source(url: str) -> Source:
    """Return the source of a URL; its path, which is printed and stored, is redacted."""
    return Source(redact.url(url), url=url)


def read(url: str, *, allow_private: bool = False) -> bytes:
    """Return the bytes of `url`, at most `MAX_BYTES` within `DEADLINE_S`.

    Its user name and password are sent to its host only. With `allow_private`, addresses of this machine and of private
    networks are connected to as well.

    Raises:
        UrlRefused: a scheme, an address or a redirect that is refused.
        DownloadFailed: no response, no success, too slow, too large.
    """
    from resnest_cli.net.exchange import request  # noqa: PLC0415 - requests takes 0.1 s

    try:
        plain, authorization = _split_authorization(url)
        check = None if allow_private else refuse_private
        with request("GET", plain, Deadline(DEADLINE_S), authorization=authorization, check_address=check) as response:
            return response.content(MAX_BYTES)
    except Refused as error:
        message = f"{error}."
        raise UrlRefused(message) from error
    except ExchangeError as error:
        message = f"{error}."
        raise DownloadFailed(message) from error


def refuse_private(address: str) -> None:
    """Raise `UrlRefused` for an address that is not public, and for a name in place of an address."""
    try:
        is_public = _is_public(ipaddress.ip_address(address.partition("%")[0]))
    except ValueError:
        is_public = False
    if not is_public:
        message = f"{address} is not a public address; to allow it, add --allow-private-urls."
        raise UrlRefused(message)


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner:
            return _is_public(inner)
        return address in _UNICAST and address.is_global
    return address.is_global and not address.is_multicast and not address.is_reserved


def _split_authorization(url: str) -> tuple[str, str]:
    """Split a URL into a URL without user name and password, and the value of `Authorization` for them.

    Raises:
        UrlRefused: it is malformed, or of another scheme.
    """
    try:
        parts = urlsplit(url)
        host, _, user = parts.hostname, parts.port, unquote(parts.netloc.rpartition("@")[0]).encode()
    except ValueError as error:
        message = "the URL is malformed."
        raise UrlRefused(message) from error
    if parts.scheme == "file":
        message = f"this is a file of this machine: give its path, {unquote(parts.path)}"
        raise UrlRefused(message)
    if parts.scheme not in {"http", "https"} or not host:
        message = "only http:// and https:// URLs are fetched; download it first."
        raise UrlRefused(message)
    secret = f"Basic {base64.b64encode(user).decode()}" if "@" in parts.netloc else ""
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, place, parts.path, parts.query, "")), secret
