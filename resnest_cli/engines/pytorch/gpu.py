"""What the torch engine does on GPUs only: a network with fewer steps, and copies that overlap with computing.

In: a network as `network.build` makes it, batches of pixels, a forward pass. Out: the same rows within rounding, in
order. The CPU does not use it; tests compare both. Knows no spec and no precision.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    Pixels: TypeAlias = NDArray[np.uint8]
    Rows: TypeAlias = NDArray[np.float32]

IN_FLIGHT = 2  # a batch that runs, and a batch whose pixels are being copied


def fold(network: nn.Module) -> nn.Module:
    """Fold every batch norm into the convolution before it, in place; return the network.

    In eval mode a norm scales and shifts each channel, which weights and a bias do as well: each fold saves a pass over
    the activations. In this family a norm is registered right after the convolution whose output it takes.
    """
    leaves = [(name, module) for name, module in network.named_modules() if not any(module.children())]
    for (before, conv), (name, norm) in pairwise(leaves):
        if type(conv) is nn.Conv2d and type(norm) is nn.BatchNorm2d:  # subclasses do more
            network.set_submodule(before, fuse_conv_bn_eval(conv, norm))
            network.set_submodule(name, nn.Identity())
    return network


class Ferry:
    """Copies pixels to a CUDA device on a stream of their own, and rows back, while the device computes.

    Args:
        device: which one.
        forward: makes rows float32 [N, F] of pixels uint8 [N, H, W, 3], both on the device.
    """

    def __init__(self, device: torch.device, forward: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._device = device
        self._forward = forward
        self._on = torch.get_device_module(device)
        self._copies = self._on.Stream(device)

    def begin(self, batch: Pixels) -> Callable[[], Rows]:
        """Enqueue copy, forward pass and copy back; return a function that waits for the rows."""
        computing, done = self._on.current_stream(self._device), self._on.Event()
        with self._on.stream(self._copies):
            pixels = torch.from_numpy(batch).pin_memory().to(self._device, non_blocking=True)
        computing.wait_stream(self._copies)
        pixels.record_stream(computing)  # no later copy gets its memory before it has been read
        rows = self._forward(pixels).to("cpu", non_blocking=True)
        done.record(computing)

        def wait() -> Rows:
            done.synchronize()
            answer: Rows = rows.numpy().copy()  # the next batch reuses the pinned memory
            return answer

        return wait
