"""The live side of the trunk: sources come one by one, from any thread, and each gets a future of its answer.

In: sources. Out: per source a future, settled as soon as its row is there, in whatever order. Threads take sources to
the decoders, images to the engine in batches, and rows to their futures. All that waits is bounded. Does not know what
the rows mean.

When the input pauses, nothing waits: a batch that is not full starts at once, unless images are on their way.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import threading
import time
import weakref
from functools import cache, partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from resnest_cli.pipeline import stream
from resnest_cli.pipeline.queues import AnyRequest, Inbox, Ready
from resnest_cli.pipeline.requests import Deadlines, Request
from resnest_cli.types import Failure, Source, Stages

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from resnest_cli.engines.base import Engine
    from resnest_cli.inputs.loading import Loaded
    from resnest_cli.pipeline.decoders import Decoders

ROOM = 1024  # sources that wait
ROOM_BYTES = 256 << 20  # of the images that they carry
PATIENCE_S = 0.002  # a batch that is not full waits so long for images that are being decoded

Answer = TypeVar("Answer")
_log = logging.getLogger(__name__)
_running: weakref.WeakSet[Dispatch] = weakref.WeakSet()


class Dispatch:
    """Answers sources as they come; `close` it.

    Args:
        owner: whom it serves; when nobody holds it any more, the threads end.
        decoders: make pixels of sources; a thread each takes sources to a process.
        engine: makes rows of pixels.
        batch: the most images per forward pass; less when memory is short.
        stages: the times are added to it.
        room: the most sources that wait; None: `ROOM`.
        patience_s: how long a batch that is not full waits for images that are being decoded; None: `PATIENCE_S`.
    """

    def __init__(  # noqa: PLR0913 - the last two by name
        self,
        owner: object,
        decoders: Decoders,
        engine: Engine,
        batch: int,
        stages: Stages,
        *,
        room: int | None = None,
        patience_s: float | None = None,
    ) -> None:
        self._decoders, self._engine, self._batch, self._stages = decoders, engine, batch, stages
        self._inbox = Inbox(ROOM if room is None else room, ROOM_BYTES)
        self._ready = Ready(2 * max(batch, engine.slots), PATIENCE_S if patience_s is None else patience_s)
        self._deadlines = Deadlines()
        self._process = os.getpid()
        self._turn = threading.Lock()
        self._under_way, self._since = 0, 0.0
        engine.prepare(single=True)
        self._decoding, self._forwarding = max(1, decoders.workers), engine.slots
        work = [self._decode] * self._decoding + [self._forward] * self._forwarding
        self._threads = [threading.Thread(target=target, daemon=True, name="resnest dispatch") for target in work]
        for thread in self._threads:
            thread.start()
        weakref.finalize(owner, self.abandon).atexit = False
        _running.add(self)
        _end_at_exit()

    @property
    def is_ours(self) -> bool:
        """Whether this process has started it: its threads are not in a fork."""
        return self._process == os.getpid()

    def submit(
        self,
        source: Source | Failure,
        finish: Callable[[stream.Row | Failure], Answer],
        *,
        timeout: float = math.inf,
        block: bool = True,
    ) -> Future[Answer]:
        """Return a future of the answer.

        Args:
            source: what is asked about; a `Failure` is answered at once.
            finish: makes the answer of a row, float32 [F], or of a failure; in another thread.
            timeout: seconds; after them the answer is a `DeadlineExceeded` failure.
            block: wait for room where too many sources wait.

        Raises:
            QueueFull: too many sources wait, and `block` is False.
            ResnestError: it is closed.
        """
        if isinstance(source, Failure):
            return _settled(source, finish)
        request = Request(source, finish, timeout)
        self._ready.expect()
        try:
            self._inbox.put(request, block=block)
        except BaseException:
            self._ready.miss()
            raise
        if timeout < math.inf:
            self._deadlines.add(request)
        return request.future

    def close(self, *, cancel: bool = False) -> None:
        """Answer all that was submitted, and end; with `cancel`, cancel what has not begun."""
        self._inbox.close()
        if cancel:
            self._inbox.cancel()
        for thread in self._threads:
            if thread is not threading.current_thread():  # a callback of a future closes it
                thread.join()

    def abandon(self) -> None:
        """Cancel what has not begun, and do not wait for the threads: nobody has closed it."""
        self._inbox.close()
        self._inbox.cancel()

    # --- threads that decode

    def _decode(self) -> None:
        with self._decoders.one() as load:
            while (request := self._inbox.take()) is not None:
                self._decode_one(request, load)
                del request  # its image is not kept until the next one comes
        with self._turn:
            self._decoding -= 1
            if not self._decoding:
                self._ready.close()

    def _decode_one(self, request: AnyRequest, load: Callable[[Source], Loaded]) -> None:
        decoded = self._decoded(request, load) if request.is_wanted() else None
        if isinstance(decoded, stream.Pixels):
            request.pixels = decoded
            self._ready.put(request)
            return
        self._ready.miss()
        if decoded is not None:
            request.settle(decoded)

    def _decoded(self, request: AnyRequest, load: Callable[[Source], Loaded]) -> stream.Decoded | None:
        stages = Stages()
        try:
            return stream.decoded(request.source, partial(load, request.source), stages)
        except Exception as error:  # noqa: BLE001 - no process can be started: raised where the answer is asked for
            request.fail(error)
            return None
        finally:
            with self._turn:
                self._stages.read += stages.read
                self._stages.decode += stages.decode

    # --- threads that run the network

    def _forward(self) -> None:
        while batch := self._ready.take(self._batch):
            self._answer(batch)
            del batch  # as above
        with self._turn:
            self._forwarding -= 1
            if not self._forwarding:
                self._deadlines.close()

    def _answer(self, batch: list[AnyRequest]) -> None:
        """Answer all requests of a batch; where memory is short, one half after the other."""
        batch = [request for request in batch if request.begin()]
        images = [request.pixels for request in batch if request.pixels]
        if not images:
            return
        try:
            rows = self._rows(np.stack([image.values for image in images]))
        except MemoryError as error:
            if len(batch) > 1:
                half = len(batch) // 2  # not the limit, which other threads change too
                self._batch = min(self._batch, half)
                _log.info("out of memory: continuing with batches of %d", self._batch)
                self._answer(batch[:half])
                self._answer(batch[half:])
                return
            batch[0].fail(stream.no_memory(self._engine, error))
        except Exception as error:  # noqa: BLE001 - of the device: raised where an answer is asked for
            for request in batch:
                request.fail(error)
        else:
            for request, image, row in zip(batch, images, rows, strict=True):
                done = stream.Row(image.path, row, image.thumbnail, image.exif)
                request.settle(stream.check_finite(done, self._engine.precision))

    def _rows(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run a batch; alone on the device, it gets the whole device."""
        with self._turn:
            self._engine.prepare(single=not self._under_way and self._ready.is_idle)
            if not self._under_way:
                self._since = time.perf_counter()
            self._under_way += 1
        try:
            return self._engine.submit(pixels).result()
        finally:
            with self._turn:
                self._under_way -= 1
                if not self._under_way:
                    self._stages.forward += time.perf_counter() - self._since


def _settled(failure: Failure, finish: Callable[[stream.Row | Failure], Answer]) -> Future[Answer]:
    request = Request(Source(failure.path), finish)
    request.settle(failure)
    return request.future


@cache
def _end_at_exit() -> None:
    """Close what runs before the interpreter ends: its threads may be in a library's code, and would crash there.

    What is registered last runs first, so this comes before `weakref` ends the processes that decode.
    """
    atexit.register(_close_all)


def _close_all() -> None:
    for dispatch in list(_running):
        if dispatch.is_ours:
            dispatch.close(cancel=True)
