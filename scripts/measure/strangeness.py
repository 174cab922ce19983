"""How well strangeness tells digits from what is no digit, for the digits model, over many seeded splits.

In: a folder of photographs. Out: for each kind the area under the ROC curve against held-out digits, and the share that
`--max-strangeness 0.99` refuses, as a table in Markdown. Beside it the energy without the centers of classes. Half of
the held-out digits chooses, a quarter is the scale, and the last quarter is judged.

    python scripts/measure/strangeness.py photos/
"""

from __future__ import annotations

import argparse
import runpy
import string
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from sklearn.metrics import roc_auc_score

from resnest_cli import Classifier, Options
from resnest_cli.pipeline.stream import Row
from resnest_cli.tasks.calibrate import judging, strangeness
from resnest_cli.tasks.calibrate.judging import Logits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

SIZE, COUNT, SPLITS = 32, 200, 100
DIGITS = "digits that are held out"


def kinds(photos: Path) -> dict[str, list[Any]]:
    """Return images that are no digits, by kind."""
    random = np.random.default_rng(0)
    shape = (COUNT, SIZE, SIZE, 3)
    return {
        "noise, 32 px": list(random.integers(0, 256, shape, np.uint8)),
        "noise, 128 px": list(random.integers(0, 256, (COUNT, 128, 128, 3), np.uint8)),
        "black": [np.zeros((SIZE, SIZE, 3), np.uint8)],
        "photographs": sorted(map(str, photos.rglob("*.JPEG"))) or sorted(map(str, photos.rglob("*.jpg"))),
        "letters of a font": [letter(name) for name in string.ascii_letters if name not in "OolIS"],
    }


def letter(name: str) -> Image.Image:
    """Draw a letter as the digits are: white on black, in the middle."""
    image = Image.new("RGB", (SIZE, SIZE))
    font = ImageFont.load_default(28)
    ImageDraw.Draw(image).text((SIZE / 2, SIZE / 2), name, "white", font, anchor="mm")
    return image


def logits(model: Classifier, images: Iterable[Any]) -> NDArray[np.float32]:
    """Return the logits of images [N, C]."""
    return np.stack([row.values for row in model.trunk.rows(model.find(images)) if isinstance(row, Row)])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Strangeness of what is no digit.")
    parser.add_argument("photos", type=Path)
    photos = parser.parse_args().photos
    script = runpy.run_path(str(Path(__file__).parents[1] / "data" / "digits_folders.py"))
    held_out = [digit for digit in script["digits"]() if digit.part == "val"]
    with Classifier("digits", many=True) as model:
        digits = Logits(logits(model, [d.image for d in held_out]), np.array([d.label for d in held_out]))
        others = {name: logits(model, images) for name, images in kinds(photos).items()}
    areas: dict[str, list[float]] = {name: [] for name in others}
    plain: dict[str, list[float]] = {name: [] for name in others}
    refused: dict[str, list[float]] = {name: [] for name in (DIGITS, *others)}
    for seed in range(SPLITS):
        choosing, scoring = digits.halves(seed)
        scale, rest = scoring.halves(seed)
        found = judging.fit(choosing, scale)
        centers = np.array(found.centers)
        for name, values in {DIGITS: rest.logits, **others}.items():
            above = strangeness.above_center(values, found.temperature, centers)
            shares = np.array([found.energies.share_below(each) for each in above])
            refused[name].append(float((shares > Options.max_strangeness).mean()))
            if name != DIGITS:
                own = strangeness.above_center(rest.logits, found.temperature, centers)
                areas[name].append(area(own, above))
                plain[name].append(area(*(strangeness.energies(each, 1.0) for each in (rest.logits, values))))
    print("| kind | AUROC | AUROC of the plain energy | refused at 0.99 |\n| --- | --- | --- | --- |")
    print(f"| {DIGITS} | | | {np.mean(refused[DIGITS]):.1%} |")
    for name in others:
        low, high = np.quantile(areas[name], (0.05, 0.95))
        of = f"{np.mean(areas[name]):.3f} ({low:.3f} to {high:.3f}) | {np.mean(plain[name]):.3f}"
        print(f"| {name} | {of} | {np.mean(refused[name]):.0%} |")


def area(known: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the area under the ROC curve of two samples."""
    truth = np.repeat([0, 1], [len(known), len(other)])
    return float(roc_auc_score(truth, np.concatenate([known, other])))


if __name__ == "__main__":
    main()
