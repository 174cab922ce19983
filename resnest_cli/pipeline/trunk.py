"""The trunk that the tasks share: an opened model that turns sources into rows of numbers.

In: a `ModelSpec`, `Options` and a stream of sources. Out: for each source, in order, the engine's row (logits or pooled
features) or a failure. Does not know what the numbers mean, where sources come from or where results go.
"""

from __future__ import annotations

import math
import threading
from concurrent.futures import Future
from contextlib import suppress
from itertools import chain, islice
from queue import Empty, Queue
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from resnest_cli.engines.base import batch_size
from resnest_cli.engines.choose import open_engine
from resnest_cli.pipeline import stream
from resnest_cli.pipeline.decoders import Decoders
from resnest_cli.pipeline.dispatch import Dispatch
from resnest_cli.types import Stages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from resnest_cli.engines.base import Engine
    from resnest_cli.options import Options
    from resnest_cli.types import Failure, ModelSpec, Source

AHEAD = 256  # live rows that nobody has taken yet
Answer = TypeVar("Answer")


class Runner(Protocol):
    """What tasks run on: a `Trunk` on this machine, or a cluster.

    Attributes:
        engine: the opened engine.
        stages: the seconds that all rows have taken so far, by stage.
    """

    engine: Engine
    stages: Stages

    def rows(self, found: Iterable[Source | Failure]) -> Iterator[stream.Row | Failure]:
        """Read, decode and run every source, lazily and in order; a row is float32 [F]."""

    def submit(
        self,
        source: Source | Failure,
        finish: Callable[[stream.Row | Failure], Answer],
        *,
        timeout: float = math.inf,
        block: bool = True,
    ) -> Future[Answer]:
        """Return a future of what `finish` makes of the row; see `Dispatch.submit`."""

    def close(self, *, cancel: bool = False) -> None:
        """Free what it holds. What was submitted is answered first, or with `cancel` cancelled unless it has begun."""


# Opens a `Runner` for "logits" or "features".
RunnerFactory: TypeAlias = "Callable[[ModelSpec, Options, str], Runner]"


class Trunk:
    """An opened model; `close` it.

    Args:
        spec: the model.
        options: how it runs, with which weights.
        want: "logits", or "features" for the pooled ones.
        engine: an engine of your own instead of the one that `options` ask for.
        many: expect more than one image: the workers that decode start while the model opens.
        live: sources come slowly, as from a pipe: each row is there as soon as it can be, before the next source comes.
            They are then found in a thread, and each decoding process has a thread too.
        room: the most sources that are submitted and wait, see `Dispatch`.
        patience_s: how long a batch of submitted sources waits to be fuller, see `Dispatch`.

    Attributes:
        decoders: what makes pixels of sources; their processes live as long as the trunk.
        stages: the seconds that all rows have taken so far, by stage.

    Raises:
        UsageError, WeightsUnavailable, BadCheckpoint, DeviceError: as `open_engine` does.
    """

    def __init__(  # noqa: PLR0913 - all but two by name
        self,
        spec: ModelSpec,
        options: Options,
        *,
        want: str = "logits",
        engine: Engine | None = None,
        many: bool = False,
        live: bool = False,
        room: int | None = None,
        patience_s: float | None = None,
    ) -> None:
        self.spec = spec
        self.options = options
        self.stages = Stages()
        self.decoders = Decoders.of(spec.data, options)
        self._live = live
        self._room, self._patience_s = room, patience_s
        self._lock = threading.Lock()
        self._dispatch: Dispatch | None = None
        try:
            if many and not live:
                self.decoders.start()
            self.engine = engine or open_engine(spec, options, want=want)
            if live:
                self._dispatching()
        except BaseException:
            self.decoders.close()
            raise

    def rows(self, found: Iterable[Source | Failure]) -> Iterator[stream.Row | Failure]:
        """Read, decode and run every source, lazily and in order; a row is float32 [F]."""
        if self._live:
            return self._answered(found)
        return stream.infer(self._decoded(iter(found)), self.engine, self._batch(), self.stages)

    def submit(
        self,
        source: Source | Failure,
        finish: Callable[[stream.Row | Failure], Answer],
        *,
        timeout: float = math.inf,
        block: bool = True,
    ) -> Future[Answer]:
        """Return a future of what `finish` makes of the row; see `Dispatch.submit`."""
        return self._dispatching().submit(source, finish, timeout=timeout, block=block)

    def close(self, *, cancel: bool = False) -> None:
        """Answer all that was submitted, or with `cancel` cancel what has not begun; free the engine's memory."""
        if self._dispatch and self._dispatch.is_ours:
            self._dispatch.close(cancel=cancel)
        self.decoders.close()
        self.engine.close()

    def _dispatching(self) -> Dispatch:
        with self._lock:
            if not (self._dispatch and self._dispatch.is_ours):
                self._dispatch = Dispatch(
                    *(self, self.decoders, self.engine, self._batch(), self.stages),
                    room=self._room,
                    patience_s=self._patience_s,
                )
            return self._dispatch

    def _answered(self, found: Iterable[Source | Failure]) -> Iterator[stream.Row | Failure]:
        """Yield the rows in order, while a thread finds sources and submits them."""
        futures: Queue[Future[stream.Row | Failure] | None] = Queue(AHEAD)
        left = threading.Event()

        def ask() -> None:
            try:
                for source in found:
                    futures.put(self.submit(source, lambda row: row))
                    if left.is_set():
                        return
            except BaseException as error:  # noqa: BLE001 - raised where the rows are asked for
                failed: Future[stream.Row | Failure] = Future()
                failed.set_exception(error)
                futures.put(failed)
            futures.put(None)

        threading.Thread(target=ask, daemon=True, name="resnest sources").start()
        try:
            while (future := futures.get()) is not None:
                yield future.result()
        finally:
            left.set()
            with suppress(Empty):
                while True:
                    if future := futures.get_nowait():
                        future.cancel()

    def _decoded(self, found: Iterator[Source | Failure]) -> Iterator[stream.Decoded]:
        first = list(islice(found, 1 + self._batch()))
        items = chain(first, found)
        self.engine.prepare(single=len(first) <= self._batch())
        del first  # the images that it may carry are not kept for as long as the job takes
        yield from self.decoders.images(items, self.stages)

    def _batch(self) -> int:
        return batch_size(self.options, self.engine)
