"""The page of a server, in a headless Chromium: every way to hand in an image, answers, failures, heat maps, tokens."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from browsers import chromium
from calibrated import doubting
from conftest import SAMPLES
from PIL import Image
from servers import Served, serving

from resnest_cli import Classifier, FakeEngine
from resnest_cli.outputs.answers import in_words
from resnest_cli.serve.page import FILES, POLICY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

SEVEN, SIX = SAMPLES / "seven_0081.png", SAMPLES / "six_0034.png"
TOKEN = "correct-horse-battery+/="  # noqa: S105 - of tests
LIMIT_S = 60


class Browser:
    """A Chromium, and what a person does in it."""

    def __init__(self, driver: Any) -> None:  # noqa: ANN401 - selenium is not installed everywhere
        self.driver = driver

    def open(self, served: Served, fragment: str = "") -> None:
        """Open the page, in a tab that has no token of another test."""
        self.driver.get("about:blank")
        self.driver.get(f"http://127.0.0.1:{served.port}/page.css")
        self.driver.execute_script("sessionStorage.clear()")
        self.driver.get(f"http://127.0.0.1:{served.port}/{fragment}")

    def find(self, css: str) -> list[Any]:
        """Return the elements that can be seen."""
        return [found for found in self.driver.find_elements("css selector", css) if found.is_displayed()]

    def wait(self, css: str, text: str = "", count: int = 1) -> list[Any]:
        """Return the elements that can be seen and have this text, once there are so many."""
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        def there(_: object) -> list[Any]:
            found = [element for element in self.find(css) if text in element.text]
            return found if len(found) == count else []

        wait = WebDriverWait(self.driver, LIMIT_S, ignored_exceptions=[StaleElementReferenceException])
        result: list[Any] = wait.until(there, f"{count} of {css} with {text!r}")
        return result

    def choose(self, *files: Path) -> None:
        """Choose files in the dialog of the first button."""
        self.wait("#files + label")
        self.driver.find_element("id", "files").send_keys("\n".join(map(str, files)))

    def drop(self, *files: Path) -> None:
        """Drop files from the desktop."""
        self.wait("#well")
        data = {"items": [], "files": list(map(str, files)), "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.driver.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 150, "data": data})

    def names(self) -> list[str]:
        """Return the names on the cards."""
        return [found.text for found in self.find("h2")]

    def foreign(self) -> list[str]:
        """Return what the page has asked of others."""
        asked = self.driver.execute_script("return performance.getEntriesByType('resource').map((e) => e.name)")
        own = self.driver.execute_script("return location.origin")
        return [name for name in asked if not name.startswith((f"{own}/", f"blob:{own}/", "data:"))]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield Browser(driver)


def test_chosen_images_are_answered_as_predict_answers(browser: Browser, served: Served) -> None:
    browser.open(served)
    browser.choose(SEVEN, SIX)
    browser.wait("#status", "2 of 2 answered")
    assert browser.names() == [SEVEN.name, SIX.name]
    for card, path in zip(browser.find(".card"), (SEVEN, SIX), strict=True):
        row = served.predict(path.read_bytes()).json
        shares = [f"{100 * found['probability']:.1f}%" for found in row["predictions"]]
        lines = [line.text.split("\n") for line in card.find_elements("css selector", ".answer")]
        assert lines == [[found["label"], share] for found, share in zip(row["predictions"], shares, strict=True)]
        bars = [bar.get_attribute("style") for bar in card.find_elements("css selector", ".answer b")]
        assert bars == [f"width: {float(share[:-1]):g}%;" for share in shares]
    assert browser.foreign() == []


def test_one_image_is_read_aloud(browser: Browser, served: Served) -> None:
    browser.open(served)
    browser.choose(SEVEN)
    share = served.predict(SEVEN.read_bytes()).json["predictions"][0]["probability"]
    (status,) = browser.wait("#status", f"{SEVEN.name}: seven, {100 * share:.1f}%")
    assert status.get_attribute("role") == "status"


def test_a_dropped_file_and_a_pasted_image(browser: Browser, served: Served) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    browser.open(served)
    browser.drop(SIX)
    browser.wait(".answer span", "six")
    origin = f"http://127.0.0.1:{served.port}"
    permissions = {"origin": origin, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    browser.driver.execute_cdp_cmd("Browser.grantPermissions", permissions)
    browser.driver.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})
    copied = browser.driver.execute_async_script(
        """const [bytes, done] = arguments;
        const image = new Blob([new Uint8Array(bytes)], { type: "image/png" });
        const write = navigator.clipboard.write([new ClipboardItem({ "image/png": image })]);
        write.then(() => done(""), (error) => done(`${error}`));
        """,
        list(SEVEN.read_bytes()),
    )
    assert copied == ""
    ActionChains(browser.driver).key_down(Keys.CONTROL).send_keys("v").key_up(Keys.CONTROL).perform()
    browser.wait("#cards > :first-child .answer span", "seven")
    assert browser.names() == ["image.png", SIX.name]


def test_failures_are_told_in_words_and_cost_no_other(browser: Browser, served: Served, tmp_path: Path) -> None:
    cut, words, folder = tmp_path / "cut.png", tmp_path / "words.png", tmp_path / "folder"
    cut.write_bytes(SEVEN.read_bytes()[:90])
    words.write_text("no image")
    folder.mkdir()
    browser.open(served)
    browser.drop(cut, words, folder, SIX)
    browser.wait("#status", "4 of 4 answered, 3 failed")
    said = [card.text.split("\n") for card in browser.find(".failed")]
    assert [lines[-2:] for lines in said[:2]] == [
        [path.name, served.predict(path.read_bytes()).problem[1]] for path in (cut, words)
    ]
    assert said[2][-2:] == ["folder", "The browser cannot read it. Drop images, not folders."]
    assert browser.wait(".answer span", "six")


def test_names_and_labels_are_text(browser: Browser, tmp_path: Path) -> None:
    engine = FakeEngine()
    name = "<img src=x onerror=document.title='owned'>\u202egnp.png"
    (tmp_path / name).write_bytes(SEVEN.read_bytes())
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(f"<script>document.title='owned'</script>{n}" for n in range(10)))
    with serving(engine, options={"labels": labels}) as served:
        browser.open(served)
        browser.choose(tmp_path / name)
        answers = browser.wait(".answer", count=5)
        assert answers[0].text.startswith("<script>document.title='owned'</script>")
        assert browser.names() == [name.replace("\u202e", "\\u{202e}")]
        assert browser.driver.title == "resnest"


def test_how_sure_an_answer_is(browser: Browser, held_out_digits: list[Any], tmp_path: Path) -> None:
    options: dict[str, Any] = {"calibration": doubting(held_out_digits, tmp_path), "coverage": 0.95}
    with serving(options=options) as served, Classifier("digits", workers=0, **options) as classifier:
        browser.open(served)
        paths = sorted(SAMPLES.iterdir())
        browser.choose(*paths)
        browser.wait("#status", f"{len(paths)} of {len(paths)} answered")
        said = [found.text for found in browser.find(".sure, .unsure")]
        records = list(classifier.predict(paths))
    expected = [in_words(record.certainty) for record in records if record.ok and record.certainty]
    assert said == expected
    assert len({words.split(":")[0] for words in said}) > 1


def test_a_heat_map_by_keyboard_and_back(browser: Browser, served: Served) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open(served)
    browser.choose(SEVEN)
    (first,) = browser.wait("li:first-child > .answer")
    before = browser.find("img")[0].get_attribute("src")
    first.send_keys(Keys.ENTER)
    browser.wait(".hint", "Bright: what spoke for the answer.")
    (image,) = browser.find("img")
    assert image.get_attribute("alt") == "Where the network looked for seven"
    assert first.get_attribute("aria-pressed") == "true"
    shown = browser.driver.execute_script(
        """const [image] = arguments, canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
        const drawn = canvas.getContext("2d");
        drawn.drawImage(image, 0, 0);
        return Array.from(drawn.getImageData(0, 0, canvas.width, canvas.height).data);
        """,
        image,
    )
    answered = served.ask("POST", "/explain?class=7", SEVEN.read_bytes()).body
    assert bytes(shown) == Image.open(io.BytesIO(answered)).convert("RGBA").tobytes()
    first.send_keys(Keys.SPACE)
    assert browser.find("img")[0].get_attribute("src") == before
    assert first.get_attribute("aria-pressed") == "false"


def test_clear_removes_all_cards(browser: Browser, served: Served) -> None:
    browser.open(served)
    browser.choose(SEVEN, SIX)
    browser.wait("#status", "2 of 2 answered")
    browser.wait("#clear")[0].click()
    assert (browser.names(), browser.find("#clear"), browser.find("#status")) == ([], [], [])


def test_a_server_that_has_gone_is_told_and_asked_again(browser: Browser) -> None:
    with serving(FakeEngine()) as served:
        browser.open(served)
        browser.wait("#well")
    browser.choose(SEVEN)
    browser.wait(".said", "The server does not answer. Does it still run?")
    with serving(FakeEngine(), port=served.port):
        browser.wait(".card button", "Try again")[0].click()
        browser.wait(".answer", count=5)


def test_a_token_is_asked_for_or_comes_with_the_address(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    with serving(FakeEngine(), token_file=tmp_path / "token") as served:
        browser.open(served)
        browser.wait("#door label", "This server asks for a token.")
        assert not browser.find("#ask")
        browser.driver.switch_to.active_element.send_keys("wrong\n")
        browser.wait("#refused", "The server does not know this token.")
        browser.driver.switch_to.active_element.send_keys(f" {TOKEN}\n")
        browser.choose(SEVEN)
        browser.wait(".answer", count=5)
        browser.open(served, f"#{TOKEN}")
        browser.choose(SEVEN)
        browser.wait(".answer", count=5)
        assert "#" not in browser.driver.current_url
        assert not any(TOKEN in line for line in served.lines)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_cut(browser: Browser, served: Served, scheme: str) -> None:
    command = browser.driver.execute_cdp_cmd
    size = {"width": 360, "height": 780, "deviceScaleFactor": 2, "mobile": True}
    command("Emulation.setDeviceMetricsOverride", size)
    command("Emulation.setTouchEmulationEnabled", {"enabled": True})
    command("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    try:
        browser.open(served)
        browser.wait("#camera + label", "Take a picture")
        browser.choose(SEVEN)
        browser.wait(".answer", count=5)
        assert browser.driver.execute_script("return document.documentElement.scrollWidth") == 360
        for button in browser.find("button, #well label"):
            assert button.size["height"] >= 24  # WCAG 2.2, 2.5.8
        assert least_contrast(browser) >= 4.5  # WCAG 2.2, 1.4.3
    finally:
        command("Emulation.clearDeviceMetricsOverride", {})
        command("Emulation.setTouchEmulationEnabled", {"enabled": False})
        command("Emulation.setEmulatedMedia", {"features": []})


def least_contrast(browser: Browser) -> float:
    """Return the least contrast of a text on the screen with what is behind it, by the formula of WCAG 2.2."""
    return float(
        browser.driver.execute_script(
            """
            const light = (color) => {
              const [r, g, b] = color.match(/[0-9.]+/g).slice(0, 3).map((c) => c / 255)
                .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
              return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const behind = (element) => {
              for (let at = element; at; at = at.parentElement) {
                const color = getComputedStyle(at).backgroundColor;
                if (!color.endsWith(", 0)")) return color;
              }
            };
            const texts = [...document.querySelectorAll("body *")].filter((element) => element.checkVisibility()
              && [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()));
            return Math.min(...texts.map((element) => {
              const both = [light(getComputedStyle(element).color), light(behind(element))].sort((a, b) => b - a);
              return (both[0] + 0.05) / (both[1] + 0.05);
            }));
            """
        )
    )


def test_the_browser_has_nothing_to_complain_of(browser: Browser, served: Served) -> None:
    browser.open(served)
    browser.driver.get_log("browser")
    browser.open(served)
    browser.choose(SEVEN)
    browser.wait(".answer", count=5)
    assert [line for line in browser.driver.get_log("browser") if line["level"] != "DEBUG"] == []


def test_the_policy_goes_with_each_file(served: Served) -> None:
    for path in FILES:
        headers = served.ask("GET", path).headers
        assert headers["content-security-policy"] == POLICY
        assert headers["referrer-policy"] == "no-referrer"
    page = served.ask("GET", "/").body.decode()
    assert "<style" not in page
    assert page.count("<script") == page.count('<script type="module" src=')
    assert "unsafe" not in POLICY
