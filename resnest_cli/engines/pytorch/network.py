"""The one maker of `nn.Module`: a spec and a weights file become a timm network.

In: a `ModelSpec` and the path of a checkpoint (or None for seeded random weights). Out: the network in eval mode, on
the CPU, in float32.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import timm
import torch

from resnest_cli.engines import checkpoints
from resnest_cli.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from resnest_cli.models.state import State
    from resnest_cli.types import ModelSpec

_ORIGIN = "resnest_origin"


def build(spec: ModelSpec, weights: Path | None, want: str = "logits", *, sha256: str = "") -> nn.Module:
    """Build the network of `spec`: float32 [N, 3, H, W] in, float32 [N, F] out.

    F is the number of classes if `want` is "logits", that of pooled features (timm's `num_classes=0`) if "features".
    `sha256` is the hash that the weights must have, "" for any; `origin` returns the one that they have.

    Raises:
        BadCheckpoint: the file cannot be read, does not fit, or holds values that are not finite.
        ModelError: timm makes no such network as the model's config names.
    """
    network = _create(spec)
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    state, digest = checkpoints.load(spec, weights, shapes, sha256=sha256)
    _fill(network, state)
    vars(network)[_ORIGIN] = digest
    if want == "features":
        network.reset_classifier(0)  # type: ignore[operator] # timm's models have it
    return network.eval()


def origin(network: nn.Module) -> str:
    """Return the sha256 of the file that a network's weights were read from; "" for seeded random weights."""
    return str(vars(network).get(_ORIGIN, ""))


def _fill(network: nn.Module, state: State) -> None:
    """Fill a network without memory with its weights; counters that the file lacks are 0."""
    network.to_empty(device="cpu")
    for name, value in network.state_dict().items():
        value.copy_(torch.from_numpy(state[name])) if name in state else value.zero_()


def _create(spec: ModelSpec) -> nn.Module:
    """Make the network without memory for its weights: a config may name one that is larger than any machine."""
    args = {"num_classes": spec.num_classes, **spec.model_args}
    try:
        with warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")  # of layers without any channels: the sizes of the weights will not fit
            network: nn.Module = timm.create_model(spec.architecture, pretrained=False, **args)
    except (TypeError, ValueError, RuntimeError, AttributeError, KeyError, AssertionError) as error:
        why = str(error) or type(error).__name__
        message = f"{spec.name}: timm makes no {spec.architecture} of {args} ({why}); correct its config.json."
        raise ModelError(message) from error
    return network
