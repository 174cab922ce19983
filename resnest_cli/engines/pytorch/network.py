"""The one maker of `nn.Module`: a spec and a weights file become a timm network.

In: a `ModelSpec` and the path of a checkpoint (or None for seeded random weights). Out: the network in eval mode, on
the CPU, in float32.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import timm
import torch

from resnest_cli.engines.pytorch.state import load_state
from resnest_cli.errors import BadCheckpoint, ModelError
from resnest_cli.models.weights import MAX_BYTES
from resnest_cli.models.weights import read as read_weights

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from resnest_cli.types import ModelSpec

SEED = 0
_ORIGIN = "resnest_origin"
_LEAST_BYTES = 2  # of a weight: fp16
_FREELY = 1 << 27  # weights, 0.5 GB: more than the largest variant has


def build(spec: ModelSpec, weights: Path | None, want: str = "logits", *, sha256: str = "") -> nn.Module:
    """Build the network of `spec`: float32 [N, 3, H, W] in, float32 [N, F] out.

    F is the number of classes if `want` is "logits", that of pooled features (timm's `num_classes=0`) if "features".
    `sha256` is the hash that the weights must have, "" for any; `origin` returns the one that they have.

    Raises:
        BadCheckpoint: the file cannot be read, does not fit, or holds values that are not finite.
        ModelError: timm makes no such network as the model's config names.
    """
    content = None if weights is None else read_weights(weights, sha256)
    if not spec.facts:
        _check_size(spec, weights, len(content.data) if content else MAX_BYTES)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = _create(spec)
    if content and weights:
        load_state(network, content.data, weights, spec)
        vars(network)[_ORIGIN] = content.sha256
    if want == "features":
        network.reset_classifier(0)  # type: ignore[operator] # timm's models have it
    return network.eval()


def origin(network: nn.Module) -> str:
    """Return the sha256 of the file that a network's weights were read from; "" for seeded random weights."""
    return str(vars(network).get(_ORIGIN, ""))


def _check_size(spec: ModelSpec, path: Path | None, most: int) -> None:
    """Refuse a large network with more parameters than its file has bytes for, before memory is taken for it.

    A small network that does not fit is refused later, with a message that names the variant of the weights.

    Raises:
        BadCheckpoint: the file at `path` is too small.
        ModelError: there are no weights, and no machine has so much memory.
    """
    with torch.device("meta"):  # no memory
        count = sum(parameter.numel() for parameter in _create(spec).parameters())
    if count <= max(most // _LEAST_BYTES, _FREELY):
        return
    network = f"{spec.name}, as its config.json has it, has {count / 1e6:,.0f} million numbers"
    if path is None:
        message = f"{network}: more than any machine is for. Correct the file."
        raise ModelError(message)
    message = f"{path} has {most / 1e6:.1f} MB, and {network}: correct the config.json."
    raise BadCheckpoint(message)


def _create(spec: ModelSpec) -> nn.Module:
    args = {"num_classes": spec.num_classes, **spec.model_args}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of layers without any channels: the sizes of the weights will not fit
            network: nn.Module = timm.create_model(spec.architecture, pretrained=False, **args)
    except (TypeError, ValueError, RuntimeError, AttributeError, KeyError, AssertionError) as error:
        why = str(error) or type(error).__name__
        message = f"{spec.name}: timm makes no {spec.architecture} of {args} ({why}); correct its config.json."
        raise ModelError(message) from error
    return network
