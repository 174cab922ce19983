"""Make small image sets for measuring finetuning, from what Python packages carry; nothing is downloaded.

In: a folder. Out: one folder per set in it, each with train and val sides:

- letters: ten capitals in matplotlib's fonts, on grounds of any color; the fonts of val are not those of train.
- textures: pieces of 14 photographs that scikit-image ships (`pip install scikit-image`), train from the left part of
  each photograph and val from the right part.
- digits-0-4, digits-5-9: scikit-learn's digits, parted by class.
- clothing-a, clothing-b: a folder of clothes (--clothing), parted by class.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

if TYPE_CHECKING:
    from collections.abc import Iterable

EDGE = 72
CAPITALS = "ABEGKMQRSX"
NO_LETTERS = ("STIXSiz", "STIXNonUni", "cmex", "cmsy", "cmmi", "Display")  # fonts of symbols
PHOTOGRAPHS = (
    *("astronaut", "brick", "chelsea", "clock", "coffee", "coins", "grass", "gravel", "hubble_deep_field"),
    *("immunohistochemistry", "moon", "page", "rocket", "text"),
)
TRAIN_PART, VAL_PART = 0.6, 0.65  # of the width of a photograph: where train ends and val begins
FIRST_CLOTHES = ("dress", "hat", "outwear", "pants", "shoes")


def save(image: Image.Image, *place: str | Path) -> None:
    """Write an image, and the folders above it."""
    path = Path(*place)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def letter(capital: str, font: Path, rng: np.random.Generator) -> Image.Image:
    """Return a drawn letter, somewhere on a ground with noise and a slope of color."""
    ground, ink = rng.integers(0, 256, (2, 3))
    while abs(int(ground.sum()) - int(ink.sum())) < 150:  # noqa: PLR2004 - gray levels of three channels
        ink = rng.integers(0, 256, 3)
    slope = np.linspace(0, 1, EDGE)[None, :, None] * rng.uniform(-60, 60, 3)
    pixels = np.clip(ground + slope + rng.normal(0, 12, (EDGE, EDGE, 3)), 0, 255)
    image, mask = Image.fromarray(pixels.astype(np.uint8)), Image.new("L", (EDGE, EDGE))
    drawn = ImageFont.truetype(str(font), int(rng.integers(40, 60)))
    draw = ImageDraw.Draw(mask)
    left, top, right, bottom = (int(edge) for edge in draw.textbbox((0, 0), capital, font=drawn))
    x, y = rng.integers(0, max(1, EDGE - right + left)), rng.integers(0, max(1, EDGE - bottom + top))
    draw.text((int(x) - left, int(y) - top), capital, fill=255, font=drawn)
    turned = mask.rotate(rng.uniform(-8, 8), resample=Image.Resampling.BICUBIC)
    image.paste(tuple(ink.tolist()), mask=turned)
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.6)))


def letters(folder: Path) -> None:
    """Write the letters: 80 of each to train on, 30 to validate on."""
    rng = np.random.default_rng(0)
    found = sorted(Path(mpl.get_data_path(), "fonts", "ttf").glob("*.ttf"))
    fonts = [font for font in found if not any(word in font.name for word in NO_LETTERS)]
    order = rng.permutation(len(fonts)).tolist()
    held_out = max(4, len(fonts) // 5)
    for side, places, count in (("train", order[held_out:], 80), ("val", order[:held_out], 30)):
        for capital in CAPITALS:
            for i in range(count):
                font = fonts[places[int(rng.integers(len(places)))]]
                save(letter(capital, font, rng), folder, side, capital, f"{i:03d}.png")


def textures(folder: Path) -> None:
    """Write the pieces: 60 of each photograph to train on, 20 to validate on."""
    import skimage.data  # noqa: PLC0415 - of this set only

    rng = np.random.default_rng(0)
    for name in PHOTOGRAPHS:
        photograph: Any = np.asarray(Image.fromarray(getattr(skimage.data, name)()).convert("RGB"))
        height, width = photograph.shape[:2]
        most = min(EDGE, height // 3, width // 3)
        sides = (("train", 0, int(TRAIN_PART * width), 60), ("val", int(VAL_PART * width), width, 20))
        for side, first, last, count in sides:
            for i in range(count):
                edge = int(rng.integers(2 * most // 3, most + 1))
                x, y = int(rng.integers(first, max(first + 1, last - edge))), int(rng.integers(0, height - edge))
                piece = Image.fromarray(photograph[y : y + edge, x : x + edge]).resize((EDGE, EDGE))
                save(piece, folder, side, name, f"{i:03d}.png")


def digits(folder: Path, classes: Iterable[str]) -> None:
    """Write some of scikit-learn's digits."""
    script = Path(__file__).with_name("digits_folders.py")
    subprocess.run([sys.executable, script, folder, "--classes", *classes], check=True)  # noqa: S603 - our own script


def clothing(source: Path, folder: Path) -> None:
    """Link some classes of clothes: the first ones into `folder`-a, the others into `folder`-b."""
    for side, to in (("train", "train"), ("validation", "val")):
        for of_class in sorted((source / side).iterdir()):
            part = "a" if of_class.name in FIRST_CLOTHES else "b"
            place = folder.with_name(f"{folder.name}-{part}") / to / of_class.name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(of_class.resolve())


def main() -> None:
    """Write the sets."""
    parser = argparse.ArgumentParser(description="Make small image sets for measuring finetuning.")
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--clothing", type=Path, help="a folder with train and validation sides of ten kinds of clothes"
    )
    args = parser.parse_args()
    letters(args.folder / "letters")
    textures(args.folder / "textures")
    digits(args.folder / "digits-0-4", "01234")
    digits(args.folder / "digits-5-9", "56789")
    if args.clothing:
        clothing(args.clothing, args.folder / "clothing")


if __name__ == "__main__":
    main()
