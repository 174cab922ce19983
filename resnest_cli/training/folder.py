"""A trained network as a model folder that every command takes, and timm's `local-dir:`.

In: a spec and the weights. Out: `config.json`, `model.safetensors` and `labels.txt`, each put in place whole.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timm.models import save_for_hf

from resnest_cli.engines.pytorch import network
from resnest_cli.errors import OutputError
from resnest_cli.system import atomic

if TYPE_CHECKING:
    import torch

    from resnest_cli.types import ModelSpec

# What timm would write of the checkpoint that training began with, and is no longer true of this one.
_OF_THE_SOURCE = ("tag", "license", "description", "origin_url", "paper_name", "paper_ids", "notes", "label_names")


def write(folder: Path, spec: ModelSpec, state: dict[str, torch.Tensor], description: str) -> str:
    """Write the folder's model; give the sha256 of its weights.

    The network is built anew from `spec`, so that what was only for training (dropout, DropBlock) is not described.

    Raises:
        OutputError: the folder cannot be written.
    """
    made = network.build(spec, None)
    made.load_state_dict(state)
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".model-") as scratch:
            save_for_hf(
                made,
                scratch,
                model_config={"label_names": list(spec.label_names)},
                model_args={**spec.model_args, "num_classes": spec.num_classes},
                safe_serialization=True,
                data_config=asdict(spec.data),
            )
            weights = (Path(scratch) / "model.safetensors").read_bytes()
            config: dict[str, Any] = json.loads((Path(scratch) / "config.json").read_text(encoding="utf-8"))
        for key in _OF_THE_SOURCE:
            config["pretrained_cfg"].pop(key, None)
        config["pretrained_cfg"]["description"] = description
        files = {
            "model.safetensors": weights,
            "config.json": (json.dumps(config, indent=2) + "\n").encode(),
            "labels.txt": "".join(f"{name}\n" for name in spec.label_names).encode(),
        }
        for name, content in files.items():
            atomic.write(folder / name, content)
    except OSError as error:
        message = f"{folder} cannot be written ({error.strerror or error})."
        raise OutputError(message) from error
    return hashlib.sha256(weights).hexdigest()
