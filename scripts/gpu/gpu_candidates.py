"""Forms of a network that may be faster on a GPU. gpu_check.py measures them; the package uses none of them yet.

In: a network whose norms are folded (`engines.pytorch.gpu`). Out: a network with the same answers up to rounding.
Run as a program (without a GPU: with TRITON_INTERPRET=1), this file prints how far the kernels are from their plain
forms, and how far each form is from plain timm.
"""
# ruff: noqa: ANN401 - networks, and arguments of timm

from __future__ import annotations

import argparse
import sys
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, cast

import timm
import torch
from gpu_kernels import kernel_difference, pool, pool_fused, weigh, weigh_fused
from timm.layers import SplitAttn
from torch import nn

from resnest_cli.engines.pytorch import gpu

if TYPE_CHECKING:
    from collections.abc import Callable

    Form = Callable[[nn.Module], nn.Module]

TOLERANCE = 1e-5  # largest difference of a probability, in float32
LOGIT_STD = 3.0
SMALL: dict[str, Any] = {"layers": (1, 1, 1, 1)}
SHAPES = ((2, 32, 6, 2, 1), (1, 96, 5, 1, 4), (2, 80, 3, 4, 2))  # images, channels, edge, radix, groups


# --- forms of the split attention


class Attention(nn.Module):
    """timm's `SplitAttn` with folded norms and with the given `pool` and `weigh`."""

    def __init__(self, split: SplitAttn, pool: Callable[..., torch.Tensor], weigh: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.conv, self.fc1, self.fc2 = split.conv, split.fc1, split.fc2
        self.radix, self.groups = split.radix, split.fc1.groups
        self.pool, self.weigh = pool, weigh

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the output."""
        splits = self.conv(images)
        means = self.pool(splits, self.radix).to(splits.dtype)[:, :, None, None]
        logits = self.fc2(self.fc1(means).relu_()).flatten(1)
        out: torch.Tensor = self.weigh(splits, logits, self.radix, self.groups)
        return out


class Apart(nn.Module):
    """timm's `SplitAttn` with folded norms, and one convolution and one tensor per split."""

    def __init__(self, split: SplitAttn) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_parts(split.conv, split.radix))
        self.fc1, self.fc2, self.groups = split.fc1, split.fc2, split.fc1.groups

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the output."""
        radix = len(self.convs)
        splits = [conv(part).relu_() for conv, part in zip(self.convs, images.chunk(radix, 1), strict=True)]
        means = reduce(torch.add, [split.mean((2, 3), keepdim=True) for split in splits])
        logits = self.fc2(self.fc1(means).relu_()).view(len(images), self.groups, radix, -1)
        attention = (logits.softmax(2) if radix > 1 else logits.sigmoid()).transpose(1, 2)
        weights: Any = attention.reshape(len(images), radix, -1, 1, 1).unbind(1)
        total: torch.Tensor = splits[0] * weights[0]
        for split, weight in zip(splits[1:], weights[1:], strict=True):
            total = torch.addcmul(total, split, weight)
        return total


class Chunks(nn.Module):
    """A grouped convolution as one dense convolution per group; their outputs are concatenated."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_parts(conv, conv.groups))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the output."""
        chunks = images.chunk(len(self.convs), 1)
        return torch.cat([conv(chunk) for conv, chunk in zip(self.convs, chunks, strict=True)], 1)


def _parts(conv: nn.Conv2d, count: int) -> list[nn.Conv2d]:
    """Return `count` convolutions, each with an equal part of the channels and groups of `conv`."""
    args: dict[str, Any] = {"stride": conv.stride, "padding": conv.padding, "dilation": conv.dilation}
    args |= {"groups": conv.groups // count, "bias": conv.bias is not None, "device": "meta"}
    parts = []
    for number in range(count):
        part = nn.Conv2d(conv.in_channels // count, conv.out_channels // count, conv.kernel_size, **args)  # type: ignore[arg-type]
        state = {name: value.chunk(count)[number].clone() for name, value in conv.state_dict().items()}
        part.load_state_dict(state, assign=True)
        parts.append(part)
    return parts


# --- forms that launch the same steps in another way


class Graph(nn.Module):
    """A network that is recorded as a CUDA graph, once per input shape, and replayed with one launch. CUDA only."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.graph: torch.cuda.CUDAGraph | None = None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits; the next call overwrites them."""
        if self.graph is None or self.images.shape != images.shape:
            self._record(images)
        assert self.graph is not None  # noqa: S101 - `_record` has made it
        self.images.copy_(images)
        self.graph.replay()
        rows: torch.Tensor = self.rows
        return rows

    def _record(self, images: torch.Tensor) -> None:
        self.images, self.graph = images.clone(), None
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # warm up: libraries choose their kernels before the recording
            for _ in range(3):
                self.network(self.images)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.rows = self.network(self.images)
        self.graph = graph


class Searched(nn.Module):
    """A network for which cuDNN benchmarks its convolution algorithms, once per shape."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the output."""
        before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True
        try:
            rows: torch.Tensor = self.network(images)
        finally:
            torch.backends.cudnn.benchmark = before
        return rows


# --- the forms by name


def as_it_is(network: nn.Module) -> nn.Module:
    """Return the network unchanged, as the engine runs it."""
    return network


def split_attention(network: nn.Module, pool: Any = pool_fused, weigh: Any = weigh_fused) -> nn.Module:
    """Replace each split attention by the fused form, in place."""
    return _replaced(network, SplitAttn, lambda split: Attention(split, pool, weigh))


def apart(network: nn.Module) -> nn.Module:
    """Replace each split attention by the form with separate splits, in place."""
    return _replaced(network, SplitAttn, Apart)


def dense(network: nn.Module) -> nn.Module:
    """Replace each grouped 3x3 convolution by dense convolutions, in place."""
    return _replaced(network, nn.Conv2d, lambda conv: Chunks(conv) if conv.groups > 1 and conv.padding[0] else conv)


def compiled(network: nn.Module, mode: str = "max-autotune") -> nn.Module:
    """Compile the network with torch.compile."""
    return cast("nn.Module", torch.compile(network, mode=mode, dynamic=False))


def of(*forms: Form) -> Form:
    """Return the form that applies `forms` in order."""
    return lambda network: reduce(lambda made, form: form(made), forms, network)


HERE: dict[str, Form] = {  # also run on a CPU
    "two passes": partial(split_attention, pool=pool, weigh=weigh),
    "apart": apart,
    "dense": dense,
}
CANDIDATES: dict[str, Form] = {
    "fused": split_attention,
    "graph": Graph,
    "fused, graph": of(split_attention, Graph),
    "searched, fused, graph": of(split_attention, Searched, Graph),
    "dense, fused, graph": of(dense, split_attention, Graph),
    "apart, graph": of(apart, Graph),
    "compiled": partial(compiled, mode="default"),
    "fused, compiled": of(split_attention, compiled),
    "apart, compiled": of(apart, compiled),
    "max-autotune": compiled,
}


def _replaced(network: nn.Module, kind: type, change: Callable[[Any], nn.Module]) -> nn.Module:
    for name, module in list(network.named_modules()):
        if isinstance(module, kind):
            network.set_submodule(name, change(module))
    return network


@torch.no_grad()
def lively(network: nn.Module, size: int) -> nn.Module:
    """Set random weights under which every block counts and answers depend on the image, in place; return the network.

    The recipe is that of tests/helpers/lively.py, which explains it.
    """
    for name, norm in network.named_modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.weight.uniform_(*((0.03, 0.1) if name.endswith("bn3") else (0.6, 1.2)))
            norm.bias.normal_(0, 0.1)
            norm.momentum = 1.0  # use the statistics of the next batch
    network.train()(scenes(8, size))
    network.eval()
    network.get_parameter("fc.weight").mul_(LOGIT_STD / network(scenes(8, size)).std())
    return network


def scenes(count: int, size: int) -> torch.Tensor:
    """Return normalized images [N, 3, size, size], each of one color, a gradient and some noise."""
    slope = torch.linspace(-2, 2, size)
    across, down, noise = (2 * torch.rand(3, count, 1, 1, 1) - 1).unbind()
    color = 4 * torch.rand(count, 3, 1, 1) - 2
    return color + across * slope + down * slope[:, None] + noise * torch.randn(count, 3, size, size)


def difference(name: str, form: Form, size: int, **args: Any) -> float:
    """Return the largest difference of a probability between plain timm and a form of the folded network."""
    torch.manual_seed(0)
    network = lively(timm.create_model(name, **args), size)
    images = scenes(2, size)
    with torch.inference_mode():
        expected = network(images).softmax(1)
        folded = form(gpu.fold(network).to(memory_format=torch.channels_last))
        found = folded(images.contiguous(memory_format=torch.channels_last)).softmax(1)
    return float((expected - found).abs().max())


def main() -> int:
    """Compare the kernels with their plain forms, and the CPU forms with plain timm; return 1 if one differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--models", default="resnest14d,resnest50d_1s4x24d,resnest50d_4s2x40d")
    parser.add_argument("--size", type=int, default=32, help="pixels, default: %(default)s")
    args = parser.parse_args()
    found = {f"kernels, {shape}": kernel_difference(*shape) for shape in SHAPES}
    for name in args.models.split(","):
        made = {f"{name}, {title}": difference(name, form, args.size, **SMALL) for title, form in HERE.items()}
        found |= made
    for title, apart_by in found.items():
        print(f"{title:36} {apart_by:.1e}")
    return max(found.values()) > TOLERANCE


if __name__ == "__main__":
    sys.exit(main())
