"""The strangeness of pictures is the divergence that torch works out from what each norm is given."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from lively import lively
from torch import nn
from torch.distributions import Normal, kl_divergence

from resnest_cli import find_model
from resnest_cli.engines.strangeness import strangeness

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPEC = find_model("resnest50d_4s2x40d")
LAYERS: dict[str, Any] = {"layers": [1, 1, 1, 1]}


def by_torch(network: nn.Module, images: torch.Tensor) -> float:
    found: list[float] = []

    def look(norm: Any, given: tuple[torch.Tensor]) -> None:  # noqa: ANN401 - torch's types know no statistics
        values = given[0].double().transpose(0, 1).flatten(1)
        here = Normal(values.mean(dim=1), (values.var(dim=1, correction=0) + 1e-5).sqrt())
        trained = Normal(norm.running_mean.double(), (norm.running_var.double() + norm.eps).sqrt())
        found.append(float(kl_divergence(here, trained).mean()))

    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_pre_hook(look)
    with torch.inference_mode():
        network(images)
    return float(np.median(found))


@pytest.mark.parametrize("kind", ["noise", "dark"])
def test_it_is_the_divergence_of_normal_distributions(kind: str) -> None:
    network = lively(SPEC.architecture, **LAYERS)
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    pixels: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (6, 224, 224, 3), np.uint8)
    if kind == "dark":
        pixels //= 16
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (SPEC.data.mean, SPEC.data.std))
    expected = by_torch(network, (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std)
    assert strangeness(replace(SPEC, model_args=LAYERS), state, pixels) == pytest.approx(expected, rel=1e-3)


def test_a_channel_that_its_norm_switches_off_tells_nothing() -> None:
    network = lively(SPEC.architecture, **LAYERS)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 224, 224, 3), np.uint8)
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    state["bn1.weight"][::2] = 0
    assert 0 < strangeness(replace(SPEC, model_args=LAYERS), state, pixels) < 100
