"""A network as a program that can be converted: pixels or images in, for batches of any size.

In: a network that `network.build` made, and its spec. Out: the same numbers from other modules, or a program of
`torch.export`. Reads no weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from resnest_cli.types import ModelSpec


class FromPixels(nn.Module):
    """A network with ToTensor and Normalize before it: uint8 [N, H, W, 3] in."""

    def __init__(self, network: nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        self.network = network
        self.mean = nn.Buffer(torch.tensor(spec.data.mean).view(1, -1, 1, 1))
        self.std = nn.Buffer(torch.tensor(spec.data.std).view(1, -1, 1, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalize and run."""
        images = pixels.permute(0, 3, 1, 2).float().div(255).sub(self.mean).div(self.std)
        rows: torch.Tensor = self.network(images)
        return rows


def to_program(network: nn.Module, spec: ModelSpec, *, raw: bool) -> torch.export.ExportedProgram:
    """Trace the network for any batch: pixels uint8 [N, H, W, 3] in if `raw`, else normalized float32 [N, 3, H, W]."""
    channels, height, width = spec.data.input_size
    two = torch.zeros(2, channels, height, width)  # traced with a batch of 1, it would take batches of 1 only
    if raw:
        network, two = FromPixels(network, spec), two.permute(0, 2, 3, 1).contiguous().byte()
    return torch.export.export(network.eval(), (two,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
