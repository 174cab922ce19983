"""What an exception of requests, urllib3 or http.client means, as an `ExchangeError`.

In: an exception. Out: its cause in words of our own: the libraries' text can hold a whole URL with its secrets.
"""

from __future__ import annotations

from http.client import HTTPException, IncompleteRead, RemoteDisconnected
from typing import TYPE_CHECKING

import requests
import urllib3

from resnest_cli.net.errors import ExchangeError, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_HTTP = (HTTPException, ValueError, urllib3.exceptions.InvalidHeader, requests.exceptions.InvalidHeader)


def as_exchange_error(error: Exception, read_s: float) -> ExchangeError:
    """Return the `ExchangeError` of a library's exception; `read_s` is the timeout between two bytes, in seconds."""
    chain = [*_chain(error)]
    if any(isinstance(item, urllib3.exceptions.ProxyError) for item in chain):
        return ExchangeError(f"the proxy refuses: {chain[-1]}")
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.MissingSchema | UnicodeError):
        return Refused("the URL is malformed")
    if any(isinstance(item, urllib3.exceptions.SSLError | requests.exceptions.SSLError) for item in chain):
        return ExchangeError(f"the secure connection failed: {chain[-1]}")
    return _lost(chain, read_s)


def connect_cause(error: Exception) -> str:
    """Return why a connection to one address failed."""
    if isinstance(error, TimeoutError):
        return "no answer to the connection"
    return (getattr(error, "strerror", None) or str(error)).lower()


def _lost(chain: list[BaseException], read_s: float) -> ExchangeError:
    """Return how a connection ended, or what came over it that is not HTTP; a retry may help."""
    if any(isinstance(item, TimeoutError | urllib3.exceptions.ReadTimeoutError) for item in chain):
        return ExchangeError(f"the server was silent for {read_s:.3g} s", retry=True)
    if any(isinstance(item, urllib3.exceptions.IncompleteRead | IncompleteRead) for item in chain):
        return ExchangeError("the connection was cut before the end", retry=True)
    if any(isinstance(item, _NO_HTTP) and not isinstance(item, RemoteDisconnected) for item in chain):
        return ExchangeError(f"the server does not answer in HTTP ({type(chain[-1]).__name__})", retry=True)
    return ExchangeError(f"the connection was lost ({type(chain[-1]).__name__})", retry=True)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and those it came from, as urllib3 links them: by cause, context or argument."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        inner = [arg for arg in error.args if isinstance(arg, BaseException)]
        reason = getattr(error, "reason", None)
        following = reason if isinstance(reason, BaseException) else next(iter(inner), None)
        error = following or error.__cause__ or error.__context__
