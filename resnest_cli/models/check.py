"""Check early what options name: model, class names and weights, before torch is loaded, which takes seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnest_cli.models import catalog, labels, weights

if TYPE_CHECKING:
    from resnest_cli.options import Options


def check(options: Options) -> None:
    """Raise if the model, its class names or its weights file do not exist or do not fit.

    Raises:
        UnknownModel, ModelError, LabelsError, BadCheckpoint, UsageError: the message names the option.
    """
    spec = catalog.resolve(options)
    labels.load(spec, options.labels)
    if options.weights is not None:
        weights.locate(spec, options.weights)
