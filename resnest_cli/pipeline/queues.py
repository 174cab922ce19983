"""The two queues of the dispatch: sources that wait to be decoded, and images that wait for the network.

In: requests. Out: requests, in the order in which they came; images in batches. Both are bounded and may be used from
any thread. Knows neither decoders nor engines.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, TypeAlias

from resnest_cli.errors import QueueFull, ResnestError

if TYPE_CHECKING:
    from resnest_cli.pipeline.requests import Request
    from resnest_cli.types import Source

AnyRequest: TypeAlias = "Request[Any]"


class Inbox:
    """Requests that wait to be decoded.

    Args:
        room: the most requests.
        room_bytes: the most bytes of images that they carry; one image always fits.
    """

    def __init__(self, room: int, room_bytes: int) -> None:
        self._room, self._room_bytes = room, room_bytes
        self._lock = threading.Lock()
        self._filled, self._emptied = threading.Condition(self._lock), threading.Condition(self._lock)
        self._waiting: deque[AnyRequest] = deque()
        self._bytes = 0
        self._is_closed = False

    def put(self, request: AnyRequest, *, block: bool) -> None:
        """Add a request; where there is no room, wait for it if `block`.

        Raises:
            QueueFull: there is no room, and `block` is False.
            ResnestError: the inbox is closed.
        """
        size = carried(request.source)
        with self._lock:
            while not self._is_closed and not self._has_room(size):
                if not block:
                    raise QueueFull(f"{len(self._waiting):,} images wait already: submit this one later.")
                self._emptied.wait()
            if self._is_closed:
                raise ResnestError("the model is closed.")
            self._waiting.append(request)
            self._bytes += size
            self._filled.notify()

    def take(self) -> AnyRequest | None:
        """Wait for the next request, and return it; None once the inbox is closed and empty."""
        with self._lock:
            while not self._waiting:
                if self._is_closed:
                    return None
                self._filled.wait()
            request = self._waiting.popleft()
            self._bytes -= carried(request.source)
            self._emptied.notify()
            return request

    def close(self) -> None:
        """Take no more requests; those that wait can still be taken."""
        with self._lock:
            self._is_closed = True
            self._filled.notify_all()
            self._emptied.notify_all()

    def cancel(self) -> None:
        """Cancel every request that waits."""
        with self._lock:
            waiting = list(self._waiting)
        for request in waiting:
            request.future.cancel()

    def _has_room(self, size: int) -> bool:
        return not self._waiting or (len(self._waiting) < self._room and self._bytes + size <= self._room_bytes)


class Ready:
    """Decoded images that wait for the network.

    Args:
        room: the most images; who brings more waits.
        patience: seconds that a batch waits for images that are on their way.
    """

    def __init__(self, room: int, patience: float) -> None:
        self._room, self._patience = room, patience
        self._lock = threading.Lock()
        self._filled, self._emptied = threading.Condition(self._lock), threading.Condition(self._lock)
        self._waiting: deque[AnyRequest] = deque()
        self._coming = 0
        self._is_closed = False

    @property
    def is_idle(self) -> bool:
        """Whether no image waits or is on its way."""
        return not self._waiting and not self._coming

    def expect(self) -> None:
        """Say that an image is on its way."""
        with self._lock:
            self._coming += 1

    def put(self, request: AnyRequest) -> None:
        """Add an image that was expected."""
        with self._lock:
            while len(self._waiting) >= self._room:
                self._emptied.wait()
            self._waiting.append(request)
            self._arrived()

    def miss(self) -> None:
        """Say that an image that was expected does not come."""
        with self._lock:
            self._arrived()

    def take(self, most: int) -> list[AnyRequest]:
        """Wait for images, and return a batch of at most `most`; an empty one once the queue is closed and empty.

        A batch that is not full waits for images that are on their way, for a short time.
        """
        with self._lock:
            while True:
                while not self._waiting:
                    if self._is_closed:
                        return []
                    self._filled.wait()
                end = time.monotonic() + self._patience
                while self._coming and len(self._waiting) < most and (left := end - time.monotonic()) > 0:
                    self._filled.wait(left)
                if self._waiting:  # else another thread took them meanwhile
                    self._emptied.notify_all()
                    return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]

    def close(self) -> None:
        """Say that no more images come."""
        with self._lock:
            self._is_closed = True
            self._filled.notify_all()

    def _arrived(self) -> None:
        self._coming -= 1
        self._filled.notify_all()  # one may wait for an image, another for a full batch


def carried(source: Source) -> int:
    """Return the bytes of the image that a source carries."""
    picture = source.picture
    if picture is None:
        return len(source.content or b"")
    return int(picture.nbytes) if hasattr(picture, "nbytes") else picture.width * picture.height * 4
