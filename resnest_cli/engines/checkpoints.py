"""The weights of a model, read from its file and checked, or made from a seed: the same for every engine.

In: a spec, the path of a checkpoint or None, and the shapes that the network has. Out: arrays by name, and the hash of
the file. Loads torch for pickles only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from resnest_cli.models import checkpoint, random_weights, state, weights
from resnest_cli.system import imports

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from resnest_cli.models.architecture import Shape
    from resnest_cli.models.state import State
    from resnest_cli.types import ModelSpec


class Loaded(NamedTuple):
    """Weights, and the sha256 of the file that they are from; "" for random ones."""

    state: State
    sha256: str


def load(spec: ModelSpec, path: Path | None, shapes: Mapping[str, Shape], *, sha256: str = "") -> Loaded:
    """Return the weights of a model with tensors of these shapes; seeded random ones without a `path`.

    `sha256` is the hash that the file must have, "" for any.

    Raises:
        BadCheckpoint: the file cannot be read, does not fit, or holds values that are not finite.
        UsageError: it is a pickle, and torch is not installed.
        ModelError: there is no file, and no machine has memory for so many numbers.
    """
    if path is None:
        return Loaded(random_weights.make(shapes, spec), "")
    data, digest = weights.read(path, sha256)
    found = read(data, path)
    state.check(found, shapes, path, spec)
    return Loaded(found, digest)


def read(content: bytes, path: Path) -> State:
    """Return the weights of .safetensors or of any torch checkpoint, told apart by content; `path` is for messages.

    Raises:
        BadCheckpoint: it is no weights file, or damaged.
        UsageError: it is a pickle, and torch is not installed.
    """
    if checkpoint.examine(content, path) == "safetensors":
        return state.from_safetensors(content, path)
    imports.require_torch(f"{path}, a checkpoint in torch's own format,")
    imports.announce("torch")
    from resnest_cli.engines.pytorch import pickles  # noqa: PLC0415 - seconds

    return pickles.read(content, path)
