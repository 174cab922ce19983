"""Train the small ResNeSt that ships with the package, and write its model folder.

In: ``sklearn.datasets.load_digits``, 1797 grey 8x8 images with values 0..16 that scikit-learn
carries in its own wheel, so nothing is downloaded. They are the test part of "Optical Recognition
of Handwritten Digits" by E. Alpaydin and C. Kaynak (UCI, 1998, CC BY 4.0).

Out: a folder that ``timm.create_model("local-dir:FOLDER", pretrained=True)`` reads:
``config.json``, ``model.safetensors``, ``metrics.json`` and twelve held-out images in ``samples/``.

The network is timm's ``resnest14d`` (Zhang et al., arXiv:2004.08955), narrowed to 311,010
parameters. The label smoothing of 0.1 is that of Szegedy et al. (arXiv:1512.00567, section 7);
learning rate, epochs and ranges of augmentation were set by hand for about a minute on one core.
360 images are held out: the network is not trained on them, and as the number of epochs is fixed
in advance, no checkpoint is selected by them. Two runs on one machine give the same bytes;
another CPU or another torch may round differently.
"""
# INP001: a script is no package. T201: what it prints is its output. CPY001: no notice per file.

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import sklearn
import timm
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from timm.models import save_for_hf
from torch import Tensor, nn
from torch.nn import functional

OUTPUT = Path(__file__).resolve().parents[1] / "resnest_cli" / "data" / "digits"
CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SEED, EPOCHS, BATCH, LEARNING_RATE, SMOOTHING = 0, 40, 64, 4e-3, 0.1
ROTATION, ZOOM, SHIFT = math.radians(10), 0.1, 0.06  # the shift is relative to half the width
HELD_OUT, SAMPLES, REQUIRED_TOP1 = 360, 12, 0.99
SIZE, MEAN, STD = 32, 0.5, 0.5
MODEL_ARGS: dict[str, Any] = {"channels": (16, 32, 64, 128), "stem_width": 8, "base_width": 32}
DATA_CONFIG: dict[str, Any] = {
    "input_size": (3, SIZE, SIZE),
    "interpolation": "bilinear",
    "crop_pct": 1.0,
    "crop_mode": "center",
    "mean": (MEAN,) * 3,
    "std": (STD,) * 3,
}
DATASET = "Optical Recognition of Handwritten Digits (E. Alpaydin, C. Kaynak; UCI), via scikit-learn"
# Takes the place of the ImageNet checkpoint's tag and licence, which timm would write out.
PROVENANCE: dict[str, Any] = {
    "tag": "digits",
    "license": "cc-by-4.0",
    "description": f"Trained from scratch on: {DATASET}",
    "origin_url": "https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
}
Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


class Split(NamedTuple):
    """Images [N, 32, 32, 3] with their class indices; test_indices are rows of the data set."""

    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels
    test_indices: Labels


def render(digit: npt.NDArray[np.float64]) -> Images:
    """Turn an 8x8 digit of grey levels 0..16 into the RGB image that the network sees."""
    grey = Image.fromarray(np.rint(digit * 255 / 16).astype(np.uint8))
    # Pillow resizes in the model's preprocessing too, so an 8x8 file gives the same pixels there.
    return np.asarray(grey.resize((SIZE, SIZE), Image.Resampling.BILINEAR).convert("RGB"))


def load_split() -> Split:
    """Return the training and the held-out images: stratified, and the same on every call."""
    digits, labels = load_digits(return_X_y=True)
    images, labels = np.stack([render(d.reshape(8, 8)) for d in digits]), labels.astype(np.int64)
    rows = np.arange(len(labels), dtype=np.int64)
    train, test = train_test_split(rows, test_size=HELD_OUT, stratify=labels, random_state=0)
    return Split(images[train], labels[train], images[test], labels[test], test)


def to_input(images: Images) -> Tensor:
    """Normalise images to the network's input, [N, 3, 32, 32]."""
    return (torch.tensor(images).permute(0, 3, 1, 2) / 255 - MEAN) / STD


def augment(batch: Tensor) -> Tensor:
    """Rotate, zoom and shift each image a little; what comes in at the edges is black."""
    turn, zoom, right, down = torch.rand(4, len(batch)) * 2 - 1
    angle, scale = turn * ROTATION, 1 + zoom * ZOOM
    cos, sin = scale * angle.cos(), scale * angle.sin()
    matrix = torch.stack([cos, -sin, right * SHIFT, sin, cos, down * SHIFT], dim=1).view(-1, 2, 3)
    grid = functional.affine_grid(matrix, list(batch.shape), align_corners=False)
    black = -MEAN / STD  # grid_sample pads with 0, so black is moved to 0 and back
    return functional.grid_sample(batch - black, grid, align_corners=False) + black


def train(images: Images, labels: Labels, epochs: int) -> nn.Module:
    """Train from scratch for a fixed number of epochs and return the last weights."""
    torch.manual_seed(SEED)
    model: nn.Module = timm.create_model(
        "resnest14d",
        num_classes=len(CLASSES),
        pretrained_cfg_overlay=PROVENANCE,
        **MODEL_ARGS,
    )
    inputs, targets = to_input(images), torch.tensor(labels)
    steps = len(inputs) // BATCH  # drops a partial batch: batch norm fails on a single image
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs * steps)
    for epoch in range(1, epochs + 1):
        total = 0.0
        for rows in torch.randperm(len(inputs))[: steps * BATCH].view(steps, BATCH):
            logits = model(augment(inputs[rows]))
            loss = functional.cross_entropy(logits, targets[rows], label_smoothing=SMOOTHING)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total += loss.item()
        if epoch % 5 == 0 or epoch == epochs:
            print(f"epoch {epoch}/{epochs}: training loss {total / steps:.4f}", flush=True)
    return model


@torch.inference_mode()
def top1_accuracy(model: nn.Module, images: Images, labels: Labels) -> float:
    """Return the share of images whose highest logit is that of their own class."""
    predicted = model.eval()(to_input(images)).argmax(dim=1)
    return float((predicted == torch.tensor(labels)).double().mean())


def write_samples(folder: Path, split: Split) -> None:
    """Save the first held-out image of each class in the data set's order, then the next two."""
    order = np.argsort(split.test_indices)
    _, firsts = np.unique(split.test_labels[order], return_index=True)
    others = np.setdiff1d(np.arange(len(order)), firsts)
    folder.mkdir()
    for row in order[np.concatenate([firsts, others])[:SAMPLES]]:
        name = f"{CLASSES[split.test_labels[row]]}_{split.test_indices[row]:04d}.png"
        Image.fromarray(split.test_images[row, :, :, 0]).save(folder / name, optimize=True)


def write_folder(folder: Path, model: nn.Module, split: Split, epochs: int) -> float:
    """Write the model folder; return the held-out accuracy of the model as read back from it."""
    save_for_hf(
        model, str(folder), model_config={"label_names": CLASSES}, safe_serialization=True, data_config=DATA_CONFIG
    )
    saved = timm.create_model(f"local-dir:{folder}", pretrained=True)
    top1 = top1_accuracy(saved, split.test_images, split.test_labels)
    metrics = {
        "dataset": DATASET,
        "dataset_licence": "CC BY 4.0",
        "train_images": len(split.train_labels),
        "held_out_images": len(split.test_labels),
        "held_out_top1": top1,
        "epochs": epochs,
        "seed": SEED,
        "parameters": sum(p.numel() for p in saved.parameters()),
        "sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "versions": {m.__name__: m.__version__ for m in (torch, timm)} | {"scikit-learn": sklearn.__version__},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    write_samples(folder / "samples", split)
    for path in (folder, *folder.rglob("*")):  # safetensors writes 0600, which a wheel would keep
        path.chmod(0o755 if path.is_dir() else 0o644)
    return top1


def main() -> int:
    """Train, measure, and replace the output folder if the accuracy is high enough."""
    parser = argparse.ArgumentParser(description="Train the digits network of the package.")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="default: %(default)s")
    args = parser.parse_args()
    output: Path = args.output.resolve()
    if args.epochs < 1:
        parser.error("--epochs must be at least 1")
    if output.exists() and not (output / "metrics.json").is_file():
        parser.error(f"{output} exists and was not written by this script; it is left as it is")
    torch.set_num_threads(1)  # more threads add up in another order: the weights would differ
    torch.use_deterministic_algorithms(mode=True)
    split = load_split()
    model = train(split.train_images, split.train_labels, args.epochs)
    output.parent.mkdir(parents=True, exist_ok=True)
    # Beside the output, so that the folder moves into place by a rename on the same file system.
    with tempfile.TemporaryDirectory(prefix=".digits-", dir=output.parent) as scratch:
        fresh = Path(scratch) / "fresh"
        top1 = write_folder(fresh, model, split, args.epochs)
        print(f"held-out top-1 accuracy: {top1:.4f} on {len(split.test_labels)} images")
        if top1 < REQUIRED_TOP1:
            print(f"below {REQUIRED_TOP1}: {output} is left as it is", file=sys.stderr)
            return 1
        if output.exists():
            output.rename(Path(scratch) / "replaced")
        fresh.rename(output)
    print(f"wrote {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
