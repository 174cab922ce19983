"""Forms of a network that may be faster on a GPU: to be measured by gpu_check.py, and in the product none of them yet.

In: a network whose norms are folded (`engines.pytorch.gpu`). Out: one that gives the same answers within rounding.
As a program, with TRITON_INTERPRET=1 where there is no GPU: how far the kernels are from their twins, and forms from
plain timm.

A split attention in steps passes over its activations, its largest tensors, some nine times: ReLU, sum of the splits,
mean, weighing, sum again. Fused it reads them twice, once to pool them and once to weigh them, because the weights
depend on all pixels; and it writes their weighted sum.
"""
# ruff: noqa: ANN401, N803, PLR0913, PLR0917 - a kernel's parameters

from __future__ import annotations

import argparse
import sys
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, cast

import timm
import torch
import triton
import triton.language as tl
from timm.layers import SplitAttn
from torch import nn

from resnest_cli.engines.pytorch import gpu

if TYPE_CHECKING:
    from collections.abc import Callable

    Form = Callable[[nn.Module], nn.Module]

PIXELS, CHANNELS = 32, 64  # of a block
TOLERANCE = 1e-5  # of a probability, in float32
LOGIT_STD = 3.0
SMALL: dict[str, Any] = {"layers": (1, 1, 1, 1)}
SHAPES = ((2, 32, 6, 2, 1), (1, 96, 5, 1, 4), (2, 80, 3, 4, 2))  # images, channels, edge, radix, groups


# --- the split attention in two passes: plain torch, and the same as kernels


def pool(splits: torch.Tensor, radix: int) -> torch.Tensor:
    """Return the mean over all pixels of the sum over all splits, after a ReLU: [B, R*C, H, W] -> float32 [B, C]."""
    pixels = splits.relu().float().mean((2, 3))
    return pixels.view(len(pixels), radix, -1).sum(1)


def weigh(splits: torch.Tensor, logits: torch.Tensor, radix: int, groups: int) -> torch.Tensor:
    """Return the sum over all splits, after a ReLU, each weighed by its attention: [B, R*C, H, W] -> [B, C, H, W].

    `logits` [B, R*C] are ordered by group, split, channel; their softmax over the splits (of a single one: their
    sigmoid) is the attention. It is computed in float32.
    """
    size, channels, height, width = splits.shape
    values = logits.float().view(size, groups, radix, -1)
    attention = (values.softmax(2) if radix > 1 else values.sigmoid()).transpose(1, 2).reshape(size, radix, -1, 1, 1)
    weighed = splits.relu().view(size, radix, channels // radix, height, width) * attention
    return weighed.sum(1).to(splits.dtype)


@triton.jit  # type: ignore[untyped-decorator]
def _pool(
    splits: Any,
    means: Any,
    pixels: Any,
    channels: Any,
    RADIX: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
) -> None:
    image = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    total = tl.zeros((CHANNELS,), tl.float32)
    for begin in range(0, pixels, PIXELS):
        pixel = begin + tl.arange(0, PIXELS)
        there = (pixel < pixels)[:, None] & (channel < channels)[None, :]
        row = splits + (image * pixels + pixel[:, None]) * (RADIX * channels) + channel[None, :]
        for split in tl.static_range(RADIX):
            value = tl.load(row + split * channels, mask=there, other=0.0).to(tl.float32)
            total += tl.sum(tl.maximum(value, 0.0), axis=0)
    tl.store(means + image * channels + channel, total / pixels, mask=channel < channels)


@triton.jit  # type: ignore[untyped-decorator]
def _weigh(
    splits: Any,
    logits: Any,
    out: Any,
    pixels: Any,
    channels: Any,
    width: Any,  # channels of a group
    RADIX: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
) -> None:
    image = tl.program_id(0).to(tl.int64)
    pixel = tl.program_id(1) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    inside = channel < channels
    there = (pixel < pixels)[:, None] & inside[None, :]
    logit = logits + image * (RADIX * channels) + channel // width * (RADIX * width) + channel % width
    highest = tl.load(logit, mask=inside, other=0.0).to(tl.float32)
    for split in tl.static_range(1, RADIX):
        highest = tl.maximum(highest, tl.load(logit + split * width, mask=inside, other=0.0).to(tl.float32))
    row = splits + (image * pixels + pixel[:, None]) * (RADIX * channels) + channel[None, :]
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    powers = tl.zeros((CHANNELS,), tl.float32)
    for split in tl.static_range(RADIX):
        power = tl.exp(tl.load(logit + split * width, mask=inside, other=0.0).to(tl.float32) - highest)
        value = tl.load(row + split * channels, mask=there, other=0.0).to(tl.float32)
        total += power[None, :] * tl.maximum(value, 0.0)
        powers += power
    if RADIX == 1:
        powers = 1.0 + tl.exp(-highest)  # then it is the sigmoid
    at = out + (image * pixels + pixel[:, None]) * channels + channel[None, :]
    tl.store(at, (total / powers[None, :]).to(out.dtype.element_ty), mask=there)


def pool_fused(splits: torch.Tensor, radix: int) -> torch.Tensor:
    """Do what `pool` does in one kernel, which reads the activations once."""
    splits = splits.contiguous(memory_format=torch.channels_last)
    size, channels, height, width = splits.shape
    channels //= radix
    means = torch.empty(size, channels, device=splits.device, dtype=torch.float32)
    grid = (size, triton.cdiv(channels, CHANNELS))
    _pool[grid](splits, means, height * width, channels, RADIX=radix, PIXELS=PIXELS, CHANNELS=CHANNELS)
    return means


def weigh_fused(splits: torch.Tensor, logits: torch.Tensor, radix: int, groups: int) -> torch.Tensor:
    """Do what `weigh` does in one kernel, which reads the activations once and writes their sum."""
    splits = splits.contiguous(memory_format=torch.channels_last)
    size, channels, height, width = splits.shape
    channels //= radix
    out = torch.empty(
        (size, channels, height, width), device=splits.device, dtype=splits.dtype, memory_format=torch.channels_last
    )
    grid = (size, triton.cdiv(height * width, PIXELS), triton.cdiv(channels, CHANNELS))
    sizes = (height * width, channels, channels // groups)
    _weigh[grid](splits, logits.contiguous(), out, *sizes, RADIX=radix, PIXELS=PIXELS, CHANNELS=CHANNELS)
    return out


class Attention(nn.Module):
    """timm's `SplitAttn`, its norms folded, with `pool` and `weigh` to choose."""

    def __init__(self, split: SplitAttn, pool: Callable[..., torch.Tensor], weigh: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.conv, self.fc1, self.fc2 = split.conv, split.fc1, split.fc2
        self.radix, self.groups = split.radix, split.fc1.groups
        self.pool, self.weigh = pool, weigh

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Run."""
        splits = self.conv(images)
        means = self.pool(splits, self.radix).to(splits.dtype)[:, :, None, None]
        logits = self.fc2(self.fc1(means).relu_()).flatten(1)
        out: torch.Tensor = self.weigh(splits, logits, self.radix, self.groups)
        return out


class Apart(nn.Module):
    """timm's `SplitAttn`, its norms folded, with a convolution and a tensor for each split: nothing is put together."""

    def __init__(self, split: SplitAttn) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_parts(split.conv, split.radix))
        self.fc1, self.fc2, self.groups = split.fc1, split.fc2, split.fc1.groups

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Run."""
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
    """A grouped convolution as one for each group, their outputs put together."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_parts(conv, conv.groups))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Run."""
        chunks = images.chunk(len(self.convs), 1)
        return torch.cat([conv(chunk) for conv, chunk in zip(self.convs, chunks, strict=True)], 1)


def _parts(conv: nn.Conv2d, count: int) -> list[nn.Conv2d]:
    """Cut a convolution into so many, each of a part of its groups."""
    args: dict[str, Any] = {"stride": conv.stride, "padding": conv.padding, "dilation": conv.dilation}
    args |= {"groups": conv.groups // count, "bias": conv.bias is not None, "device": "meta"}
    parts = []
    for number in range(count):
        part = nn.Conv2d(conv.in_channels // count, conv.out_channels // count, conv.kernel_size, **args)  # type: ignore[arg-type]
        state = {name: value.chunk(count)[number].clone() for name, value in conv.state_dict().items()}
        part.load_state_dict(state, assign=True)
        parts.append(part)
    return parts


# --- how it is started


class Graph(nn.Module):
    """A network whose steps are recorded once, for inputs of one shape, and started all at once. CUDA only."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.graph: torch.cuda.CUDAGraph | None = None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Run; the answer is overwritten by the next one."""
        if self.graph is None or self.images.shape != images.shape:
            self._record(images)
        assert self.graph is not None  # noqa: S101 - it was just made
        self.images.copy_(images)
        self.graph.replay()
        rows: torch.Tensor = self.rows
        return rows

    def _record(self, images: torch.Tensor) -> None:
        self.images, self.graph = images.clone(), None
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # libraries choose their kernels before anything is recorded
            for _ in range(3):
                self.network(self.images)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.rows = self.network(self.images)
        self.graph = graph


class Searched(nn.Module):
    """A network whose convolutions are each tried in every way that cuDNN has, once for each shape."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Run."""
        before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True
        try:
            rows: torch.Tensor = self.network(images)
        finally:
            torch.backends.cudnn.benchmark = before
        return rows


# --- the forms by name


def as_it_is(network: nn.Module) -> nn.Module:
    """Change nothing: what the engine runs."""
    return network


def split_attention(network: nn.Module, pool: Any = pool_fused, weigh: Any = weigh_fused) -> nn.Module:
    """Fuse each split attention, in place."""
    return _replaced(network, SplitAttn, lambda split: Attention(split, pool, weigh))


def apart(network: nn.Module) -> nn.Module:
    """Keep the splits of each split attention apart, in place."""
    return _replaced(network, SplitAttn, Apart)


def dense(network: nn.Module) -> nn.Module:
    """Make dense convolutions of each 3x3 one with groups, in place."""
    return _replaced(network, nn.Conv2d, lambda conv: Chunks(conv) if conv.groups > 1 and conv.padding[0] else conv)


def compiled(network: nn.Module, mode: str = "max-autotune") -> nn.Module:
    """Compile."""
    return cast("nn.Module", torch.compile(network, mode=mode, dynamic=False))


def of(*forms: Form) -> Form:
    """Put forms one on another, the first one first."""
    return lambda network: reduce(lambda made, form: form(made), forms, network)


HERE: dict[str, Form] = {  # that run on a CPU, too
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
    """Give a fresh network weights like a trained one's, in place: every block counts, and answers depend on the image.

    They are made as in tests/engines/pytorch/test_engine.py, which says why.
    """
    for name, norm in network.named_modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.weight.uniform_(*((0.03, 0.1) if name.endswith("bn3") else (0.6, 1.2)))
            norm.bias.normal_(0, 0.1)
            norm.momentum = 1.0  # take the statistics of the next batch
    network.train()(scenes(8, size))
    network.eval()
    network.get_parameter("fc.weight").mul_(LOGIT_STD / network(scenes(8, size)).std())
    return network


def scenes(count: int, size: int) -> torch.Tensor:
    """Make normalised images of a colour, a slope and some noise each, [N, 3, size, size]."""
    slope = torch.linspace(-2, 2, size)
    across, down, noise = (2 * torch.rand(3, count, 1, 1, 1) - 1).unbind()
    colour = 4 * torch.rand(count, 3, 1, 1) - 2
    return colour + across * slope + down * slope[:, None] + noise * torch.randn(count, 3, size, size)


def difference(name: str, form: Form, size: int, **args: Any) -> float:
    """Return the largest difference of a probability that folding and a form make to plain timm with seeded weights."""
    torch.manual_seed(0)
    network = lively(timm.create_model(name, **args), size)
    images = scenes(2, size)
    with torch.inference_mode():
        expected = network(images).softmax(1)
        folded = form(gpu.fold(network).to(memory_format=torch.channels_last))
        found = folded(images.contiguous(memory_format=torch.channels_last)).softmax(1)
    return float((expected - found).abs().max())


def kernel_difference(size: int, channels: int, edge: int, radix: int, groups: int) -> float:
    """Return the largest difference between the kernels and their twins, for numbers around 1."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    splits = torch.randn(size, radix * channels, edge, edge + 1, device=device)
    logits = 3 * torch.randn(size, radix * channels, device=device)
    means = pool_fused(splits, radix) - pool(splits, radix)
    sums = weigh_fused(splits, logits, radix, groups) - weigh(splits, logits, radix, groups)
    return max(float(means.abs().max()), float(sums.abs().max()))


def main() -> int:
    """Compare the kernels with their twins, and the forms that run here with plain timm; fail if one differs."""
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
