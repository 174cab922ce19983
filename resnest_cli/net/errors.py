"""Why an HTTP exchange failed, in words. Standard library only: whoever catches it need not load `requests`."""

from __future__ import annotations

MAX_WORDS = 500  # characters of a cause: a server may put 64 KB into a header, and each row repeats the cause


class ExchangeError(Exception):
    """An exchange that failed.

    Attributes:
        retry: whether another try may help, ...
        wait_s: ... after that many seconds.
        status: the HTTP status of the response, 0 without one.
    """

    def __init__(self, cause: str, *, retry: bool = False, status: int = 0, wait_s: float = 0.0) -> None:
        super().__init__(cause if len(cause) <= MAX_WORDS else f"{cause[:MAX_WORDS]}...")
        self.retry = retry
        self.status = status
        self.wait_s = wait_s


class Unreachable(ExchangeError):
    """No connection was made: there is no network, no such name, or no server that listens."""


class Refused(ExchangeError):
    """No request was sent: a redirect that is not followed, or a malformed URL."""
