"""An opened model: what `Classifier` and `Embedder` share.

In: a model's name or `Options`. Out: the model's spec and a runner of its engine, to be closed. Does not know what the
numbers mean.
"""

from __future__ import annotations

import threading
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar

from resnest_cli.engines.base import batch_size
from resnest_cli.errors import UsageError
from resnest_cli.inputs import memory
from resnest_cli.inputs.find import find_sources
from resnest_cli.models import catalog
from resnest_cli.options import Options
from resnest_cli.pipeline.trunk import Trunk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from resnest_cli.engines.base import Engine
    from resnest_cli.inputs.find import Input
    from resnest_cli.options import Keywords
    from resnest_cli.pipeline.trunk import Runner, RunnerFactory
    from resnest_cli.types import Failure, ModelSpec, Source

Inputs: TypeAlias = "Input | Iterable[Input | Source | Failure]"


class OpenedModel:
    """An opened model; use it as a context manager, or `close` it.

    Args:
        spec: the model.
        options: how it runs.
        want: "logits" or "features".
        engine: an engine of your own; None, or a name, which `options` hold already, opens one.
        many: expect more than one image.
        live: sources come slowly, see `pipeline.trunk.Trunk`.
        runner: opens what computes rows instead of this machine.

    Attributes:
        spec: the `ModelSpec` that runs, with its data config (size, crop, interpolation, mean, std).
        options: how it runs.
        trunk: turns sources into rows of numbers.
        engine: the opened engine, with its device and the reason for it.
        stages: the seconds that reading, decoding and the network have taken so far.
    """

    def __init__(  # noqa: PLR0913 - all but two by name
        self,
        spec: ModelSpec,
        options: Options,
        *,
        want: str,
        engine: str | Engine | None,
        many: bool,
        live: bool,
        runner: RunnerFactory | None,
    ) -> None:
        self.spec = spec
        self.options = options
        self.live = live
        own = None if isinstance(engine, str) else engine
        self.trunk: Runner = (
            runner(spec, options, want) if runner else Trunk(spec, options, want=want, engine=own, many=many, live=live)
        )
        self.engine = self.trunk.engine
        self.stages = self.trunk.stages

    def __enter__(self) -> Self:
        """Return the model itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the model; after an exception, cancel what was submitted and has not begun."""
        self._close(cancel=kind is not None)

    @property
    def batch(self) -> int:
        """Images per forward pass."""
        return batch_size(self.options, self.engine)

    def find(
        self, inputs: Inputs, *, recursive: bool = True, exclude: Sequence[str] = ()
    ) -> Iterator[Source | Failure]:
        """Find the images of one input or of many, lazily; see `inputs.find.find_sources`."""
        many: Iterable[Any] = [inputs] if memory.is_one(inputs) else inputs  # type: ignore[assignment]
        return find_sources(many, recursive=recursive, exclude=exclude, max_pixels=self.options.max_pixels)

    def find_one(self, image: Input) -> Iterator[Source | Failure]:
        """Find the one image that an input names or is.

        Raises:
            UsageError: it names more.
        """
        found = list(islice(find_sources([image], max_pixels=self.options.max_pixels), 2))
        if len(found) > 1:
            raise UsageError(f"{image!s}: it names more than one image: predict, embed and write take many.")
        return iter(found)

    def words(self, products: str) -> str:
        """Return a line with the model, the device and why, the engine, and the weights if they were chosen.

        `products` names what comes out, "answers" or "features".
        """
        weights = f", {self.options.weights}" if self.options.weights else ""
        if self.options.random_weights:
            weights = f", random weights (the {products} mean nothing)"
        engine = self.engine
        return f"{self.spec.name} on {engine.device} ({engine.reason}), {engine.name} {engine.precision}{weights}"

    def close(self) -> None:
        """Free the engine's memory. The model cannot be used afterwards."""
        self._close(cancel=False)

    def _close(self, *, cancel: bool) -> None:
        self.trunk.close(cancel=cancel)


class Closable(Protocol):
    """What is closed at its end."""

    def close(self) -> None:
        """Free what it holds."""


_Closable = TypeVar("_Closable", bound=Closable)


class Once(Generic[_Closable]):
    """What is opened when it is first asked for, once for all threads, and closed with its owner."""

    def __init__(self, opener: Callable[[], _Closable]) -> None:
        self._opener, self._lock = opener, threading.Lock()
        self._opened: _Closable | None = None
        self._is_closed = False

    def get(self) -> _Closable:
        """Return it.

        Raises:
            UsageError: its owner is closed.
        """
        with self._lock:
            if self._is_closed:
                raise UsageError("it is closed: open it again.")
            self._opened = self._opened or self._opener()
            return self._opened

    def close(self) -> None:
        """Close it, if it was opened."""
        with self._lock:
            opened, self._opened, self._is_closed = self._opened, None, True
        if opened:
            opened.close()


def settled(model: str | Options, engine: str | Engine | None, changes: Keywords) -> tuple[ModelSpec, Options]:
    """Return the model and the options that arguments name.

    Raises:
        TypeError: a keyword that is no field of `Options`.
        UsageError, UnknownModel: an option or a name that cannot be meant.
    """
    named = {"engine": engine} if isinstance(engine, str) else {}
    options = Options.of(model, named | changes)
    return catalog.resolve(options), options
