"""Weights from a seed, for speed tests and trials: the same for every engine.

In: the shapes of a network's tensors. Out: a `State`: Kaiming normal convolutions and head (He et al.,
arXiv:1502.01852, by their outputs), norms that change nothing, and 0 for the last norm of each block, as timm has it.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from resnest_cli.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.random import Generator
    from numpy.typing import NDArray

    from resnest_cli.models.architecture import Shape
    from resnest_cli.models.state import State
    from resnest_cli.types import ModelSpec

SEED = 0
MAX_COUNT = 1 << 31  # numbers, 8 GB: the largest variant has 0.11 * 10^9
_ONES = ("running_var", "weight")  # of a norm
_LAST_NORM = "bn3.weight"


def make(shapes: Mapping[str, Shape], spec: ModelSpec) -> State:
    """Return seeded random weights of these shapes, float32.

    Raises:
        ModelError: they are more than any machine is for.
    """
    count = sum(map(prod, shapes.values()))
    if count > MAX_COUNT:
        message = (
            f"{spec.name}, as its config.json has it, has {count / 1e6:,.0f} million numbers: more than any machine"
        )
        raise ModelError(f"{message} is for. Correct the file.")
    source = np.random.default_rng(SEED)
    return {name: _tensor(name, shapes, source) for name in shapes}


def _tensor(name: str, shapes: Mapping[str, Shape], source: Generator) -> NDArray[np.float32]:
    shape, part = shapes[name], name.rpartition(".")[2]
    weight = shapes.get(f"{name.removesuffix('bias')}weight", ())
    if len(shape) > 1:
        outputs = shape[0] * prod(shape[2:])
        return source.standard_normal(shape, np.float32) * np.float32((2 / outputs) ** 0.5)
    if part == "bias" and len(weight) > 1:
        reach = prod(weight[1:]) ** -0.5
        return source.uniform(-reach, reach, shape).astype(np.float32)
    is_one = part in _ONES and not name.endswith(_LAST_NORM)
    return np.full(shape, is_one, np.float32)
