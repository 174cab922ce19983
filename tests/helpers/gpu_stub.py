"""The torch engine's way on a GPU, run on the CPU: folded, in channels_last, two batches in flight.

What a card alone can show is not in it: that copies overlap, and what its kernels compute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from resnest_cli.engines.pytorch.engine import TorchEngine

if TYPE_CHECKING:
    from collections.abc import Iterator


class AsOnGpu(TorchEngine):
    """Takes the CPU for a CUDA device."""

    @property
    def _kind(self) -> str:
        return "cuda"


@pytest.fixture(scope="module")
def no_pinning() -> Iterator[list[str]]:
    """Let tensors on the CPU be pinned and recorded, which only a GPU's driver can do; give what was done."""
    done: list[str] = []

    def pin_memory(tensor: torch.Tensor) -> torch.Tensor:
        done.append("pinned")
        return tensor.clone()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "pin_memory", pin_memory)
        patch.setattr(torch.Tensor, "record_stream", lambda *_: done.append("recorded"))
        yield done
