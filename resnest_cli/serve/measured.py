"""A trunk whose images and batches are counted and timed.

In: as for `pipeline.trunk`. Out: the same, and numbers for `metrics`. The decoders and the engine are wrapped: they
know of no measurement.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from resnest_cli.pipeline.trunk import Trunk
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    import numpy as np
    from numpy.typing import NDArray

    from resnest_cli.engines.base import Engine
    from resnest_cli.inputs.loading import Loaded
    from resnest_cli.options import Options
    from resnest_cli.pipeline.decoders import Decoders
    from resnest_cli.serve.metrics import Metrics
    from resnest_cli.types import ModelSpec, Source


class MeasuredTrunk(Trunk):
    """A `Trunk` whose submitted images are measured; the arguments are those of `Trunk`."""

    def __init__(self, metrics: Metrics, spec: ModelSpec, options: Options, **how: Any) -> None:  # noqa: ANN401 - passed on
        super().__init__(spec, options, **how)
        self._metrics = metrics
        self.decoders = cast("Decoders", _Decoders(self.decoders, metrics))
        self.engine = cast("Engine", _Engine(self.engine, metrics))

    def submit(self, *what: Any, **how: Any) -> Future[Any]:  # noqa: ANN401 - passed on
        """Return a future of an answer; see `Trunk.submit`."""
        begun = time.perf_counter()
        future = super().submit(*what, **how)
        self._metrics.waiting.inc()
        future.add_done_callback(lambda done: self._ended(done, begun))
        return future

    def _ended(self, future: Future[Any], begun: float) -> None:
        self._metrics.waiting.dec()
        if future.cancelled() or future.exception():
            return
        self._metrics.stages.labels("answer").observe(time.perf_counter() - begun)
        if isinstance(future.result(), Failure):
            self._metrics.failures.labels(future.result().type).inc()


class _Decoders:
    """Decoders that time each image, and count the processes that an image has killed."""

    def __init__(self, decoders: Decoders, metrics: Metrics) -> None:
        self._decoders, self._replaced = decoders, metrics.replaced
        self._seconds = metrics.stages.labels("decode")

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - of the decoders
        return getattr(self._decoders, name)

    @contextmanager
    def one(self) -> Iterator[Callable[[Source], Loaded]]:
        with self._decoders.one() as load:

            def timed(source: Source) -> Loaded:
                before = load.replaced
                try:
                    with self._seconds.time():
                        return load(source)
                finally:
                    self._replaced.inc(load.replaced - before)

            yield timed


class _Engine:
    """An engine that counts and times its batches."""

    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        self._engine, self._sizes, self._seconds = engine, metrics.batch, metrics.stages.labels("forward")

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - of the engine
        return getattr(self._engine, name)

    def submit(self, batch: NDArray[np.uint8]) -> Future[NDArray[np.float32]]:
        begun = time.perf_counter()
        self._sizes.observe(len(batch))
        future = self._engine.submit(batch)
        future.add_done_callback(lambda _: self._seconds.observe(time.perf_counter() - begun))
        return future
