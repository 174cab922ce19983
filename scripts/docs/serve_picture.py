"""Draw the page of `resnest serve` for the README.

In: nothing; a Chromium, its chromedriver and selenium must be installed. Out: `.assets/serve.png`, a real server that
answers the samples of the embedded digits model and a truncated file.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from resnest_cli.models.catalog import DIGITS

OUTPUT = Path(__file__).parents[2] / ".assets" / "serve.png"
SERVE = [sys.executable, "-m", "resnest_cli", "serve", "-m", "digits", "--port", "0"]
WIDTH, HEIGHT = 1280, 840
SHOWN = 3  # samples; with the failure, the cards fill a row
LIMIT_S = 60


def main() -> None:
    """Serve, hand in files, save the screenshot."""
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(SERVE, stderr=subprocess.PIPE, text=True) as server,  # noqa: S603 - our own command
    ):
        try:
            assert server.stderr is not None  # noqa: S101 - for the type checker
            address = next(filter(None, (re.search(r"http://\S+", line) for line in server.stderr)))[0]
            cut = Path(folder) / "cut_short.png"
            cut.write_bytes((DIGITS / "samples" / "six_0034.png").read_bytes()[:90])
            picture = Path(folder) / "page.png"
            draw(address, [*sorted((DIGITS / "samples").iterdir())[:SHOWN], cut], picture)
            Image.open(picture).convert("RGB").save(OUTPUT, optimize=True)
        finally:
            server.send_signal(signal.SIGTERM)


def draw(address: str, files: list[Path], out: Path) -> None:
    """Open the page, choose files, and save what there is when all are answered."""
    options = webdriver.ChromeOptions()
    options.binary_location = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    for word in ("headless=new", "no-sandbox", "disable-gpu", "hide-scrollbars", "lang=en"):
        options.add_argument(f"--{word}")
    with webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver"))) as browser:
        size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(address)
        WebDriverWait(browser, LIMIT_S).until(lambda _: browser.find_element(By.ID, "ask").is_displayed())
        browser.find_element(By.ID, "files").send_keys("\n".join(map(str, files)))
        said = f"{len(files)} of {len(files)} answered"
        WebDriverWait(browser, LIMIT_S).until(lambda _: said in browser.find_element(By.ID, "status").text)
        browser.save_screenshot(str(out))


if __name__ == "__main__":
    main()
