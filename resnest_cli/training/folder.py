"""A trained network as a model folder that every command takes, and timm's `local-dir:`.

In: a spec and the weights. Out: `config.json`, `model.safetensors` and `labels.txt`, each written atomically.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from safetensors.torch import save

from resnest_cli.engines.pytorch import network
from resnest_cli.models import folders
from resnest_cli.models.weights import FILENAMES
from resnest_cli.system import atomic, files

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from resnest_cli.types import ModelSpec


def write(folder: Path, spec: ModelSpec, state: dict[str, torch.Tensor], description: str) -> str:
    """Write the model into its folder; return the sha256 of its weights.

    The network is built anew from `spec`, which refuses weights that do not fit.

    Raises:
        OutputError: the folder cannot be written.
    """
    made = network.build(spec, None)
    made.load_state_dict(state)
    content = save(made.state_dict())
    features: Any = made.num_features
    with files.as_output_error(folder):
        atomic.write(folder / FILENAMES[0], content)
        folders.write_config(
            folder, folders.describe(spec, spec.label_names, num_features=features, description=description)
        )
        atomic.write(folder / "labels.txt", "".join(f"{name}\n" for name in spec.label_names))
    return hashlib.sha256(content).hexdigest()
