"""What training sees of an image: a random crop, a mirror image, and what timm's augmentations make of it.

In: a source with the epoch and the row that its random numbers are of. Out: pixels, the `Load` of a `Pool`. Without
`augment` nothing here needs torch, which takes seconds to load in each worker.
"""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from resnest_cli.errors import BrokenImage
from resnest_cli.inputs import loading
from resnest_cli.inputs.decode import images
from resnest_cli.inputs.loading import Loaded
from resnest_cli.inputs.read import BYTES_PER_PIXEL, read_source
from resnest_cli.options import MAX_PIXELS
from resnest_cli.training.randomness import number, seed_everything
from resnest_cli.types import Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from PIL import Image

    from resnest_cli.training.recipe import Recipe
    from resnest_cli.types import DataConfig

TRIES = 10  # of a crop that may not fit
NARROWEST, WIDEST = 3 / 4, 4 / 3  # width by height of a crop
TIMM_BYTES = 1 << 30  # that a worker needs for torch, which timm's augmentations come with


@dataclass(frozen=True)
class Drawn(Source):
    """An image to augment; what is random follows from the epoch and the row."""

    epoch: int = field(kw_only=True)
    row: int = field(kw_only=True)


@dataclass(frozen=True)
class Augmentation:
    """Reads a `Drawn` image and returns what training sees of it, uint8 [height, width, 3].

    The crop is timm's `RandomResizedCropAndInterpolation`: the same box from the same random numbers. Recipes with
    `augment` go through timm's own training transform.
    """

    data: DataConfig
    recipe: Recipe
    max_pixels: int = MAX_PIXELS

    def prepare(self) -> None:
        """Load timm if it is needed, and limit the memory of this process, as `Loader` does."""
        if self.by_timm:
            self.transform  # noqa: B018 - it is kept
        loading.limit(self.max_pixels, more=TIMM_BYTES if self.by_timm else 0)

    def __call__(self, source: Drawn) -> Loaded:
        """Return the image, augmented.

        Raises:
            ImageError: see `read_source` and `images.decode`; Pillow refuses what an augmentation asks of the image.
        """
        begun = time.perf_counter()
        content = read_source(source, max_bytes=BYTES_PER_PIXEL * self.max_pixels)
        read = time.perf_counter()
        picture = images.decode(content, max_pixels=self.max_pixels)
        try:
            pixels = self.pixels(picture, self.recipe.seed, "image", source.epoch, source.row)
        except ValueError as error:
            raise BrokenImage(f"{error} (see --augment, if the file is good)") from error
        return Loaded(pixels, read - begun, time.perf_counter() - read)

    @property
    def by_timm(self) -> bool:
        """Whether the recipe has augmentations of timm's."""
        return self.recipe.augment != "none"

    def pixels(self, picture: Image.Image, *parts: int | str) -> NDArray[np.uint8]:
        """Return an RGB image as training sees it, with the random numbers of `parts`."""
        if self.by_timm:
            seed_everything(*parts)
            made: NDArray[np.uint8] = np.asarray(self.transform(picture)).transpose(1, 2, 0)
            return made
        source = random.Random(number(*parts))  # noqa: S311 - no secret
        pixels = self._cropped(picture, source)
        return pixels[:, ::-1] if source.random() < self.recipe.hflip else pixels

    def _cropped(self, picture: Image.Image, source: random.Random) -> NDArray[np.uint8]:
        if self.recipe.crop_scale == 1:
            return images.preprocess(picture, replace(self.data, crop_pct=1.0, crop_mode="squash"))
        height, width = self.data.input_size[1:]
        crop = picture.crop(crop_box(*picture.size, self.recipe.crop_scale, source))
        return np.asarray(crop.resize((width, height), images.RESAMPLING[self.data.interpolation]))

    @cached_property
    def transform(self) -> Callable[[Image.Image], Any]:
        """The training transform of timm: RGB image -> uint8 [3, height, width].

        Raises:
            Exception: of any type, if timm does not know the name of `augment`.
        """
        from timm.data.transforms_factory import create_transform  # noqa: PLC0415 - see the module's docstring

        made: Callable[[Image.Image], Any] = create_transform(
            self.data.input_size,
            is_training=True,
            use_prefetcher=True,  # so it does not normalize
            scale=(self.recipe.crop_scale, 1.0),
            hflip=self.recipe.hflip,
            auto_augment=self.recipe.augment,
            color_jitter=None,  # type: ignore[arg-type] # none is its switch
            interpolation=self.data.interpolation,
            mean=self.data.mean,
            std=self.data.std,
        )
        return made


def crop_box(width: int, height: int, least: float, source: random.Random) -> tuple[int, int, int, int]:
    """Return a random box in an image, (left, upper, right, lower), of a share of its area from `least` to 1."""
    for _ in range(TRIES):
        area = source.uniform(least, 1.0) * width * height
        ratio = math.exp(source.uniform(math.log(NARROWEST), math.log(WIDEST)))
        wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if wide <= width and high <= height:
            upper, left = source.randint(0, height - high), source.randint(0, width - wide)
            return left, upper, left + wide, upper + high
    # No box has fitted: the middle, as wide or high as the ratios allow.
    wide, high = min(width, round(height * WIDEST)), min(height, round(width / NARROWEST))
    left, upper = (width - wide) // 2, (height - high) // 2
    return left, upper, left + wide, upper + high
