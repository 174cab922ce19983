"""Class folders of small images, each another image."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from PIL import Image

from resnest_cli.inputs.labelled import training_set

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from resnest_cli.inputs.labelled.training_set import TrainingSet

_Value = TypeVar("_Value")


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


def load(root: Path, share: float = 0.25, seed: int = 0, **how: Any) -> TrainingSet:  # noqa: ANN401 - as `training_set.find`
    """Find the images at a place and read them, past the progress."""
    return ended(training_set.load(training_set.find(root, **how), share=share, seed=seed))


def ended(steps: Generator[object, None, _Value]) -> _Value:
    """Return what a generator returns."""
    box: list[_Value] = []

    def returned() -> Generator[object, None, None]:
        box.append((yield from steps))

    deque(returned(), maxlen=0)
    return box[0]
