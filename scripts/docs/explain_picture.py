"""Draw .assets/explain.png: a picture of two digits, explained for the class of each."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from PIL import Image

from resnest_cli import Options
from resnest_cli.inputs.find import find_sources
from resnest_cli.models.catalog import DIGITS
from resnest_cli.tasks.explain import pictures
from resnest_cli.tasks.explain.heatmap import Explainer, Explanation

SAMPLES = DIGITS / "samples"
OUTPUT = Path(__file__).resolve().parents[2] / ".assets" / "explain.png"
EDGE = 64  # pixels: two digits of 32 pixels in a row


def explain(name: str, folder: str) -> Image.Image:
    """Return the heat map of the two digits for one class."""
    path = Path(folder, "digits.png")
    canvas = Image.new("L", (EDGE, EDGE))
    for number, sample in enumerate(("seven_0081.png", "zero_0078.png")):
        canvas.paste(Image.open(SAMPLES / sample), (number * EDGE // 2, EDGE // 4))
    canvas.save(path)
    (said,) = Explainer(Options("digits", img_size=EDGE, device="cpu"), name).explain(find_sources([path]))
    if not isinstance(said, Explanation):
        raise TypeError(said)
    return pictures.side_by_side(replace(said, path="digits.png"))


def main() -> None:
    """Write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        seven, zero = explain("seven", folder), explain("zero", folder)
    sheet = Image.new("RGB", (seven.width, seven.height + zero.height), "white")
    sheet.paste(seven, (0, 0))
    sheet.paste(zero, (0, seven.height))
    sheet.quantize(256).save(OUTPUT, optimize=True)


if __name__ == "__main__":
    main()
