"""The programs that finetune_recipe.py compares `resnest finetune` with; each runs as a process.

    python finetune_programs.py PROGRAM DATA START SEED EPOCHS EDGE

In: a folder with train and val sides, and a model folder to start from ("random:FOLDER" starts from new weights). Out:
a JSON line with the accuracy on val, 0..1.
"""
# ruff: noqa: PLC0415 - each program imports only what it needs

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

BATCH, RATE = 64, 4e-3


def network(start: str, classes: int, **more: Any) -> torch.nn.Module:  # noqa: ANN401 - timm's arguments
    """Return the network to start from, with a new head."""
    import timm

    name = f"local-dir:{start.removeprefix('random:')}"
    made: torch.nn.Module = timm.create_model(
        name, pretrained=not start.startswith("random:"), num_classes=classes, **more
    )
    return made


def plain_loop(data: str, start: str, seed: int, epochs: int, edge: int) -> float:
    """Train as a practitioner's 25 lines do: AdamW, one cycle, crops of half the image, smoothed labels."""
    import torch
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    torch.manual_seed(seed)
    end = [transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
    train = ImageFolder(f"{data}/train", transforms.Compose([transforms.RandomResizedCrop(edge, (0.5, 1)), *end]))
    val = ImageFolder(f"{data}/val", transforms.Compose([transforms.Resize((edge, edge)), *end]))
    made = network(start, len(train.classes))
    loader = DataLoader(train, min(BATCH, len(train)), shuffle=True, drop_last=True)
    optimizer = torch.optim.AdamW(made.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * len(loader))
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    for _ in range(epochs):
        made.train()
        for inputs, targets in loader:
            optimizer.zero_grad()
            criterion(made(inputs), targets).backward()
            optimizer.step()
            schedule.step()
    return _accuracy(made, DataLoader(val, BATCH))


def timms(data: str, start: str, seed: int, epochs: int, edge: int) -> float:
    """Train with timm's parts as its finetuned ConvNeXts and ViTs were: low rate, layer decay, strong augmentation."""
    import torch
    from timm.data.loader import create_loader
    from timm.data.mixup import Mixup
    from timm.loss import SoftTargetCrossEntropy
    from timm.optim import create_optimizer_v2
    from timm.scheduler import create_scheduler_v2
    from torchvision.datasets import ImageFolder

    torch.manual_seed(seed)
    train, val = ImageFolder(f"{data}/train"), ImageFolder(f"{data}/val")
    made = network(start, len(train.classes))
    shared: dict[str, Any] = dict.fromkeys(("mean", "std"), (0.5,) * 3)
    shared |= {"input_size": (3, edge, edge), "interpolation": "bilinear", "device": torch.device("cpu")}
    shared |= {"use_prefetcher": False, "num_workers": 0}
    augment: dict[str, Any] = {"auto_augment": "rand-m8-inc1", "re_prob": 0.25, "hflip": 0.5}
    loader = create_loader(train, batch_size=min(BATCH, len(train)), is_training=True, **augment, **shared)
    mixup = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.1, num_classes=len(train.classes))
    optimizer = create_optimizer_v2(made, "adamw", lr=5e-4, weight_decay=0.05, layer_decay=0.75)
    schedule, _ = create_scheduler_v2(
        optimizer, num_epochs=epochs, warmup_epochs=1, step_on_epochs=False, updates_per_epoch=len(loader)
    )
    criterion, step = SoftTargetCrossEntropy(), 0
    for _ in range(epochs):
        made.train()
        for batch, labels in loader:
            even = len(batch) // 2 * 2  # mixup pairs images
            inputs, targets = mixup(batch[:even], labels[:even])
            optimizer.zero_grad()
            criterion(made(inputs), targets).backward()
            optimizer.step()
            step += 1
            schedule.step_update(step)
    return _accuracy(made, create_loader(val, batch_size=BATCH, is_training=False, crop_pct=1.0, **shared))


def logistic_regression(data: str, start: str, _seed: int, _epochs: int, edge: int) -> float:
    """Solve scikit-learn's logistic regression, with its defaults, on the features of `resnest embed`."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    sides = []
    for side in ("train", "val"):
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch, "features.jsonl")
            words = ["embed", f"{data}/{side}", "-m", start.removeprefix("random:"), "--img-size", str(edge), "-q"]
            words += ["-o", str(out), *(["--random-weights"] if start.startswith("random:") else [])]
            subprocess.run([sys.executable, "-m", "resnest_cli", *words], check=True)  # noqa: S603 - our own command
            rows = [json.loads(line) for line in out.read_text().splitlines()]
        sides.append((np.array([row["embedding"] for row in rows]), [Path(row["path"]).parent.name for row in rows]))
    made = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000)).fit(*sides[0])
    return float(made.score(*sides[1]))


def _accuracy(made: torch.nn.Module, loader: Any) -> float:  # noqa: ANN401 - pairs of a batch and its labels
    import torch

    right = total = 0
    made.eval()
    with torch.inference_mode():
        for inputs, targets in loader:
            right += int((made(inputs).argmax(dim=1) == targets).sum())
            total += len(targets)
    return right / total


PROGRAMS = {"plain loop": plain_loop, "timm's settings": timms, "logistic regression": logistic_regression}


def main() -> None:
    """Run a program."""
    name, data, start, *numbers = sys.argv[1:]
    print(json.dumps({"top1": PROGRAMS[name](data, start, *map(int, numbers))}))


if __name__ == "__main__":
    main()
