"""Write scikit-learn's digits as image folders, for training the embedded model and for examples of training.

In: ``sklearn.datasets.load_digits``, 1797 gray 8x8 images with values 0..16 that scikit-learn carries in its own wheel,
so nothing is downloaded. The images are the test part of "Optical Recognition of Handwritten Digits" by E. Alpaydin and
C. Kaynak (UCI, 1998, CC BY 4.0). Out: FOLDER/train and FOLDER/val with the folders 0 to 9; 360 images, stratified, are
in val.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

if TYPE_CHECKING:
    from collections.abc import Iterator

HELD_OUT, SIZE = 360, 32


class Digit(NamedTuple):
    """An image of 32x32 pixels in RGB: its part ("train" or "val"), its class, and its row in the data set."""

    part: str
    label: int
    row: int
    image: Image.Image


def digits() -> Iterator[Digit]:
    """Yield all images, those of "train" first; every call yields the same."""
    pixels, labels = load_digits(return_X_y=True)
    train, val = train_test_split(np.arange(len(labels)), test_size=HELD_OUT, stratify=labels, random_state=0)
    for part, rows in (("train", train), ("val", val)):
        for row in rows.tolist():
            gray = Image.fromarray(np.rint(pixels[row].reshape(8, 8) * 255 / 16).astype(np.uint8))
            # Preprocessing resizes with Pillow too, so an 8x8 file would give the same pixels.
            image = gray.resize((SIZE, SIZE), Image.Resampling.BILINEAR).convert("RGB")
            yield Digit(part, int(labels[row]), row, image)


def write(folder: Path, labels: set[int]) -> int:
    """Write the images of the classes `labels`; return their number."""
    chosen = [digit for digit in digits() if digit.label in labels]
    for digit in chosen:
        path = folder / digit.part / str(digit.label) / f"{digit.row:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        digit.image.save(path)
    return len(chosen)


def main() -> None:
    """Write the folders."""
    parser = argparse.ArgumentParser(description="Write scikit-learn's digits as image folders.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--classes", nargs="+", type=int, choices=range(10), default=range(10), metavar="DIGIT")
    args = parser.parse_args()
    print(f"wrote {write(args.folder, set(args.classes))} images to {args.folder}")


if __name__ == "__main__":
    main()
