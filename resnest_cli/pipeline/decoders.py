"""The decoders of a model: worker processes that live as long as it does, and this process for a lone image.

In: sources. Out: per source, in order, its pixels or its failure. Knows no engine.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Protocol

from resnest_cli.errors import ResnestError
from resnest_cli.inputs import loading
from resnest_cli.pipeline import stream
from resnest_cli.system import machine

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from typing_extensions import Self

    from resnest_cli.inputs.loading import Loaded
    from resnest_cli.inputs.pool import Pool
    from resnest_cli.options import Options
    from resnest_cli.types import DataConfig, Failure, Source, Stages

MAX_AUTO_WORKERS = 8
AHEAD = 4  # images queued per worker: hides a slow image, and holds little memory
AHEAD_BYTES = 64 << 20  # ... and the most that all of them may take, decoded

_log = logging.getLogger(__name__)


class Load(loading.Limited, Protocol):
    """What makes pixels of a source."""

    @property
    def data(self) -> DataConfig:
        """The shape of the pixels."""


class Decoders:
    """Decodes sources in order; use it as a context manager, or `close` it.

    The processes start with the first call that brings two images, or with `start`. Several threads may call `images`
    at the same time: each call has processes of its own.

    Args:
        load: what is made of a source.
        workers: the number of processes; 0 decodes in this one.
        timeout: seconds per image.
    """

    def __init__(self, load: Load, workers: int, timeout: float) -> None:
        self.load, self.workers, self.timeout = load, workers, timeout
        shape = math.prod(load.data.input_size)
        self._ahead = workers * max(1, min(AHEAD, AHEAD_BYTES // (max(1, workers) * shape)))
        self._lock = threading.Lock()
        self._idle: Pool | None = None

    @classmethod
    def of(cls, data: DataConfig, options: Options) -> Decoders:
        """Return the decoders for these options."""
        if os.name != "posix" and options.workers not in {"auto", 0}:
            _log.warning("-j %s: this system decodes in one process", options.workers)
        return cls(loading.Loader.of(data, options), count(options.workers), options.timeout)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def start(self) -> None:
        """Start the processes, which takes them a tenth of a second, before the first images come."""
        if self.workers:
            self._keep(self._take().start())

    def images(self, found: Iterable[Source | Failure], stages: Stages | None = None) -> Iterator[stream.Decoded]:
        """Yield the pixels of each source, uint8 [height, width, 3], or its failure; times are added to `stages`."""
        found = iter(found)
        first = list(islice(found, 2))
        is_one, items = len(first) < 2, chain(first, found)  # noqa: PLR2004 - it is not worth the start of a process
        del first  # the images that it may carry are not kept for as long as the job takes
        if is_one or not self.workers:
            yield from stream.decode(items, self.load, self.timeout, stages)
            return
        pool = self._take()
        try:
            yield from stream.decode_in_pool(pool, items, self.load, self._ahead, stages)
        except BaseException:  # what is still on its way would be taken for what comes next
            pool.close()
            raise
        self._keep(pool)

    @contextmanager
    def one(self) -> Iterator[One]:
        """Yield what decodes one source after the other, for a thread: in a process of its own, if there are any."""
        if not self.workers:
            yield One(self.load, self.timeout, None)
            return
        with loading.pool_of(self.load, 1, self.timeout, of=self.workers) as pool:
            with suppress(ResnestError):  # the first image will say that no process can be started
                pool.start()
            yield One(self.load, self.timeout, pool)

    def close(self) -> None:
        """End the processes."""
        with self._lock:
            pool, self._idle = self._idle, None
        if pool:
            pool.close()

    def _take(self) -> Pool:
        """Return processes that nobody uses, of this process: a fork has to start its own."""
        with self._lock:
            pool, self._idle = self._idle, None
        return pool if pool and pool.is_ours() else loading.pool_of(self.load, self.workers, self.timeout)

    def _keep(self, pool: Pool) -> None:
        with self._lock:
            spare, self._idle = self._idle, pool
        if spare:
            spare.close()


@dataclass(frozen=True)
class One:
    """Decodes one source after the other; standard input and pictures here, as in `stream.decode_in_pool`."""

    load: Load
    timeout: float
    pool: Pool | None

    def __call__(self, source: Source) -> Loaded:
        """Return the pixels of a source, or raise what is wrong with it."""
        loaded: Loaded
        if self.pool is None:
            loaded = stream.load_within(self.load, source, self.timeout)
        elif stream.is_here(source):
            loaded = self.load(source)
        else:
            loaded = self.pool.result(self.pool.submit(source))
        return loaded

    @property
    def replaced(self) -> int:
        """How many processes have been killed or have crashed, and have a successor."""
        return self.pool.replaced if self.pool else 0


def count(wanted: int | str) -> int:
    """Return how many processes decode, for `-j`."""
    if os.name != "posix":
        return 0
    return wanted if isinstance(wanted, int) else min(machine.usable_cores(), MAX_AUTO_WORKERS)
