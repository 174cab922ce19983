"""What a client is told when there is no answer: problem documents (RFC 9457), each error with its status.

In: exceptions and failures. Out: responses. A member `error` repeats the detail for clients of the Open Inference
Protocol, which read no other. An unforeseen error says nothing of the server's inside.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from resnest_cli import errors
from resnest_cli.errors import ResnestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response

    from resnest_cli.types import Failure

CLIENT_GONE = 499  # the status that nginx logs
RETRY_AFTER_S = 1  # the queue is emptied in about a second, or the client's next try is refused as cheaply
STATUSES: dict[type[Exception], HTTPStatus] = {
    errors.UsageError: HTTPStatus.BAD_REQUEST,
    errors.UnknownModel: HTTPStatus.NOT_FOUND,
    errors.ImageTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.NotAnImage: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.BrokenImage: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.UnreadableInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.WorkerDied: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.QueueFull: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.OutOfMemory: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DeadlineExceeded: HTTPStatus.GATEWAY_TIMEOUT,
    errors.DecodeTimeout: HTTPStatus.GATEWAY_TIMEOUT,
}


class Problem(Exception):
    """A request that gets no answer.

    Args:
        status: of the response.
        detail: what is wrong, and what to do about it.
        headers: of the response.
    """

    def __init__(self, status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            self.headers.setdefault("Retry-After", str(RETRY_AFTER_S))

    @classmethod
    def of(cls, error: Exception) -> Problem:
        """Return the problem that an exception is."""
        if isinstance(error, cls):
            return error
        if isinstance(error, HTTPException):
            return cls(HTTPStatus(error.status_code), error.detail, error.headers)
        if isinstance(error, ResnestError):
            return cls(status_of(type(error)), str(error))
        return cls(HTTPStatus.INTERNAL_SERVER_ERROR, "a bug of this server; its log names the error.")

    @classmethod
    def of_failure(cls, failure: Failure) -> Problem:
        """Return the problem of an image without an answer."""
        return cls(status_of(type(failure.error)), f"{failure.type}: {failure.message}")

    def response(self) -> Response:
        """Return the document."""
        content = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
            "detail": self.detail,
            "error": self.detail,
        }
        return JSONResponse(content, self.status, self.headers, media_type="application/problem+json")


class ClientGone(Exception):
    """The client has closed the connection: nobody waits for a response."""


def status_of(kind: type[Exception]) -> HTTPStatus:
    """Return the status of a type of error: that of the nearest base that has one."""
    known = (STATUSES[base] for base in kind.__mro__ if base in STATUSES)
    return next(known, HTTPStatus.INTERNAL_SERVER_ERROR)
