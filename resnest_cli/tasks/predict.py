"""The first task: what is on these pictures? `Classifier` joins sources, the trunk and class names.

In: files, folders, patterns, URLs. Out: a stream of records in the same order, one for each input, good or bad. Does
not know where records are written.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from resnest_cli.errors import UsageError
from resnest_cli.inputs.find import find_sources
from resnest_cli.models import catalog, labels
from resnest_cli.options import DEFAULT_TOPK, Options
from resnest_cli.pipeline.trunk import Trunk
from resnest_cli.types import Failure, Prediction, Result

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType

    from numpy.typing import NDArray
    from typing_extensions import Self

    from resnest_cli.engines.base import Engine
    from resnest_cli.models.labels import Labels
    from resnest_cli.pipeline.stream import Row
    from resnest_cli.pipeline.trunk import Opener, Runner
    from resnest_cli.types import Record, Source


class Classifier:
    """An opened model that classifies images; use it as a context manager, or `close` it.

    Args:
        model: variant ("resnest101e"), tagged name, "digits", a model folder or "hf-hub:OWNER/REPO"; or `Options`.
        engine: "auto", "openvino" or "torch", or an `Engine` of your own (a `FakeEngine` in tests).
        many: more than one image is to come: the processes that decode them start while the model is opened.
        elsewhere: opens what computes rows instead of this machine.
        **changes: every other field of `Options`, such as `device="cpu"`.

    Attributes:
        spec: the `ModelSpec` that runs, with its data config (size, crop, interpolation, mean, std).
        labels: class names and WordNet ids by class index.
        trunk: what turns sources into rows.
        engine: the opened engine, with its device and the reason for it.
        stages: the seconds that reading, decoding and the network have taken so far.

    Raises:
        UsageError, UnknownModel: an option or a name that cannot be meant.
        WeightsUnavailable, BadCheckpoint, LabelsError, DeviceError: the model cannot be opened.
    """

    def __init__(
        self,
        model: str | Options = Options.model,
        *,
        engine: str | Engine | None = None,
        many: bool = False,
        elsewhere: Opener | None = None,
        **changes: Any,  # noqa: ANN401 - each is a field of Options
    ) -> None:
        options = model if isinstance(model, Options) else Options(model=model)
        if isinstance(engine, str):
            changes["engine"] = engine
        self.options = replace(options, **changes)
        self.spec = catalog.resolve(self.options)
        self.labels = labels.load(self.spec, self.options.labels)
        own = None if isinstance(engine, str) else engine
        self.trunk: Runner = (
            elsewhere(self.spec, self.options, "logits")
            if elsewhere
            else Trunk(self.spec, self.options, engine=own, many=many)
        )
        self.engine = self.trunk.engine
        self.stages = self.trunk.stages

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Give back the engine's memory. The classifier cannot be used afterwards."""
        self.trunk.close()

    def predict(
        self,
        inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        topk: int = DEFAULT_TOPK,
        threshold: float = 0.0,
        recursive: bool = True,
        exclude: Sequence[str] = (),
    ) -> Iterator[Record]:
        """Classify every image named or found, lazily and in order.

        Args:
            inputs: one or many of files, folders, glob patterns, http(s) URLs, or "-" for one image on stdin.
            topk: how many classes an answer has at most; more than there are gives all.
            threshold: keep only classes with at least this probability, 0..1.
            recursive: look into the folders of folders.
            exclude: patterns of what to leave out of folders, such as "*_mask.png" or "raw".

        Returns:
            An iterator of one record for each image: a `Result`, or a `Failure` where there is no answer. Probabilities
            are the float32 softmax over all classes; equal ones come in the order of their class index.

        Raises:
            UsageError: `topk` below 1 or `threshold` outside 0..1.
        """
        if isinstance(inputs, (str, os.PathLike)):
            inputs = [inputs]
        return self.classify(find_sources(inputs, recursive=recursive, exclude=exclude), topk=topk, threshold=threshold)

    def classify(
        self, found: Iterable[Source | Failure], *, topk: int = DEFAULT_TOPK, threshold: float = 0.0
    ) -> Iterator[Record]:
        """Classify what was found already; the rest is as for `predict`."""
        return map(self.ranking(topk, threshold), self.trunk.rows(found))

    def columns(self, topk: int) -> int:
        """Tell how many classes an answer can have: `topk`, or all there are."""
        return min(topk, self.spec.num_classes)

    def ranking(self, topk: int, threshold: float) -> Ranking:
        """Return what turns a row into a record.

        Raises:
            UsageError: `topk` below 1 or `threshold` outside 0..1.
        """
        if topk < 1 or not 0 <= threshold <= 1:
            message = f"--topk {topk} --threshold {threshold}: use at least 1, and a probability from 0 to 1."
            raise UsageError(message)
        return Ranking(self.labels, topk, threshold)


@dataclass(frozen=True)
class Ranking:
    """Turns a row of logits into the record of its best classes; a value, so that another machine can do it."""

    labels: Labels
    topk: int
    threshold: float

    def __call__(self, item: Row | Failure) -> Record:
        """Return the record; a failure stays one."""
        if isinstance(item, Failure):
            return item
        return Result(item.path, self._best(item.values), thumbnail=item.thumbnail)

    def _best(self, logits: NDArray[np.float32]) -> tuple[Prediction, ...]:
        probabilities = softmax(logits)
        best = np.argsort(-logits, kind="stable")[: self.topk]
        return tuple(
            Prediction(rank, int(i), self.labels.wnids[i], self.labels.names[i], _exact(probabilities[i]))
            for rank, i in enumerate(best, 1)
            if probabilities[i] >= self.threshold
        )


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn logits [C] into probabilities [C], float32; the largest is subtracted first so that nothing overflows."""
    powers = np.exp(logits - logits.max())
    probabilities: NDArray[np.float32] = powers / powers.sum()
    return probabilities


def _exact(value: np.float32) -> float:
    """Return the float whose shortest decimal form is that of the float32: 0.1, not 0.10000000149011612."""
    return float(str(value))
