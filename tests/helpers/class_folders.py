"""Class folders of small images, each another image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path


def draw(path: Path, seed: int) -> Path:
    """Save an image that no other seed gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def fill(root: Path, counts: dict[str, int], first: int = 0) -> Path:
    """Draw so many different images for each class."""
    seeds = iter(range(first, first + sum(counts.values())))
    for name, count in counts.items():
        for i in range(count):
            draw(root / name / f"{i}.png", next(seeds))
    return root
