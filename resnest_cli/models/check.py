"""Check early what options name: model, class names and weights, before torch is loaded, which takes seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnest_cli.models import catalog, labels, weights
from resnest_cli.system import imports

if TYPE_CHECKING:
    from resnest_cli.options import Options


def check(options: Options) -> None:
    """Raise if the model, its class names or its weights file do not exist or do not fit.

    Raises:
        UnknownModel, ModelError, LabelsError, BadCheckpoint, UsageError: the message names the option.
    """
    require_torch(options)
    spec = catalog.resolve(options)
    labels.load(spec, options.labels)
    if options.weights is not None:
        weights.locate(spec, options.weights)


def require_torch(options: Options) -> None:
    """Raise if an option needs torch and torch is not installed.

    Raises:
        UsageError: the message has the pip command.
    """
    if options.torch_only:
        imports.require_torch(options.torch_only)
