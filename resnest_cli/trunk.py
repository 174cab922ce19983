"""The trunk that the tasks share: an opened model that turns sources into rows of numbers.

In: a `ModelSpec`, `Options` and a stream of sources. Out: for each, in order, the engine's row (logits or pooled
features) or its failure. Does not know what the numbers mean, where sources come from or where results go.
"""

from __future__ import annotations

import math
import os
from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING

from resnest_cli import machine, stream
from resnest_cli.engines import open_engine
from resnest_cli.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from resnest_cli.engines import Engine
    from resnest_cli.options import Options
    from resnest_cli.types import Failure, ModelSpec, Source

MAX_AUTO_WORKERS = 8
AHEAD = 4  # images a worker is given before the first is taken from it: hides a slow one, and holds little memory
AHEAD_BYTES = 64 << 20  # ... and what all that may come to, decoded
# Eight workers with a large image each would need gigabytes: what has more pixels than usual is decoded one at a time.
USUAL_PIXELS = 128_000_000
LEAST_USUAL_PIXELS = 32_000_000


class Trunk:
    """An opened model; `close` it.

    Args:
        spec: which model.
        options: how it runs, with which weights.
        want: "logits", or "features" for the pooled ones.
        engine: one of your own instead of what `options` ask for.

    Raises:
        UsageError, WeightsUnavailable, BadCheckpoint, DeviceError: as `open_engine` does.
    """

    def __init__(
        self, spec: ModelSpec, options: Options, *, want: str = "logits", engine: Engine | None = None
    ) -> None:
        self.spec = spec
        self.options = options
        self.engine = engine or open_engine(spec, options, want=want)

    def rows(self, found: Iterable[Source | Failure]) -> Iterator[stream.Row | Failure]:
        """Read, decode and run every source, lazily and in order; a row is float32 [F]."""
        return stream.infer(self._decoded(iter(found)), self.engine, self._batch())

    def close(self) -> None:
        """Give back the engine's memory."""
        self.engine.close()

    def _decoded(self, found: Iterator[Source | Failure]) -> Iterator[stream.Decoded]:
        """Decode in worker processes; a single image, or where there are none to be, in this one."""
        options = self.options
        load = stream.Loader(self.spec.data, options.exif, options.max_pixels, options.allow_private_urls)
        first = list(islice(found, 1 + self._batch()))
        self.engine.prepare(single=len(first) <= self._batch())
        workers = self._workers() if len(first) > 1 and os.name == "posix" else 0
        if workers == 0:
            yield from stream.decode(chain(first, found), load, options.timeout)
            return
        usual = min(options.max_pixels, max(LEAST_USUAL_PIXELS, USUAL_PIXELS // workers))
        ahead = max(1, min(AHEAD, AHEAD_BYTES // (workers * math.prod(self.engine.shape))))
        large = load if usual < options.max_pixels else None
        with Pool(replace(load, max_pixels=usual), workers, timeout=options.timeout, large=large) as pool:
            yield from stream.decode_in(pool, chain(first, found), load, workers * ahead)

    def _batch(self) -> int:
        batch = self.options.batch
        return batch if isinstance(batch, int) else self.engine.best_batch

    def _workers(self) -> int:
        workers = self.options.workers
        return workers if isinstance(workers, int) else min(machine.usable_cores(), MAX_AUTO_WORKERS)
