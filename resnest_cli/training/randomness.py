"""Random numbers that follow from what they are for, so that a run which is resumed draws what it would have drawn.

In: parts, such as a seed, an epoch and a row. Out: a number, or seeded generators.
"""

from __future__ import annotations

import hashlib
import random

import numpy as np


def number(*parts: int | str) -> int:
    """Return a 32-bit hash of `parts`."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "little")


def seed_everything(*parts: int | str) -> None:
    """Seed the random generators of Python, numpy and torch (on the CPU) from `parts`."""
    import torch  # noqa: PLC0415 - workers that only crop do without it

    value = number(*parts)
    random.seed(value)
    np.random.seed(value)  # noqa: NPY002 - timm's transforms and mixup use this generator
    torch.default_generator.manual_seed(value)
