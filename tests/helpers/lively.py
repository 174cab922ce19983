"""Random networks in which every block counts, and model folders of such networks, as finetune writes them."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

EDGE = 64  # pixels: small, so that the largest variants take seconds
LOGIT_STD = 3.0
CLASSES = ("ant", "bee", "cat", "dog", "eel")
IS_FULL = "FULL_DEPTH" in os.environ
# One block of each kind that changes a shape, and one that keeps it; FULL_DEPTH=1 runs full networks, in minutes.
LAYERS = (1, 1, 2, 1)


def scenes(count: int, seed: int) -> torch.Tensor:
    """Return normalized images float32 [N, 3, EDGE, EDGE], each of a color, a gradient and noise."""
    dice = torch.Generator().manual_seed(seed)
    slope = torch.linspace(-2, 2, EDGE)
    across, down, noise = (2 * torch.rand(3, count, 1, 1, 1, generator=dice) - 1).unbind()
    color = 4 * torch.rand(count, 3, 1, 1, generator=dice) - 2
    grain = torch.randn(count, 3, EDGE, EDGE, generator=dice)
    return color + across * slope + down * slope[:, None] + noise * grain


@torch.no_grad()
def enliven(network: nn.Module, seed: int = 0) -> nn.Module:
    """Set random weights like those of a trained network: every block counts, and answers depend on the image.

    timm starts the last norm of each block at zero, so that a fresh network has no blocks. Norms drawn at random alone
    would give nearly one answer to all images, so their statistics are taken from images, as training does. The last
    norms stay small: deep random networks amplify rounding errors, which no trained one does.
    """
    dice = torch.Generator().manual_seed(seed)
    for name, norm in network.named_modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.weight.uniform_(*((0.03, 0.1) if name.endswith("bn3") else (0.6, 1.2)), generator=dice)
            norm.bias.normal_(0, 0.1, generator=dice)
            norm.momentum = 1.0  # use the statistics of the next batch
    network.train()(scenes(8, seed=1))
    network.eval()
    network.get_parameter("fc.weight").mul_(LOGIT_STD / network(scenes(8, seed=2)).std())
    return network


def lively(name: str, **model_args: Any) -> nn.Module:  # noqa: ANN401 - as timm takes them
    """Return a variant's network with weights like a trained one's, always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return enliven(timm.create_model(name, **model_args))


def finetuned(
    name: str,
    folder: Path,
    label_names: tuple[str, ...] = CLASSES,
    **model_args: Any,  # noqa: ANN401 - as timm takes them
) -> nn.Module:
    """Write a folder with a lively network of five classes for pictures of 64 pixels; return the network."""
    args = {"num_classes": len(label_names), **({} if IS_FULL else {"layers": LAYERS}), **model_args}
    network = lively(name, **args)
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
    """Write `count` pictures of the network's own size, so nothing is resized; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = (scenes(count, seed=7).clamp(-2, 2) * 60 + 128).byte().permute(0, 2, 3, 1).numpy()
    paths = [folder / f"{number}.png" for number in range(count)]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    return paths


def to_input(paths: list[Path]) -> torch.Tensor:
    """Return pictures of the network's size as normalized float32 [N, 3, EDGE, EDGE], by the formula of timm."""
    pixels: NDArray[np.uint8] = np.stack([np.asarray(Image.open(path)) for path in paths])
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std
