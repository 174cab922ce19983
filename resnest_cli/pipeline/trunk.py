"""The trunk that the tasks share: an opened model that turns sources into rows of numbers.

In: a `ModelSpec`, `Options` and a stream of sources. Out: for each source, in order, the engine's row (logits or pooled
features) or a failure. Does not know what the numbers mean, where sources come from or where results go.
"""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING, Protocol, TypeAlias

from resnest_cli.engines.base import batch_size
from resnest_cli.engines.choose import open_engine
from resnest_cli.pipeline import stream
from resnest_cli.pipeline.decoders import Decoders
from resnest_cli.types import Stages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from resnest_cli.engines.base import Engine
    from resnest_cli.options import Options
    from resnest_cli.types import Failure, ModelSpec, Source


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

    Attributes:
        decoders: what makes pixels of sources; their processes live as long as the trunk.
        stages: the seconds that all rows have taken so far, by stage.

    Raises:
        UsageError, WeightsUnavailable, BadCheckpoint, DeviceError: as `open_engine` does.
    """

    def __init__(
        self,
        spec: ModelSpec,
        options: Options,
        *,
        want: str = "logits",
        engine: Engine | None = None,
        many: bool = False,
    ) -> None:
        self.spec = spec
        self.options = options
        self.stages = Stages()
        self.decoders = Decoders.of(spec.data, options)
        try:
            if many:
                self.decoders.start()
            self.engine = engine or open_engine(spec, options, want=want)
        except BaseException:
            self.decoders.close()
            raise

    def rows(self, found: Iterable[Source | Failure]) -> Iterator[stream.Row | Failure]:
        """Read, decode and run every source, lazily and in order; a row is float32 [F]."""
        return stream.infer(self._decoded(iter(found)), self.engine, self._batch(), self.stages)

    def close(self) -> None:
        """Stop the workers and free the engine's memory."""
        self.decoders.close()
        self.engine.close()

    def _decoded(self, found: Iterator[Source | Failure]) -> Iterator[stream.Decoded]:
        first = list(islice(found, 1 + self._batch()))
        items = chain(first, found)
        self.engine.prepare(single=len(first) <= self._batch())
        del first  # the images that it may carry are not kept for as long as the job takes
        yield from self.decoders.images(items, self.stages)

    def _batch(self) -> int:
        return batch_size(self.options, self.engine)
