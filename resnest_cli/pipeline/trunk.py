"""The trunk that the tasks share: an opened model that turns sources into rows of numbers.

In: a `ModelSpec`, `Options` and a stream of sources. Out: for each source, in order, the engine's row (logits or pooled
features) or a failure. Does not know what the numbers mean, where sources come from or where results go.
"""

from __future__ import annotations

import logging
import math
import os
from contextlib import ExitStack
from itertools import chain, islice
from typing import TYPE_CHECKING, Protocol, TypeAlias

from resnest_cli.engines.base import batch_size
from resnest_cli.engines.choose import open_engine
from resnest_cli.inputs import loading
from resnest_cli.pipeline import stream
from resnest_cli.system import machine
from resnest_cli.types import Stages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from resnest_cli.engines.base import Engine
    from resnest_cli.inputs.pool import Pool
    from resnest_cli.options import Options
    from resnest_cli.types import Failure, ModelSpec, Source

MAX_AUTO_WORKERS = 8
AHEAD = 4  # images queued per worker: hides a slow image, and holds little memory
AHEAD_BYTES = 64 << 20  # ... and the most that all of them may take, decoded

_log = logging.getLogger(__name__)


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

    def close(self) -> None:
        """Free what it holds."""


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
        lasting: keep the workers from one call of `rows` to the next.

    Attributes:
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
        lasting: bool = False,
    ) -> None:
        self.spec = spec
        self.options = options
        self.stages = Stages()
        self._load = loading.Loader.of(spec.data, options)
        self._lasting = lasting
        if os.name != "posix" and options.workers not in {"auto", 0}:
            _log.warning("-j %s: this system decodes in one process", options.workers)
        self._pool = self._workers_to_be().start() if many and self._workers() else None
        try:
            self.engine = engine or open_engine(spec, options, want=want)
        except BaseException:
            self._stop_workers()
            raise

    def rows(self, found: Iterable[Source | Failure]) -> Iterator[stream.Row | Failure]:
        """Read, decode and run every source, lazily and in order; a row is float32 [F]."""
        return stream.infer(self._decoded(iter(found)), self.engine, self._batch(), self.stages)

    def close(self) -> None:
        """Stop the workers and free the engine's memory."""
        self._stop_workers()
        self.engine.close()

    def _decoded(self, found: Iterator[Source | Failure]) -> Iterator[stream.Decoded]:
        """Decode in worker processes; a single image, or any with `-j 0`, in this process."""
        first = list(islice(found, 1 + self._batch()))
        count, items = len(first), chain(first, found)
        del first  # the images that it may carry are not kept for as long as the job takes
        self.engine.prepare(single=count <= self._batch())
        if count <= 1 or not self._workers():
            yield from stream.decode(items, self._load, self.options.timeout, self.stages)
            return
        pool, self._pool = self._pool or self._workers_to_be(), None
        ahead = max(1, min(AHEAD, AHEAD_BYTES // (self._workers() * math.prod(self.engine.shape))))
        with ExitStack() as ends:
            ends.enter_context(pool)
            yield from stream.decode_in_pool(pool, items, self._load, self._workers() * ahead, self.stages)
            if self._lasting:  # every queued image was consumed, so the pool is reusable
                self._pool = pool
                ends.pop_all()

    def _workers_to_be(self) -> Pool:
        return loading.pool_of(self._load, self._workers(), self.options.timeout)

    def _stop_workers(self) -> None:
        if self._pool:
            self._pool.close()

    def _batch(self) -> int:
        return batch_size(self.options, self.engine)

    def _workers(self) -> int:
        if os.name != "posix":
            return 0
        workers = self.options.workers
        return workers if isinstance(workers, int) else min(machine.usable_cores(), MAX_AUTO_WORKERS)
