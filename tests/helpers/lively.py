"""Model folders as a finetuning leaves them: a network of each variant that computes something, and its config."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from test_engine import EDGE, enliven, scenes

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

CLASSES = ("ant", "bee", "cat", "dog", "eel")
IS_FULL = "FULL_DEPTH" in os.environ
# One block of each kind that changes a shape, and one that keeps it; with FULL_DEPTH=1 all run as they are, in minutes.
LAYERS = (1, 1, 2, 1)


def finetuned(
    name: str,
    folder: Path,
    label_names: tuple[str, ...] = CLASSES,
    **model_args: Any,  # noqa: ANN401 - as timm takes them
) -> nn.Module:
    """Write a folder with a lively network of five classes for pictures of 64 pixels; give the network."""
    args = {"num_classes": len(label_names), **({} if IS_FULL else {"layers": LAYERS}), **model_args}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = enliven(timm.create_model(name, **args))
    folder.mkdir(parents=True)
    save_file(network.state_dict(), folder / "model.safetensors")
    cfg = {
        "input_size": [3, EDGE, EDGE],
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "num_classes": args["num_classes"],
    }
    config = {"architecture": name, "model_args": args, "label_names": label_names, "pretrained_cfg": cfg}
    (folder / "config.json").write_text(json.dumps(config))
    return network


def save_pictures(folder: Path, count: int) -> list[Path]:
    """Write so many pictures of the network's own size that it can tell apart: nothing is resized."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = (scenes(count, seed=7).clamp(-2, 2) * 60 + 128).byte().permute(0, 2, 3, 1).numpy()
    paths = [folder / f"{number}.png" for number in range(count)]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    return paths


def to_input(paths: list[Path]) -> torch.Tensor:
    """Give pictures of the network's own size as timm's eval transform does, by its own formula."""
    pixels: NDArray[np.uint8] = np.stack([np.asarray(Image.open(path)) for path in paths])
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std
