"""The models that a server has opened, by name.

In: names and options. Out: a `Classifier` each, whose queue and batches have the server's limits. Knows no HTTP.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from resnest_cli.errors import UnknownModel, UsageError
from resnest_cli.serve.measured import MeasuredTrunk
from resnest_cli.tasks.predict import Classifier

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resnest_cli.engines.base import Engine
    from resnest_cli.options import Options
    from resnest_cli.serve.metrics import Metrics
    from resnest_cli.serve.options import ServeOptions
    from resnest_cli.types import ModelSpec

    Models = Mapping[str, Classifier]


@contextmanager
def opened(settings: ServeOptions, options: Options, metrics: Metrics) -> Iterator[dict[str, Classifier]]:
    """Yield the models by name, in the order in which the settings name them, each warm; close them in the end.

    Raises:
        UsageError: two models have one name.
        ResnestError: a model cannot be opened.
    """
    with ExitStack() as stack:
        models: dict[str, Classifier] = {}
        for name in settings.model:
            model = stack.enter_context(open_one(settings, replace(options, model=name), metrics))
            if models.setdefault(model.spec.name, model) is not model:
                raise UsageError(
                    f"-m {name}: another model has the name {model.spec.name} too: serve it on another port."
                )
        yield models


def open_one(settings: ServeOptions, options: Options, metrics: Metrics, engine: Engine | None = None) -> Classifier:
    """Open a model, or one with an engine of your own, and run it once: the first request must not wait for that."""
    options = replace(options, batch=settings.max_batch, timeout=settings.timeout)

    def trunk(spec: ModelSpec, options: Options, want: str) -> MeasuredTrunk:
        how = {"want": want, "engine": engine, "room": settings.queue, "patience_s": settings.max_wait_ms / 1000}
        return MeasuredTrunk(metrics, spec, options, **how)

    model = Classifier(options, runner=trunk)
    model.submit(np.zeros((1, 1, 3), np.uint8)).result()
    return model


def pick(models: Models, name: str | None) -> Classifier:
    """Return the model of a name, or the first.

    Raises:
        UnknownModel: none has the name.
    """
    if name is None:
        return next(iter(models.values()))
    if name not in models:
        raise UnknownModel(f"{name}: no such model here; there are {', '.join(models)}.")
    return models[name]
