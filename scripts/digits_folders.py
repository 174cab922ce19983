"""Write scikit-learn's digits as image folders: what the embedded model is trained on, and examples for training.

In: ``sklearn.datasets.load_digits``, 1797 grey 8x8 images with values 0..16 that scikit-learn carries in its own wheel,
so nothing is downloaded. Out: FOLDER/train and FOLDER/val with a folder a class; 360 images, stratified, are in val.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
HELD_OUT, SIZE = 360, 32


def write(folder: Path, classes: tuple[str, ...]) -> int:
    """Write the images of `classes`; give how many."""
    pixels, labels = load_digits(return_X_y=True)
    rows = np.arange(len(labels))
    train, val = train_test_split(rows, test_size=HELD_OUT, stratify=labels, random_state=0)
    count = 0
    for side, chosen in (("train", train), ("val", val)):
        for row in chosen:
            name = CLASSES[labels[row]]
            if name in classes:
                path = folder / side / name / f"{row:04d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                grey = Image.fromarray(np.rint(pixels[row].reshape(8, 8) * 255 / 16).astype(np.uint8))
                grey.resize((SIZE, SIZE), Image.Resampling.BILINEAR).convert("RGB").save(path)
                count += 1
    return count


def main() -> int:
    """Write the folders that the command line asks for."""
    parser = argparse.ArgumentParser(description="Write scikit-learn's digits as image folders.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--classes", nargs="+", choices=CLASSES, default=CLASSES, metavar="NAME")
    args = parser.parse_args()
    print(f"wrote {write(args.folder, tuple(args.classes))} images to {args.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
