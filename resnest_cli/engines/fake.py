"""An engine without a network, for tests of code that uses an engine: ours and those of our users."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from resnest_cli.engines.base import Fetched
from resnest_cli.models.catalog import DIGITS, find_model

if TYPE_CHECKING:
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from resnest_cli.types import ModelSpec


class FakeEngine:
    """Answers by brightness: the darker the picture, the lower the class index.

    Args:
        spec: the model that it pretends to run; the embedded digits model if None.
    """

    name = "fake"
    device = "cpu"
    precision = "fp32"
    reason = "asked for"
    best_batch = 8
    slots = 1

    def __init__(self, spec: ModelSpec | None = None) -> None:
        self.spec = spec or find_model(DIGITS.name)
        self.batch_sizes: list[int] = []

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the pixels that `submit` takes."""
        channels, height, width = self.spec.data.input_size
        return height, width, channels

    @property
    def width(self) -> int:
        """The number of classes."""
        return self.spec.num_classes

    def prepare(self, *, single: bool) -> None:
        """Do nothing."""

    def submit(self, batch: NDArray[np.uint8]) -> Future[NDArray[np.float32]]:
        """Return a future of what `answer` returns."""
        return Fetched(partial(self.answer, batch))

    def answer(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return logits: 20 for class int(mean / 256 * num_classes), 0 for the others; override it for others."""
        self.batch_sizes.append(len(batch))
        logits = np.zeros((len(batch), self.spec.num_classes), np.float32)
        for row, pixels in zip(logits, batch, strict=True):
            row[int(pixels.mean() / 256 * self.spec.num_classes)] = 20
        return logits

    def close(self) -> None:
        """Do nothing."""
