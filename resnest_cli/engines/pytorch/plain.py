"""Plain eager timm, as its own benchmark runs it: the baseline of `resnest bench`. No option chooses it.

In: a spec, a device and a precision. Out: logits of random images that are on the device already, normalized; the
pixels that `submit` gets only set how many. So this is timm at its best: nothing is copied or prepared.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

from resnest_cli.engines.base import Fetched
from resnest_cli.engines.pytorch.engine import TorchEngine

if TYPE_CHECKING:
    from concurrent.futures import Future

    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from resnest_cli.types import ModelSpec


class PlainTimm(TorchEngine):
    """A timm network with seeded random weights, in the memory layout it is made with."""

    name = "timm"

    def __init__(self, spec: ModelSpec, device: str, precision: str) -> None:
        super().__init__(spec, None, device=device, precision=precision)
        self.images = torch.empty(0)

    def submit(self, batch: NDArray[np.uint8]) -> Future[NDArray[np.float32]]:
        """Run the network once, on as many ready images as there are pixels of."""
        return Fetched(partial(self._ready_logits, len(batch)))

    def _placed(self, network: nn.Module) -> nn.Module:
        return network.to(self._device)

    def _ready_logits(self, n: int) -> NDArray[np.float32]:
        if len(self.images) != n:
            self.images = torch.randn(n, *self.spec.data.input_size, device=self._device)
        with torch.inference_mode(), self._autocast():
            logits = self._network(self.images) if n else torch.empty(0, self.width)
        rows: NDArray[np.float32] = logits.float().cpu().numpy()
        return rows
