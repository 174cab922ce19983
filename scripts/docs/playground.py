"""Write the folder in which the examples of the documentation run.

In: an empty folder. Out: the pictures that the examples name; all of them are digits. `examples.show` and the tests
(`tests/test_docs.py`) run commands in such a folder.
"""

from __future__ import annotations

import runpy
import shutil
from collections import Counter
from pathlib import Path

from PIL import Image

from resnest_cli.models.catalog import DIGITS

SAMPLES = DIGITS / "samples"
PHOTO = 10  # every tenth held-out digit is a photograph: 36 in all, `quantize` needs 30
# Labeled folders: images per class and side. A single side gets no folder of its own.
LABELLED = {
    "held-out": {"val": 360},
    "imagenet/val": {"val": 1},
    "imagenet-a": {"val": 1},
    "images": {"train": 4, "val": 2},
    "flowers": {"train": 4, "val": 2},
}


def lay_out(folder: Path) -> None:
    """Write `digits/`, `photos/`, `dog.jpg`, `new.jpg`, a model, weights and the labeled folders."""
    shutil.copytree(SAMPLES, folder / "digits")
    shutil.copytree(DIGITS, folder / "my-model")
    shutil.copy(DIGITS / "model.safetensors", folder / "my-weights.safetensors")
    _lay_out_labelled(folder)
    (folder / "photos").mkdir()
    for number, picture in enumerate(sorted((folder / "held-out").rglob("*.png"))[::PHOTO]):
        Image.open(picture).save(folder / "photos" / f"{number:04d}.jpg", quality=95)
    for name in ("dog.jpg", "new.jpg"):
        shutil.copy(folder / "photos" / "0003.jpg", folder / name)


def _lay_out_labelled(folder: Path) -> None:
    script = runpy.run_path(str(Path(__file__).parents[1] / "data" / "digits_folders.py"))
    taken: Counter[tuple[str, str, int]] = Counter()
    for digit in script["digits"]():
        for name, sides in LABELLED.items():
            taken[name, digit.part, digit.label] += 1
            if taken[name, digit.part, digit.label] <= sides.get(digit.part, 0):
                side = folder / name / digit.part if len(sides) > 1 else folder / name
                (side / str(digit.label)).mkdir(parents=True, exist_ok=True)
                digit.image.save(side / str(digit.label) / f"{digit.row:04d}.png")
