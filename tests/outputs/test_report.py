"""The page that `-f html` writes: whole in itself, harmless whatever names say, and working in a real browser."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from browsers import chromium
from conftest import SAMPLES, Resnest
from PIL import Image

from resnest_cli.inputs import thumbnails
from resnest_cli.outputs import html
from resnest_cli.outputs.rows import About, to_row, with_thumbnail
from resnest_cli.types import Certainty, Exif, Failure, Prediction, Record, Result

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

pytestmark = pytest.mark.usefixtures("decode_here")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
HOSTILE = [
    "</script><script>document.title = 'owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "<!--<script>",
    "javascript:document.title='owned'",
    "\x1b[31m\u202egpj.exe\n\udcff\u2028'\"`${document.title='owned'}&lt;",
]


def page(records: Iterable[Record], facts: dict[str, str] | None = None) -> str:
    out = io.BytesIO()
    html.write(map(to_row, records), out, About(2, facts or {}))
    return out.getvalue().decode()


def data(text: str, block: str = "rows") -> list[dict[str, object]]:
    """Read the rows in a page, or another block of it, as its script does."""
    (inside,) = re.findall(rf'<script type="application/json" id="{block}">(.*?)</script>', text, re.DOTALL)
    rows: list[dict[str, object]] = json.loads(inside)
    return rows


def answer(path: str, index: int, label: str, share: float) -> Result:
    return Result(path, (Prediction(1, index, None, label, share), Prediction(2, 77, None, "other", 0.01)))


class Shown(HTMLParser):
    """What a browser made of a page: title, the texts of its cards, and how many elements of each kind."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.title = ""
        self.cards: list[str] = []
        self.kinds: list[str] = []
        self.bars: list[str] = []
        self._inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.kinds.append(tag)
        if tag == "article":
            self.cards.append("")
        if tag == "b":
            self.bars.append(dict(attrs).get("style") or "")
        self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, text: str) -> None:
        if "title" in self._inside:
            self.title += text
        if "article" in self._inside:
            self.cards[-1] += f"{text}|"


def show(path: Path, filters: str = "") -> Shown:
    """Open a page in the browser and give what it made of it."""
    assert CHROMIUM is not None
    words = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={path.parent}/profile"]
    ended = subprocess.run([*words, "--dump-dom", f"{path.as_uri()}{filters}"], capture_output=True, check=True)
    return Shown(ended.stdout.decode())


def test_the_policy_allows_the_pages_own_code_and_nothing_else() -> None:
    text = page([])
    (policy,) = re.findall(r'Content-Security-Policy"\s+content="(.*?)"', text)
    hashes = []
    for tag in ("style", "script"):
        (inside,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        code = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        hashes.append(f"{tag}-src 'sha256-{code}'")
    rules = ["default-src 'none'", "img-src data:", *hashes, "base-uri 'none'", "form-action 'none'"]
    assert policy.split("; ") == rules
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?http|url\(|@import", text)


def test_no_tag_can_begin_in_the_rows() -> None:
    records: list[Record] = [answer(name, 1, name, 0.5) for name in HOSTILE]
    records += [Failure(name, "NotAnImage", name) for name in HOSTILE]
    text = page(records, {"model": HOSTILE[0]})
    rows = data(text)
    assert [{**row, "link": ""} for row in rows] == [{**to_row(record), "link": ""} for record in records]
    assert all(str(row["link"]).startswith("file:///") for row in rows)
    assert text.count("<script") == page([]).count("<script")


@in_browser
def test_nothing_in_a_name_or_a_class_is_executed(tmp_path: Path) -> None:
    records: list[Record] = [answer(name, i, name, 0.5) for i, name in enumerate(HOSTILE)]
    records += [Failure(name, "NotAnImage", name) for name in HOSTILE]
    path = tmp_path / "x.html"
    text = page(records, {"model": HOSTILE[0]})
    # Even code that did get into the page is not run.
    path.write_text(text.replace("</body>", "<script>document.title = 'owned'</script></body>"))
    shown = show(path)
    assert shown.title == "resnest: 10 images"
    assert shown.kinds.count("script") == 5
    assert "img" not in shown.kinds
    assert len(shown.cards) == 10
    assert shown.cards[0].replace("|", "").count(HOSTILE[0]) == 2
    assert "\\u{1b}[31m\\u{202e}gpj.exe\\u{a}\\u{dcff}\\u{2028}" in shown.cards[4]


@pytest.mark.slow
@in_browser
def test_filters_come_from_the_address_and_thousands_of_rows_are_drawn_as_they_are_needed(tmp_path: Path) -> None:
    picture = thumbnails.of(Image.open(SAMPLES / "two_0051.png").convert("RGB"))
    records: list[Record] = [answer(f"dir/{i:04}.jpg", i % 7, f"class {i % 7}", i / 3000) for i in range(2990)]
    records += [Failure(f"bad/{i}.jpg", "NotAnImage" if i else "BrokenImage", "why") for i in range(10)]
    out = io.BytesIO()
    html.write(({**to_row(record), "thumbnail": picture} for record in records), out, About(2, {"model": "m"}))
    path = tmp_path / "x.html"
    path.write_bytes(out.getvalue())
    everything = show(path)
    assert (everything.title, len(everything.cards)) == ("resnest: 3,000 images", 60)
    assert everything.kinds.count("img") == 60
    found = show(path, "#q=DIR/29&class=3&min=0.98&max=0.99")
    expected = [i for i in range(2900, 2990) if i % 7 == 3 and 0.98 <= i / 3000 <= 0.99]
    assert [card.split("|")[:4] for card in found.cards] == [
        ["dir/", f"{i:04}.jpg", "class 3", f"{100 * i / 3000:.1f}%"] for i in expected
    ]
    widths = [float(bar.removeprefix("width: ").removesuffix("%;")) for bar in found.bars]
    assert widths == [width for i in expected for width in (round(100 * i / 3000, 1), 1)]
    failed = show(path, "#show=BrokenImage")
    assert failed.cards == ["bad/|0.jpg|BrokenImage|why|"]


@pytest.mark.slow
@in_browser
def test_the_unsure_answers_of_a_calibrated_model_are_a_filter(tmp_path: Path) -> None:
    several = Certainty((1, 3, 5, 7, 9, 0, 2), tuple("abcdefg"), 0.5, abstained=True)
    records: list[Record] = [
        replace(answer("a.jpg", 1, "a", 0.9), certainty=Certainty((1,), ("a",), 0.25, abstained=False)),
        replace(answer("b.jpg", 1, "a", 0.9), certainty=several),
        replace(answer("c.jpg", 1, "a", 0.9), certainty=Certainty((1,), ("a",), 0.994, abstained=True)),
        Failure("d.jpg", "BrokenImage", "why"),
    ]
    out = io.BytesIO()
    html.write(map(with_thumbnail, records), out, About(2, {}, is_calibrated=True))
    path = tmp_path / "x.html"
    path.write_bytes(out.getvalue())
    words = [card.split("|")[-2] for card in show(path).cards]
    assert words == [
        *("sure", "unsure: a, b, c, d, e or 2 more"),
        *("strange: stranger than 99.4% of the calibration images", "why"),
    ]
    assert [card.split("|")[0] for card in show(path, "#show=unsure").cards] == ["b.jpg", "c.jpg"]
    assert [card.split("|")[0] for card in show(path, "#show=sure").cards] == ["a.jpg"]


@pytest.mark.slow
@in_browser
def test_the_order_is_as_given_by_confidence_or_failures_first(tmp_path: Path) -> None:
    shares = {"a": 0.5, "b": 0.9, "c": None, "d": 0.1, "e": 0.9, "f": 0.0}
    records: list[Record] = [
        Failure(name, "BrokenImage", "why") if share is None else answer(name, 1, "x", share)
        for name, share in shares.items()
    ]
    records.append(Result("g", ()))  # of which no class reaches the threshold
    path = tmp_path / "x.html"
    path.write_text(page(records))
    orders = {"": "abcdefg", "high": "beadfcg", "low": "fdabecg", "failed": "cabdefg", "nonsense": "abcdefg"}
    for order, expected in orders.items():
        assert [card.split("|")[1] for card in show(path, f"#sort={order}").cards] == [*expected], order
    assert [card.split("|")[1] for card in show(path, "#sort=low&min=0.4&show=ok").cards] == [*"abe"]


ODD_NAMES = [
    *("#1.png", "what?.png", "100%25.png", "\"'`.png", "sp ace.png", "ünï 犬.png", "a\nb.png", "<b>.png", "&amp;.png"),
    *(
        "javascript:document.title='owned'.png",
        "https:x.png",
        "data:text%2Fhtml,x.png",
        "back\\slash.png",
        "\udcff.png",
    ),
    *("..png", "~.png", "\u202egnp.png", ";x=1.png", "sub/x#.png"),
]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("place", ["photos", "photos/deep", "other", "../elsewhere"])
def test_a_click_and_enter_open_the_original_whatever_its_name(
    place: str,
    driver: Any,  # noqa: ANN401 - of selenium
    resnest: Resnest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the page's folder, beside it, below it and elsewhere; relative links go along with their tree."""
    from selenium.webdriver.common.keys import Keys

    tree = tmp_path / "tree"
    photos = tree / "photos"
    (photos / "sub").mkdir(parents=True)
    (tree / place).mkdir(exist_ok=True)
    sizes = {}
    for number, name in enumerate(ODD_NAMES, 1):
        sizes[f"photos/{name}"] = (number, 7)
        Image.new("L", (number, 7)).save(photos / name, "PNG")
    monkeypatch.chdir(tree)
    report = Path(place, "x #?%'.html")
    resnest("predict", *sizes, "-m", "digits", "-o", report)
    rows = data(report.read_text())
    assert [row["path"] for row in rows] == [*sizes]
    begins = {"photos": "./", "photos/deep": "./../", "other": "./../photos/", "../elsewhere": f"{photos.as_uri()}/"}
    assert all(str(row["link"]).startswith(begins[place]) for row in rows)
    if ".." not in place:
        tree.rename(tmp_path / "moved")
        monkeypatch.chdir(tmp_path / "moved")
    driver.get(report.absolute().as_uri())
    home = driver.current_window_handle
    links = driver.find_elements("css selector", "article > a")
    assert len(links) == len(rows)
    for number, (row, link) in enumerate(zip(rows, links, strict=True)):
        if number % 2:
            link.send_keys(Keys.ENTER)
        else:
            link.click()
        (new,) = {*driver.window_handles} - {home}
        driver.switch_to.window(new)
        kind, title, *size = driver.execute_script(
            "const i = document.images[0];"
            "return [document.contentType, document.title, i?.naturalWidth, i?.naturalHeight]"
        )
        assert (kind, tuple(size)) == ("image/png", sizes[str(row["path"])]), row
        assert title != "owned"
        driver.close()
        driver.switch_to.window(home)
    assert driver.title == f"resnest: {len(rows)} images"


@pytest.mark.slow
def test_a_link_that_the_writer_did_not_make_is_none(driver: Any, tmp_path: Path) -> None:  # noqa: ANN401 - of selenium
    """Rows may come from anybody: their links are made anew, and the page takes only forms that the writer makes."""
    rows = [to_row(answer("a.jpg", 1, "x", 0.5)) | {"link": "javascript:document.title='owned'"}]
    out = io.BytesIO()
    html.write(rows, out, About(2, {}), tmp_path / "x.html")
    path = tmp_path / "x.html"
    path.write_bytes(out.getvalue())
    driver.get(path.as_uri())
    (link,) = driver.find_elements("css selector", "article > a")
    assert link.get_attribute("href") == Path("a.jpg").absolute().as_uri()
    assert (link.accessible_name, link.aria_role) == ("Open a.jpg", "link")
    assert (link.get_attribute("target"), link.get_attribute("rel")) == ("_blank", "noopener noreferrer")
    path.write_text(path.read_text().replace(Path("a.jpg").absolute().as_uri(), "javascript:document.title='owned'"))
    driver.get(path.as_uri())
    assert driver.find_elements("css selector", "a") == []
    assert len(driver.find_elements("css selector", "article")) == 1


@pytest.mark.slow
def test_images_that_are_alike_are_shown_and_open_too(driver: Any, tmp_path: Path) -> None:  # noqa: ANN401 - of selenium
    """Queries with neighbours: the order, range and search are by these, and no name is more than text."""
    cosines = [0.25, 0.75, 0.5]
    rows: list[dict[str, Any]] = [
        {
            "path": f"q{i}.png",
            "status": "ok",
            "images": [{"path": HOSTILE[i], "similarity": cosine}, {"path": "n.png", "similarity": -0.5}],
        }
        for i, cosine in enumerate(cosines)
    ]
    rows.append(
        {
            "path": "lost.png",
            "status": "error",
            "images": [],
            "error": {"type": "UnreadableInput", "message": "no such file."},
        }
    )
    small = thumbnails.of(Image.open(SAMPLES / "two_0051.png").convert("RGB"))
    shutil.copy(SAMPLES / "two_0051.png", tmp_path / "n.png")
    pictures = [{"path": str(tmp_path / "n.png"), "thumbnail": small}]
    for row in rows[:3]:
        row["images"][1]["path"] = str(tmp_path / "n.png")
    path = tmp_path / "x.html"
    with path.open("wb") as out:
        html.write(rows, out, About(0, {"model": HOSTILE[0]}), path, pictures)
    driver.get(path.as_uri())
    assert (driver.title, driver.find_element("tag name", "h1").text) == ("resnest: 4 queries", "4 queries")
    assert [
        label.text.split("\n")[0] for label in driver.find_elements("css selector", "label") if label.is_displayed()
    ] == [*("Name", "Result", "Order", "Cosine from 0.00", "to 1.00")]
    texts = [item.text for item in driver.find_elements("css selector", "article:first-of-type li")]
    assert texts == ["no preview\n0.2500\nscript>", "-0.5000\nn.png"]
    assert len(driver.find_elements("css selector", "li img")) == 3
    (link,) = driver.find_elements("css selector", "article:first-of-type li:last-child a")
    assert (link.get_attribute("href"), link.accessible_name) == (
        (tmp_path / "n.png").as_uri(),
        f"Open {tmp_path}/n.png",
    )
    for view, expected in {
        "#sort=high": ["q1.png", "q2.png", "q0.png", "lost.png"],
        "#sort=low&min=0.3": ["q2.png", "q1.png"],
        "#q=javascript": [],
        "#q=onerror": ["q1.png"],
        "#show=error": ["lost.png"],
        "#sort=failed": ["lost.png", "q0.png", "q1.png", "q2.png"],
    }.items():
        driver.get("about:blank")
        driver.get(path.as_uri() + view)
        assert [name.text for name in driver.find_elements("css selector", "article .name")] == expected, view
    assert driver.get_log("browser") == []


@pytest.mark.slow
def test_a_heat_map_stands_beside_its_picture(driver: Any, tmp_path: Path) -> None:  # noqa: ANN401 - of selenium
    small = thumbnails.of(Image.new("RGB", (150, 80)))
    row = to_row(answer("a.jpg", 1, "x", 0.5)) | {"thumbnail": small, "heat": small}
    path = tmp_path / "x.html"
    with path.open("wb") as out:
        html.write([row], out, About(1, {}), path)
    driver.get(path.as_uri())
    seen, heat = driver.find_elements("css selector", "article > a img")
    assert (seen.get_attribute("alt"), heat.accessible_name[:9]) == ("", "heat map:")
    assert (seen.size, seen.location["y"]) == (heat.size, heat.location["y"])
    assert seen.location["x"] + seen.size["width"] <= heat.location["x"]


def test_pictures_that_many_rows_show_are_asked_for_after_the_rows_and_stand_in_the_page_once() -> None:
    asked: list[str] = []

    def rows() -> Iterator[dict[str, Any]]:
        for path in "ab":
            asked.append(path)
            yield {"path": path, "status": "ok", "images": [{"path": "</script>", "similarity": 1.0}]}

    def pictures() -> Iterator[dict[str, Any]]:
        asked.append("pictures")
        yield {"path": "</script>", "thumbnail": "data:x"}

    out = io.BytesIO()
    html.write(rows(), out, About(0, {}), None, pictures())
    assert asked == ["a", "b", "pictures"]
    assert [row["link"] for row in data(out.getvalue().decode())] == [Path(name).absolute().as_uri() for name in "ab"]
    (one,) = data(out.getvalue().decode(), "pictures")
    assert one == {"path": "</script>", "thumbnail": "data:x", "link": f"{Path.cwd().as_uri()}/%3C/script%3E"}


def test_inputs_that_are_not_there_lead_nowhere() -> None:
    failed = [
        Failure("a", "UnreadableInput", "no such file."),
        Failure("b", "NoImages", "x"),
        Failure("c", "NotAnImage", "x"),
    ]
    assert [row["link"] for row in data(page(failed))] == ["", "", Path("c").absolute().as_uri()]


def shown(row: dict[str, object]) -> Image.Image:
    """Return the small picture of a row."""
    return Image.open(io.BytesIO(base64.b64decode(str(row["thumbnail"]).removeprefix("data:image/webp;base64,"))))


def test_small_pictures_are_small_and_upright(tmp_path: Path, resnest: Resnest) -> None:
    pixels = np.zeros((600, 1200, 3), np.uint8)
    pixels[:300] = 255  # white above, black below
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise: white to the right
    for name in ("x.jpg", "x.png"):
        Image.fromarray(pixels).save(tmp_path / name, exif=exif)
    resnest("predict", tmp_path, "-m", "digits", "-o", tmp_path / "x.html", "-j", "0")
    for small in map(shown, data((tmp_path / "x.html").read_text())):
        assert small.size == (80, 160)
        left, right = (np.asarray(small.convert("L"))[:, columns].mean() for columns in (slice(30), slice(50, None)))
        assert (left < 10, right > 245) == (True, True)


def unwanted(*_: object, **__: object) -> Image.Image:
    message = "a picture is decoded in the process that writes the page"
    raise AssertionError(message)


def test_small_pictures_come_from_the_process_that_decoded_the_image(
    resnest: Resnest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a picture costs memory once, and one that ends or stalls its decoder never meets the process of the job."""
    Image.new("1", (8000, 8000)).save(tmp_path / "large.png")
    Image.new("I;16", (40, 20), 40000).save(tmp_path / "deep.png")
    Image.new("P", (40, 20), 1).save(tmp_path / "two.gif", save_all=True, append_images=[Image.new("P", (40, 20), 2)])
    monkeypatch.setattr("resnest_cli.inputs.decode.images.decode", unwanted)
    monkeypatch.setattr(Image, "open", unwanted)
    resnest("predict", tmp_path, "-m", "digits", "-o", tmp_path / "x.html", "-j", "1")
    monkeypatch.undo()
    rows = data((tmp_path / "x.html").read_text())
    assert [(row["path"], shown(row).size) for row in rows] == [
        (f"{tmp_path}/deep.png", (40, 20)),
        (f"{tmp_path}/large.png", (160, 160)),
        (f"{tmp_path}/two.gif", (40, 20)),
    ]


def test_what_can_be_read_but_once_has_its_picture_too(resnest: Resnest, tmp_path: Path) -> None:
    content = (SAMPLES / "two_0051.png").read_bytes()
    resnest("predict", "-", "-m", "digits", "-o", tmp_path / "x.html", stdin=content)
    (row,) = data((tmp_path / "x.html").read_text())
    assert shown(row).size == (32, 32)


def test_a_picture_that_cannot_be_made_small_costs_no_row(
    resnest: Resnest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnest_cli.inputs.thumbnails.EDGE", -1)
    resnest("predict", SAMPLES / "two_0051.png", "-m", "digits", "-o", tmp_path / "x.html")
    (row,) = data((tmp_path / "x.html").read_text())
    assert (row["status"], row["thumbnail"]) == ("ok", "")


def test_a_page_of_real_answers_has_their_pictures(resnest: Resnest, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"GIF89a")
    ended = resnest("predict", SAMPLES, bad, "-m", "digits", "-k", "2", "-o", tmp_path / "x.html")
    rows = data((tmp_path / "x.html").read_text())
    assert (ended.exit_code, len(rows)) == (3, 13)
    assert [str(row["thumbnail"])[:23] for row in rows] == ["data:image/webp;base64,"] * 12 + [""]
    assert '"model": "digits", "weights": "' in (tmp_path / "x.html").read_text()


@in_browser
def test_a_card_says_when_and_where_it_was_taken(tmp_path: Path) -> None:
    taken = replace(answer("a.jpg", 1, "x", 0.5), exif=Exif("2026-05-01T12:00:00+02:00", 48.13726, -11.5))
    (tmp_path / "x.html").write_text(
        page([taken, replace(taken, exif=Exif(None, 0.0, 0.0)), replace(taken, exif=Exif())])
    )
    first, equator, unknown = show(tmp_path / "x.html").cards
    assert first.endswith("|2026-05-01 12:00:00+02:00, 48.1373, -11.5000|")
    assert equator.endswith("|0.0000, 0.0000|")
    assert unknown.endswith("|1.0%|")
