"""The two passes of a split attention over its activations: in plain torch, and fused as Triton kernels.

In: activations [B, R*C, H, W] and attention logits. Out: the pooled sum of the splits, and their weighted sum.
A split attention in eager steps passes over its activations, its largest tensors, about nine times: ReLU, sum of the
splits, mean, weighing, sum again. The kernels read the activations twice (once to pool, once to weigh, because the
weights depend on every pixel) and write the weighted sum once. TRITON_INTERPRET=1 runs the kernels without a GPU.
"""
# ruff: noqa: ANN401, N803, PLR0913, PLR0917 - a kernel's parameters

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

PIXELS, CHANNELS = 32, 64  # per kernel block


def pool(splits: torch.Tensor, radix: int) -> torch.Tensor:
    """Return the mean over all pixels of the sum over all splits, after a ReLU: [B, R*C, H, W] -> float32 [B, C]."""
    pixels = splits.relu().float().mean((2, 3))
    return pixels.view(len(pixels), radix, -1).sum(1)


def weigh(splits: torch.Tensor, logits: torch.Tensor, radix: int, groups: int) -> torch.Tensor:
    """Return the sum over all splits, after a ReLU, each weighted by its attention: [B, R*C, H, W] -> [B, C, H, W].

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
    width: Any,  # channels per group
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
        powers = 1.0 + tl.exp(-highest)  # a softmax with zero is the sigmoid
    at = out + (image * pixels + pixel[:, None]) * channels + channel[None, :]
    tl.store(at, (total / powers[None, :]).to(out.dtype.element_ty), mask=there)


def pool_fused(splits: torch.Tensor, radix: int) -> torch.Tensor:
    """Return what `pool` returns, from one kernel that reads the activations once."""
    splits = splits.contiguous(memory_format=torch.channels_last)
    size, channels, height, width = splits.shape
    channels //= radix
    means = torch.empty(size, channels, device=splits.device, dtype=torch.float32)
    grid = (size, triton.cdiv(channels, CHANNELS))
    _pool[grid](splits, means, height * width, channels, RADIX=radix, PIXELS=PIXELS, CHANNELS=CHANNELS)
    return means


def weigh_fused(splits: torch.Tensor, logits: torch.Tensor, radix: int, groups: int) -> torch.Tensor:
    """Return what `weigh` returns, from one kernel that reads the activations once and writes their sum."""
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


def kernel_difference(size: int, channels: int, edge: int, radix: int, groups: int) -> float:
    """Return the largest difference between the kernels and their plain forms, for values around 1."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    splits = torch.randn(size, radix * channels, edge, edge + 1, device=device)
    logits = 3 * torch.randn(size, radix * channels, device=device)
    means = pool_fused(splits, radix) - pool(splits, radix)
    sums = weigh_fused(splits, logits, radix, groups) - weigh(splits, logits, radix, groups)
    return max(float(means.abs().max()), float(sums.abs().max()))
