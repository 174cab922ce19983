"""Copy a digits model from a run of `resnest train` into the package; `make digits` trains the model first.

In: the folder of the run. Out: `config.json`, `model.safetensors` and `metrics.json` of the embedded model, with
English class names and the source and license of the images. A model below 99% top-1 on the held-out images is refused.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from resnest_cli.models.catalog import DIGITS

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
REQUIRED_TOP1 = 0.99
DATASET = "Optical Recognition of Handwritten Digits (E. Alpaydin, C. Kaynak; UCI), via scikit-learn"
PROVENANCE = {
    "tag": "digits",
    "license": "cc-by-4.0",
    "description": f"Trained from scratch on: {DATASET}",
    "origin_url": "https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
}
KEPT = ("top1", "train_images", "val_images", "epochs", "trained_parameters", "recipe", "sha256", "versions")


def install(run: Path, folder: Path) -> None:
    """Copy the model from `run` into `folder`, with class names and provenance."""
    config: dict[str, Any] = json.loads((run / "config.json").read_text(encoding="utf-8"))
    metrics: dict[str, Any] = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    if metrics["top1"] < REQUIRED_TOP1:
        sys.exit(f"{metrics['top1']:.2%} of the held-out images are right, below {REQUIRED_TOP1:.0%}: nothing changed")
    config["label_names"] = [CLASSES[int(name)] for name in config["label_names"]]
    config["pretrained_cfg"] |= PROVENANCE
    metrics = {"dataset": DATASET, "dataset_licence": "CC BY 4.0"} | {name: metrics[name] for name in KEPT}
    shutil.copyfile(run / "model.safetensors", folder / "model.safetensors")
    for name, content in (("config.json", config), ("metrics.json", metrics)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"{metrics['top1']:.2%} of {metrics['val_images']} held-out images are right: wrote {folder}")


def main() -> None:
    """Install the model of a run."""
    parser = argparse.ArgumentParser(description="Copy a trained digits model into the package.")
    parser.add_argument("run", type=Path)
    install(parser.parse_args().run, DIGITS)


if __name__ == "__main__":
    main()
