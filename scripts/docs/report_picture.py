"""Draw the page of `-f html` for the README.

In: nothing; a Chromium must be installed. Out: `.assets/report.png`, a real run of the embedded digits model on its
samples and on a truncated file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from resnest_cli.models.catalog import DIGITS

OUTPUT = Path(__file__).parents[2] / ".assets" / "report.png"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZE = (1280, 760)


def main() -> None:
    """Classify, open the page in a browser, save the screenshot."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"No {' or '.join(BROWSERS)} here: {OUTPUT.name} stays as it is.")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(DIGITS / "samples", Path(folder) / "digits")
        (Path(folder) / "digits" / "cut_short.png").write_bytes((DIGITS / "samples" / "six_0034.png").read_bytes()[:90])
        os.chdir(folder)
        words = ["predict", "digits", "-m", "digits", "-k", "3", "-o", "report.html"]
        subprocess.run([sys.executable, "-m", "resnest_cli", *words], check=False)  # noqa: S603 - our own command
        picture = Path(folder, "report.png")
        shot = [f"--screenshot={picture}", f"--window-size={SIZE[0]},{SIZE[1]}", "--hide-scrollbars"]
        page = Path(folder, "report.html").as_uri()
        subprocess.run([browser, "--headless", "--no-sandbox", "--disable-gpu", *shot, page], check=True)  # noqa: S603 - ours
        Image.open(picture).convert("RGB").save(OUTPUT, optimize=True)


if __name__ == "__main__":
    main()
