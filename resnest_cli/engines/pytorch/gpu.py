"""What the torch engine does on GPUs only: a network of fewer steps, and copies that the device need not wait for.

In: a network as `network.build` makes it, batches of pixels, a forward pass. Out: the same rows within rounding, in
order. The CPU's path uses nothing of it, and tests hold it to that path. Knows no spec and no precision.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    Pixels: TypeAlias = NDArray[np.uint8]
    Rows: TypeAlias = NDArray[np.float32]

IN_FLIGHT = 2  # one that runs and one whose pixels are on their way


def fold(network: nn.Module) -> nn.Module:
    """Put every batch norm into the convolution before it, in place, and give the network.

    In eval mode a norm is a scale and a shift of each channel, which weights and a bias can do as well: a pass over the
    activations less for each. In this family a norm is registered right after the convolution whose output it takes.
    """
    leaves = [(name, module) for name, module in network.named_modules() if not any(module.children())]
    for (before, conv), (name, norm) in pairwise(leaves):
        if type(conv) is nn.Conv2d and type(norm) is nn.BatchNorm2d:  # no subclass: those do more
            network.set_submodule(before, fuse_conv_bn_eval(conv, norm))
            network.set_submodule(name, nn.Identity())
    return network


def in_flight(batches: Iterable[Pixels], begin: Callable[[Pixels], Callable[[], Rows]]) -> Iterator[Rows]:
    """Begin each batch before the rows of the one before it are waited for; give all rows in order.

    `begin` gives what waits for the rows of its batch.
    """
    running: deque[Callable[[], Rows]] = deque()
    for batch in batches:
        running.append(begin(batch))
        if len(running) == IN_FLIGHT:
            yield running.popleft()()
    while running:
        yield running.popleft()()


class Ferry:
    """Takes pixels to a CUDA device on a stream of their own, and rows back, while the device computes.

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
        """Put the copy there, the forward pass and the copy back into their queues; what it gives waits for them."""
        computing, done = self._on.current_stream(self._device), self._on.Event()
        with self._on.stream(self._copies):
            pixels = torch.from_numpy(batch).pin_memory().to(self._device, non_blocking=True)
        computing.wait_stream(self._copies)
        pixels.record_stream(computing)  # its memory goes to no later copy before it has been read
        rows = self._forward(pixels).to("cpu", non_blocking=True)
        done.record(computing)

        def wait() -> Rows:
            done.synchronize()
            answer: Rows = rows.numpy().copy()  # the pinned memory is for the next batch
            return answer

        return wait
