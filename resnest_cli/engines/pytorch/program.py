"""A network as a program that can be converted: pixels or images in, for batches of any size.

In: a network that `network.build` made, and its spec. Out: the same numbers from other modules, or a program of
`torch.export`. Reads no weights.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

import torch
from timm.layers import SplitAttn
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


class _Splits(nn.Module):
    """A split attention with one convolution and one tensor per split; the numbers are the same.

    Args:
        of: what it replaces. Its convolution has radix x cardinality groups, the radix outermost.
    """

    def __init__(self, of: SplitAttn) -> None:
        super().__init__()
        self.radix = of.radix
        self.convs = nn.ModuleList(_conv(of.conv, index, of.radix) for index in range(of.radix))
        self.norms = nn.ModuleList(_norm(of.bn0, index, of.radix) for index in range(of.radix))
        self.act, self.rsoftmax = of.act0, of.rsoftmax
        self.attention = nn.Sequential(of.fc1, of.bn1, of.act1, of.fc2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute what `SplitAttn.forward` computes."""
        parts = zip(self.norms, self.convs, x.chunk(self.radix, dim=1), strict=True)
        splits = [self.act(norm(conv(share))) for norm, conv, share in parts]
        pooled = reduce(torch.add, splits).mean((2, 3), keepdim=True)
        weights = self.rsoftmax(self.attention(pooled)).view(x.shape[0], -1, 1, 1).chunk(self.radix, dim=1)
        return reduce(torch.add, map(torch.mul, splits, weights))


def _conv(conv: nn.Conv2d, index: int, of: int) -> nn.Conv2d:
    """Return the convolution of a share of the channels."""
    same: Any = {name: getattr(conv, name) for name in ("kernel_size", "stride", "padding", "dilation")}
    ends = (conv.in_channels // of, conv.out_channels // of)
    made = nn.Conv2d(*ends, groups=conv.groups // of, bias=conv.bias is not None, **same)
    made.load_state_dict({name: value.chunk(of)[index] for name, value in conv.state_dict().items()})
    return made


def _norm(norm: Any, index: int, of: int) -> nn.BatchNorm2d:  # noqa: ANN401 - timm declares a Module
    """Return the norm of a share of the channels."""
    made = nn.BatchNorm2d(norm.num_features // of, eps=norm.eps)
    state = {name: value.chunk(of)[index] if value.ndim else value for name, value in norm.state_dict().items()}
    made.load_state_dict(state)
    return made


def ungroup(network: nn.Module) -> nn.Module:
    """Replace the grouped convolution of each block by one convolution per split, in place; the answers stay the same.

    On a CPU the one grouped convolution is slower than a dense convolution per split, and NNCF does not quantize it.
    """
    for name, module in list(network.named_modules()):
        if isinstance(module, SplitAttn) and module.radix > 1:
            network.set_submodule(name, _Splits(module))
    return network.eval()


def to_program(network: nn.Module, spec: ModelSpec, *, raw: bool) -> torch.export.ExportedProgram:
    """Trace the network for any batch: pixels uint8 [N, H, W, 3] in if `raw`, else normalized float32 [N, 3, H, W]."""
    channels, height, width = spec.data.input_size
    two = torch.zeros(2, channels, height, width)  # traced with a batch of 1, it would take batches of 1 only
    if raw:
        network, two = FromPixels(network, spec), two.permute(0, 2, 3, 1).contiguous().byte()
    return torch.export.export(network.eval(), (two,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
