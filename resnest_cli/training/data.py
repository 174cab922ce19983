"""Batches of images for training, the same on every run.

In: (path, class) pairs and a preprocessing. Out: float32 inputs and int64 targets for lists of rows. The
augmentation of an image depends on (seed, epoch, row) alone, not on the number of workers or on earlier images. So a
run that resumes in the middle of an epoch needs no state of a random generator.
"""

from __future__ import annotations

import hashlib
import logging
import random
import shutil
import signal
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from timm.data.transforms_factory import create_transform
from torch.utils.data import DataLoader, Dataset

from resnest_cli.errors import ImageError, TrainingStopped
from resnest_cli.inputs.decode import images
from resnest_cli.inputs.read import read_source
from resnest_cli.types import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray
    from PIL import Image

    from resnest_cli.training.recipe import Recipe
    from resnest_cli.types import DataConfig

SHARED = "/dev/shm"  # noqa: S108 - torch's processes share batches there; in docker it has 64 MB
AHEAD = 2  # batches that each worker decodes ahead
STALL_S = 600.0  # timeout per batch: the check before training allows a tenth of it per image

_log = logging.getLogger(__name__)
Key = tuple[int, int]  # (epoch, row)


class Data(Protocol):
    """Rows to train or to validate on; `targets` are class indices, int64 [N]."""

    targets: torch.Tensor

    def batches(self, epoch: int, groups: Iterable[list[int]]) -> Iterator[torch.Tensor]:
        """Return the float32 inputs of each group of rows, in order, augmented for `epoch`."""


class Images:
    """Image files as inputs float32 [N, 3, H, W].

    Batches come through shared memory, or through pipes where it has no room: some 20 ms for 32 images of 224 pixels.

    Args:
        examples: (path, class index) pairs.
        load: the preprocessing: RGB image -> float32 [3, H, W].
        seed: random seed of the augmentation.
        workers: processes that decode, and live as long as this object; 0 decodes in this process.
        piped: send batches through pipes.
    """

    def __init__(
        self,
        examples: list[tuple[str, int]],
        load: Callable[[Image.Image], torch.Tensor],
        seed: int,
        workers: int,
        *,
        piped: bool = False,
    ) -> None:
        self.targets = torch.tensor([label for _, label in examples], dtype=torch.int64)
        self._plan = _Plan()
        files = _Files([path for path, _ in examples], load, seed)
        self._loader: DataLoader[torch.Tensor] = DataLoader(
            files,
            batch_sampler=self._plan,
            collate_fn=_as_array if piped else None,
            num_workers=workers,
            prefetch_factor=AHEAD if workers else None,
            persistent_workers=workers > 0,
            timeout=STALL_S if workers else 0,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=_ignore_signals if workers else None,
        )

    def batches(self, epoch: int, groups: Iterable[list[int]]) -> Iterator[torch.Tensor]:
        """Return the inputs of each group; workers decode a few groups ahead."""
        self._plan.keys = [[(epoch, row) for row in group] for group in groups]
        return map(torch.as_tensor, self._loader)


def lacks_shared_memory(needed: int) -> bool:
    """Return whether shared memory has less than `needed` bytes; a worker that exceeds it is killed."""
    try:
        free = shutil.disk_usage(SHARED).free
    except OSError:  # there is none to run out of: macOS
        return False
    if needed > free:
        _log.info("%s has %d of %d MB that batches need: they come through pipes", SHARED, free >> 20, needed >> 20)
    return needed > free


def _as_array(images: list[torch.Tensor]) -> NDArray[np.float32]:
    """Return a batch as an array, which goes through a pipe; tensors go through shared memory."""
    batch: NDArray[np.float32] = torch.stack(images).numpy()
    return batch


class _Plan:
    """The batch sampler: `keys` are the batches of the next pass."""

    def __init__(self) -> None:
        self.keys: list[list[Key]] = []

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.keys)

    def __len__(self) -> int:
        return len(self.keys)


class _Files(Dataset[torch.Tensor]):
    def __init__(self, paths: list[str], load: Callable[[Image.Image], torch.Tensor], seed: int) -> None:
        self.paths = paths
        self.load = load
        self.seed = seed

    def __getitem__(self, key: Key) -> torch.Tensor:
        epoch, row = key
        seed_everything(self.seed, "image", epoch, row)
        try:
            return self.load(images.decode(read_source(Source(self.paths[row]))))
        except (ImageError, ValueError) as error:  # a file that changed, or an augmentation that Pillow refuses
            message = f"{self.paths[row]} cannot be trained on any more: {error} (see --augment, if the file is good)"
            raise TrainingStopped(message) from error


def train_transform(config: DataConfig, recipe: Recipe) -> Callable[[Image.Image], torch.Tensor]:
    """Return timm's training transform: RGB image -> normalized float32 [3, H, W]."""
    made: Callable[[Image.Image], torch.Tensor] = create_transform(
        config.input_size,
        is_training=True,
        no_aug=recipe.crop_scale == 1 and recipe.hflip == 0 and recipe.augment == "none",
        scale=(recipe.crop_scale, 1.0),
        hflip=recipe.hflip,
        auto_augment=None if recipe.augment == "none" else recipe.augment,
        color_jitter=None,  # type: ignore[arg-type] # none is its switch
        interpolation=config.interpolation,
        mean=config.mean,
        std=config.std,
    )
    return made


class EvalTransform:
    """The preprocessing of `predict`: RGB image -> normalized float32 [3, H, W]."""

    def __init__(self, config: DataConfig) -> None:
        self.config = config
        self.mean = torch.tensor(config.mean, dtype=torch.float32).view(3, 1, 1)
        self.std = torch.tensor(config.std, dtype=torch.float32).view(3, 1, 1)

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Return an image resized, cropped and normalized."""
        pixels = torch.from_numpy(images.preprocess(image, self.config).copy()).permute(2, 0, 1)
        return pixels.float().div(255).sub(self.mean).div(self.std)


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


def seed_everything(*parts: int | str) -> None:
    """Seed the random generators of Python, numpy and torch (on the CPU) from `parts`."""
    value = number(*parts)
    random.seed(value)
    np.random.seed(value)  # noqa: NPY002 - timm's transforms and mixup use this generator
    torch.default_generator.manual_seed(value)


def number(*parts: int | str) -> int:
    """Return a 32-bit hash of `parts`."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "little")


def _ignore_signals(_worker: int) -> None:
    """Ignore Ctrl-C: the training process gets it and ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
