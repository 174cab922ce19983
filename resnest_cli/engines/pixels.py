"""An engine that runs nothing: its rows are the pixels themselves, as a network would see them.

In: batches of pixels. Out: the same numbers, one row per image. For tasks with a network of their own, so that their
images come through the same trunk as all others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from resnest_cli.types import ModelSpec


class PixelEngine:
    """Passes pixels through; `picture` restores the shape of a row."""

    name = "pixels"
    device = "cpu"
    precision = "fp32"
    reason = "nothing to run"
    best_batch = 1
    facts: ClassVar[dict[str, Any]] = {"threads": 1, "param_count": 0, "versions": {}}

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the pixels that `run` takes."""
        channels, height, width = self.spec.data.input_size
        return height, width, channels

    @property
    def width(self) -> int:
        """The number of pixels times the number of channels."""
        height, width, channels = self.shape
        return height * width * channels

    def prepare(self, *, single: bool) -> None:
        """Do nothing."""

    def run(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        """Yield each batch, uint8 [N, H, W, 3], as rows float32 [N, H * W * 3]."""
        for batch in batches:
            yield batch.reshape(len(batch), self.width).astype(np.float32)

    def picture(self, row: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the pixels uint8 [H, W, 3] of a row."""
        return row.reshape(self.shape).astype(np.uint8)

    def close(self) -> None:
        """Do nothing."""
