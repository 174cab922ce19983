"""What a network shows of its way to an answer, for one image, on torch: for GPUs, and networks that only timm knows.

In: a spec, its weights, a device, and pixels. Out: an `Inspection`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from timm.layers.split_attn import RadixSoftmax

from resnest_cli.engines.inspection import Inspection
from resnest_cli.engines.pytorch.engine import choose_device
from resnest_cli.engines.pytorch.network import build
from resnest_cli.engines.pytorch.program import FromPixels
from resnest_cli.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from resnest_cli.types import ModelSpec


class TorchInspector:
    """An `Inspector` on torch.

    Raises:
        UsageError: the classifier does not stand on an average over cells, so that no cell has a share of a logit.
    """

    name = "torch"

    def __init__(self, spec: ModelSpec, weights: Path | None, device: str) -> None:
        chosen, self.reason = choose_device(device)
        self.device = str(chosen)
        network: Any = build(spec, weights)
        if network.global_pool.pool_type != "avg":
            message = f"{spec.name} cannot be explained: its global_pool is {network.global_pool.pool_type}, not avg."
            raise UsageError(message)
        self._network, self._from_pixels = network, FromPixels(network, spec).to(chosen)
        self._stage = torch.empty(0)
        self._shares: dict[str, NDArray[np.float32]] = {}
        network.layer4.register_forward_hook(self._keep_stage)
        for name, module in network.named_modules():
            if isinstance(module, RadixSoftmax):
                module.register_forward_hook(partial(self._keep_shares, name.removesuffix(".conv2.rsoftmax")))

    def inspect(self, pixels: NDArray[np.uint8]) -> Inspection:
        """Run the network on one image, uint8 [H, W, 3]."""
        with torch.inference_mode():
            logits = self._from_pixels(torch.from_numpy(pixels[None]).to(self.device))[0]
            evidence = torch.einsum("cf,fhw->chw", self._network.fc.weight, self._stage[0])
        return Inspection(_array(logits), _array(evidence), dict(self._shares))

    def _keep_stage(self, _module: object, _given: object, stage: torch.Tensor) -> None:
        self._stage = stage

    def _keep_shares(self, block: str, module: Any, _given: object, shares: torch.Tensor) -> None:  # noqa: ANN401 - of timm
        self._shares[block] = _array(shares).reshape(module.radix, -1)


def _array(values: torch.Tensor) -> NDArray[np.float32]:
    return np.asarray(values.cpu(), np.float32)
