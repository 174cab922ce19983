"""Draw the terminal output of `resnest predict` for the README.

In: nothing. Out: `.assets/predict.svg`, a real run of the embedded digits model on three of its sample images.
"""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

from rich.console import Console
from rich.text import Text

from resnest_cli import Classifier
from resnest_cli.models.catalog import DIGITS
from resnest_cli.outputs import answers
from resnest_cli.text.layout import Screen

OUTPUT = Path(__file__).parents[2] / ".assets" / "predict.svg"
IMAGES = ("nine_0037.png", "seven_0081.png", "two_0051.png")


def main() -> None:
    """Classify, record the terminal, write the picture."""
    terminal = Console(file=io.StringIO(), record=True, width=80, markup=False, emoji=False, highlight=False)
    terminal.print(Text.assemble(("$ ", "dim"), f"resnest predict {' '.join(IMAGES)} -m digits -k 4"), soft_wrap=True)
    os.chdir(DIGITS / "samples")
    with Classifier("digits", device="cpu") as model:
        for record in model.predict(IMAGES, topk=4):
            for line in answers.lines(record, Screen(color=True)):
                terminal.print(Text.from_ansi(line))
    picture = terminal.export_svg(title="resnest", unique_id="predict")
    # Use a font of the reader's machine: a picture in a README must fetch nothing.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
