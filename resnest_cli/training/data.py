"""Batches of images for training, the same on every run.

In: (path, class) pairs and a `Load`. Out: float32 inputs and int64 targets for lists of rows. The augmentation of an
image depends on (seed, epoch, row) alone, not on the number of workers or on earlier images. So a run that resumes in
the middle of an epoch needs no state of a random generator.
"""

from __future__ import annotations

import math
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from resnest_cli.errors import TrainingStopped
from resnest_cli.inputs.labelled.check import TIMEOUT_S, without_options
from resnest_cli.pipeline.decoders import Decoders
from resnest_cli.training.augmentation import Drawn
from resnest_cli.training.randomness import number
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from typing_extensions import Self

    from resnest_cli.inputs.loading import Loader
    from resnest_cli.pipeline.stream import Decoded
    from resnest_cli.training.augmentation import Augmentation
    from resnest_cli.training.recipe import Recipe

BATCHES_AHEAD = 2


class Data(Protocol):
    """Rows to train or to validate on; `targets` are class indices, int64 [N]."""

    targets: torch.Tensor

    def batches(self, epoch: int, groups: Sequence[list[int]]) -> Iterator[torch.Tensor]:
        """Return the float32 inputs of each group of rows, in order, augmented for `epoch`."""


class Images:
    """Image files as inputs float32 [N, 3, H, W]; use it as a context manager.

    Args:
        examples: (path, class index) pairs.
        load: the preprocessing.
        workers: as in `Decoders`.
    """

    def __init__(self, examples: list[tuple[str, int]], load: Loader | Augmentation, workers: int) -> None:
        self.targets = torch.tensor([label for _, label in examples], dtype=torch.int64)
        self._paths = [path for path, _ in examples]
        # Each image was decoded in time before. In this process a limit takes 0.3 ms per image, as does a small image.
        self._decoders = Decoders(load, workers, TIMEOUT_S if workers else math.inf)
        self._reader = ThreadPoolExecutor(1) if workers else None
        self._mean, self._std = (torch.tensor(each).view(3, 1, 1) for each in (load.data.mean, load.data.std))

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes, after the image that is being decoded."""
        if self._reader:
            self._reader.shutdown(cancel_futures=True)
        self._decoders.close()

    def batches(self, epoch: int, groups: Sequence[list[int]]) -> Iterator[torch.Tensor]:
        """Return the inputs of each group; with workers, the next ones are made meanwhile.

        Raises:
            TrainingStopped: an image cannot be read any more.
        """
        made = self._batches(epoch, groups)
        return _made_ahead(made, self._reader) if self._reader else made

    def _batches(self, epoch: int, groups: Sequence[list[int]]) -> Iterator[torch.Tensor]:
        sources = (Drawn(self._paths[row], epoch=epoch, row=row) for group in groups for row in group)
        images = self._decoders.images(sources)
        for group in groups:
            yield self._inputs(np.stack([_pixels(image) for image in islice(images, len(group))]))
        next(images, None)  # nothing comes, but so it has ended

    def _inputs(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        """Return pixels [N, H, W, 3] as a network takes them."""
        inputs = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255).sub_(self._mean).div_(self._std)
        return inputs.pin_memory() if torch.cuda.is_available() else inputs


def _made_ahead(batches: Iterator[torch.Tensor], reader: ThreadPoolExecutor) -> Iterator[torch.Tensor]:
    """Yield batches while `reader` makes the next ones: a worker's pipe holds but a few images."""
    coming = deque(reader.submit(next, batches, None) for _ in range(BATCHES_AHEAD))
    while (batch := coming.popleft().result()) is not None:
        coming.append(reader.submit(next, batches, None))
        yield batch


def _pixels(image: Decoded) -> NDArray[np.uint8]:
    if isinstance(image, Failure):  # a file that changed, or an augmentation that Pillow refuses
        message = f"{image.path} cannot be trained on any more: {without_options(image.message)}"
        raise TrainingStopped(message)
    return image.values


def order(targets: torch.Tensor, epoch: int, recipe: Recipe) -> list[int]:
    """Return the rows in the order of `epoch`; with `balance` every class is drawn equally often."""
    generator = np.random.default_rng(number(recipe.seed, "order", epoch))
    count, labels = len(targets), targets.numpy()
    if recipe.balance:
        weights = 1 / np.bincount(labels)[labels]
        rows = generator.choice(count, count, p=weights / weights.sum())
    else:
        rows = generator.permutation(count)
    chosen: list[int] = rows.tolist()
    return chosen
