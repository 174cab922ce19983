"""Class folders of small images, each another image, and the processes that check them (loaded by conftest)."""

from __future__ import annotations

from collections import deque
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pytest
from PIL import Image

from resnest_cli.inputs import loading
from resnest_cli.inputs.labelled import training_set
from resnest_cli.inputs.labelled.check import TIMEOUT_S
from resnest_cli.inputs.loading import Check

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from resnest_cli.inputs.labelled.training_set import TrainingSet
    from resnest_cli.inputs.pool import Pool

_Value = TypeVar("_Value")


@pytest.fixture(scope="module")
def _checking_processes() -> Iterator[Pool]:
    with loading.start(Check(), 2, TIMEOUT_S) as pool:
        yield pool


@pytest.fixture
def check_in_shared_processes(_checking_processes: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check files in two processes for all tests of a file: with its own, each test takes 0.4 CPU seconds more."""
    monkeypatch.setattr(loading, "start", lambda *_: nullcontext(_checking_processes))


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
