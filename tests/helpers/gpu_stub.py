"""Run the GPU path of the torch engine on the CPU: folded norms, channels_last, two batches in flight.

Only a card can test the overlap of copies and the kernels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from resnest_cli.engines.pytorch.engine import TorchEngine

if TYPE_CHECKING:
    from collections.abc import Iterator


class AsOnGpu(TorchEngine):
    """A torch engine that treats the CPU as a CUDA device."""

    @property
    def _kind(self) -> str:
        return "cuda"


@pytest.fixture(scope="module")
def no_pinning() -> Iterator[list[str]]:
    """Replace pinning and recording of tensors, which need a GPU driver; yield the list of calls."""
    done: list[str] = []

    def pin_memory(tensor: torch.Tensor) -> torch.Tensor:
        done.append("pinned")
        return tensor.clone()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "pin_memory", pin_memory)
        patch.setattr(torch.Tensor, "record_stream", lambda *_: done.append("recorded"))
        yield done
