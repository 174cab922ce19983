"""The trunk that the tasks share: an opened model that turns sources into rows of numbers.

In: a `ModelSpec`, `Options` and a stream of sources. Out: for each, in order, the engine's row (logits or pooled
features) or its failure. Does not know what the numbers mean, where sources come from or where results go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnest_cli import images, machine, sources, stream
from resnest_cli.engines import open_engine

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from resnest_cli.engines import Engine
    from resnest_cli.options import Options
    from resnest_cli.types import Failure, ModelSpec, Source

MAX_AUTO_WORKERS = 8


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
        decoded = stream.decode(found, self._load, self._workers())
        return stream.infer(decoded, self.engine, self._batch())

    def close(self) -> None:
        """Give back the engine's memory."""
        self.engine.close()

    def _load(self, source: Source) -> NDArray[np.uint8]:
        content = sources.read(source, allow_private=self.options.allow_private_urls)
        return images.load(content, self.spec.data, exif=self.options.exif)

    def _batch(self) -> int:
        batch = self.options.batch
        return batch if isinstance(batch, int) else self.engine.best_batch

    def _workers(self) -> int:
        workers = self.options.workers
        return workers if isinstance(workers, int) else min(machine.usable_cores(), MAX_AUTO_WORKERS)
