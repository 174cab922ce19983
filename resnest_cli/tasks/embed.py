"""Pooled features of pictures: what the network knows before it decides on a class.

In: a stream of sources. Out: for each, in order, its features float32 [F] (timm's `num_classes=0`) or its failure.
Does not know where they are written or what they are compared with.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from resnest_cli.errors import UsageError
from resnest_cli.models import catalog, provenance
from resnest_cli.models.weights import RANDOM
from resnest_cli.pipeline.trunk import Trunk
from resnest_cli.text.jsons import LONGEST_PATH, Entries
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray
    from typing_extensions import Self

    from resnest_cli.engines.base import Engine
    from resnest_cli.options import Options
    from resnest_cli.pipeline.stream import Row
    from resnest_cli.pipeline.trunk import Opener, Runner
    from resnest_cli.types import ModelSpec, Source


class Embedder:
    """An opened model that gives features; use it as a context manager, or `close` it.

    Args:
        options: which model, and how it runs.
        normalize: scale each row to length 1 (L2).
        engine: one of your own, opened for features.
        elsewhere: opens what computes rows instead of this machine.

    Attributes:
        trunk: what turns sources into rows.
        facts: how the features are made: model, weights, preprocessing, engine, versions (JSON values).

    Raises:
        UsageError, UnknownModel: an option or a name that cannot be meant.
        WeightsUnavailable, BadCheckpoint, DeviceError: the model cannot be opened.
    """

    def __init__(
        self,
        options: Options,
        *,
        normalize: bool = False,
        engine: Engine | None = None,
        elsewhere: Opener | None = None,
    ) -> None:
        self.options = options
        self.normalize = normalize
        self.spec = catalog.resolve(options)
        self.trunk: Runner = (
            elsewhere(self.spec, options, "features")
            if elsewhere
            else Trunk(self.spec, options, want="features", engine=engine)
        )
        self.engine = self.trunk.engine
        self.facts = self._facts()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.trunk.close()

    @property
    def width(self) -> int:
        """F, the numbers in a row."""
        return int(self.facts["width"])

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What decides the numbers: the facts but for where the weights lie and what versions are at work."""
        return {name: value for name, value in self.facts.items() if name not in {"weights", "versions"}}

    def embed(self, found: Iterable[Source | Failure]) -> Iterator[Row | Failure]:
        """Return the features of every source, lazily and in order."""
        rows = self.trunk.rows(found)
        return map(scaled, rows) if self.normalize else rows

    def _facts(self) -> dict[str, Any]:
        engine, options = self.engine, self.options
        return {
            "model": _lasting_name(self.spec),
            "architecture": self.spec.architecture,
            "weights": None if options.weights is None else str(Path(options.weights).resolve()),
            "weights_sha256": provenance.origin(self.spec, options, engine),
            "width": engine.width,
            "normalized": self.normalize,
            "preprocessing": {**asdict(self.spec.data), "exif": options.upright},
            "engine": engine.name,
            "precision": engine.precision,
            "versions": provenance.versions(engine),
        }


def options_of(facts: dict[str, Any], now: Options) -> Options:
    """Return the options that open the model of these facts; `now` says how it runs, and where it is if it moved.

    Raises:
        UsageError: the facts are not those of an `Embedder`.
    """
    try:
        given = Entries(facts)
        data = given.inside("preprocessing")
        weights = None if facts["weights"] is None else given.text("weights", longest=LONGEST_PATH)
        is_random = given.text("weights_sha256") == RANDOM and not now.weights
        return replace(
            now,
            model=now.model or given.text("model", longest=LONGEST_PATH),
            weights=None if is_random else now.weights or weights,
            random_weights=is_random,
            img_size=data.values["input_size"][1],
            precision=given.text("precision"),
            exif=data.flag("exif"),
            interpolation=data.text("interpolation"),
            **{key: data.values[key] for key in ("crop_pct", "mean", "std")},
        )
    except (KeyError, TypeError, IndexError, ValueError) as error:
        message = f"the index does not say how it was made ({error}): make it anew with `resnest embed`."
        raise UsageError(message) from error


def scaled(item: Row | Failure) -> Row | Failure:
    """Scale a row to length 1; a failure stays one."""
    return item if isinstance(item, Failure) else replace(item, values=normalized(item.values))


def normalized(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows [..., F] to length 1; a row of zeros stays as it is, one whose length is no number is NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.linalg.norm(values, axis=-1, keepdims=True)
        lengths = np.where(np.isinf(lengths), np.nan, np.where(lengths == 0, 1, lengths))
        return np.asarray(values / lengths, np.float32)


def _lasting_name(spec: ModelSpec) -> str:
    """Return the model's name as it is understood from any folder."""
    return str(spec.folder.resolve()) if spec.folder not in {None, catalog.DIGITS} else spec.name
