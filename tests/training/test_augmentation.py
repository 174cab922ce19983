"""Training sees what timm's training transform makes of an image, from the same random numbers."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.transforms import RandomResizedCropAndInterpolation
from timm.data.transforms_factory import create_transform

from resnest_cli.training.augmentation import Augmentation, crop_box
from resnest_cli.training.randomness import number, seed_everything
from resnest_cli.training.recipe import FINETUNE, RESNEST
from resnest_cli.types import DataConfig

DATA = DataConfig((3, 32, 24), 0.9, "center", "bicubic")


CROP: Any = RandomResizedCropAndInterpolation.get_params
TIMM: Any = create_transform


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize("least", [0.08, 0.5, 1.0])
@pytest.mark.parametrize("size", [(40, 40), (100, 31), (9, 70), (1, 50), (64, 48), (1, 1)])
def test_the_box_is_that_of_timm(size: tuple[int, int], least: float) -> None:
    image = picture(*size)
    for seed in range(200):
        random.seed(seed)
        upper, left, high, wide = CROP(image, (least, 1.0), (3 / 4, 4 / 3))
        expected = left, upper, left + wide, upper + high
        assert crop_box(*size, least, random.Random(seed)) == expected  # noqa: S311 - no secret


def test_the_pixels_are_those_of_timm() -> None:
    recipe = replace(FINETUNE, crop_scale=0.3)
    plain = TIMM(
        DATA.input_size, is_training=True, scale=(0.3, 1.0), hflip=0.0, color_jitter=None, interpolation="bicubic"
    )
    image = picture(50, 41)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (DATA.mean, DATA.std))
    for seed in range(20):
        pixels = torch.from_numpy(Augmentation(DATA, recipe).pixels(image, seed).copy()).permute(2, 0, 1)
        random.seed(number(seed))
        torch.testing.assert_close((pixels / 255 - mean) / std, plain(image))


def test_augmentations_are_those_of_timm() -> None:
    plain = TIMM(
        DATA.input_size, is_training=True, use_prefetcher=True, auto_augment="original", color_jitter=None,
        interpolation="bicubic",
    )  # fmt: skip
    for seed in range(20):
        pixels = Augmentation(DATA, RESNEST).pixels(picture(50, 41), seed, "image")
        seed_everything(seed, "image")
        np.testing.assert_array_equal(pixels, np.asarray(plain(picture(50, 41))).transpose(1, 2, 0))


@pytest.mark.parametrize("least", [0.5, 1])
def test_half_of_the_images_are_mirrored_and_nothing_else(least: float) -> None:
    image = picture(50, 41)
    mirroring, plain = (Augmentation(DATA, replace(FINETUNE, crop_scale=least, hflip=share)) for share in (0.5, 0.0))
    mirrored = 0
    for seed in range(400):
        pixels, expected = mirroring.pixels(image, seed), plain.pixels(image, seed)
        if not np.array_equal(pixels, expected):
            np.testing.assert_array_equal(pixels, expected[:, ::-1])
            mirrored += 1
    assert 160 < mirrored < 240  # 200, and four standard deviations of ten


def test_without_crops_the_whole_image_is_resized() -> None:
    plain = TIMM(DATA.input_size, is_training=True, no_aug=True, use_prefetcher=True, interpolation="bicubic")
    pixels = Augmentation(DATA, replace(FINETUNE, crop_scale=1)).pixels(picture(50, 41), 0)
    np.testing.assert_array_equal(pixels, np.asarray(plain(picture(50, 41))).transpose(1, 2, 0))


def test_crops_and_mirrors_do_without_torch() -> None:
    """Each worker would load it: seconds, and 600 MB."""
    program = """
import sys
from PIL import Image
from resnest_cli.training.augmentation import Augmentation
from resnest_cli.training.recipe import FINETUNE
from resnest_cli.types import DataConfig
image = Image.new("RGB", (50, 40))
print(Augmentation(DataConfig((3, 32, 32)), FINETUNE).pixels(image, 0).shape, "torch" in sys.modules)
"""
    ended = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert ended.stdout == "(32, 32, 3) False\n"
