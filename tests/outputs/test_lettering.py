"""Names in pictures: drawn as they are, in whatever script, without a crash and without noise."""

from __future__ import annotations

import logging
import os
import re
import runpy
import sys
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from resnest_cli.errors import ExitCode
from resnest_cli.outputs import lettering, plots
from resnest_cli.outputs.lettering import drawable, drawing
from resnest_cli.tasks.explain import pictures
from resnest_cli.training import report

if TYPE_CHECKING:
    from conftest import Resnest, Shell

ODD = ("big $%_s$", "$x$", r"\frac{", "50%", "a_b^c", "$", "$$", r"\$", "#&~{}", "line\nbreak", "\udcff", "\x1b[2J")
DOG = "\N{CJK UNIFIED IDEOGRAPH-72AC}"


@pytest.fixture(autouse=True)
def _no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for fonts anew, and let no test's style be seen by another."""
    lettering._families.cache_clear()  # noqa: SLF001 - what the test is about
    monkeypatch.setattr(mpl, "rcParams", mpl.RcParams(mpl.rcParams))


@pytest.fixture
def font(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Install a font that has one letter, a square dog; return its name."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for point in ((900, 0), (900, 900), (0, 900)):
        pen.lineTo(point)
    pen.closePath()
    builder = FontBuilder(1000)
    builder.setupGlyphOrder([".notdef", "dog"])
    builder.setupCharacterMap({ord(DOG): "dog"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "dog": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "dog": (1000, 0)})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "Dogs", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "dogs.ttf")
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [*font_manager.fontManager.ttflist])
    font_manager.fontManager.addfont(tmp_path / "dogs.ttf")
    return "Dogs"


def drawn(words: str) -> bytes:
    """Draw words; return the pixels."""
    content = BytesIO()
    with drawing([words]):
        figure = Figure(figsize=(1, 1))
        figure.text(0.2, 0.2, words, fontsize=40)
        figure.savefig(content, format="raw")
    return content.getvalue()


@pytest.mark.parametrize("name", ODD)
def test_a_name_is_no_formula(name: str) -> None:
    with drawing([drawable(name)]):
        figure = Figure()
        text = figure.text(0, 0, drawable(name))
        figure.savefig(BytesIO(), format="png")
    assert not text.get_parse_math()
    assert text.get_text().isprintable()


def test_a_users_style_does_not_bring_formulas_back() -> None:
    mpl.rcParams.update({"text.usetex": True, "axes.formatter.use_mathtext": True, "font.family": ["No Such Font"]})
    with drawing(["x"]):
        figure = Figure()
        figure.subplots().plot([1e9, 2e9])
        figure.savefig(BytesIO(), format="png")


def test_pictures_look_the_same_whatever_the_style() -> None:
    before = drawn("x")
    mpl.rcParams.update({"figure.facecolor": "red", "text.color": "green", "savefig.dpi": 10})
    assert drawn("x") == before


# A file that says how matplotlib is to draw, and that it is to start LaTeX, and one that it cannot read.
HOSTILE = (
    b"figure.facecolor: red\ntext.usetex: True\ntext.latex.preamble: \\input{secret}\nfont.size: 30\n",
    b"\xff\xfe",
)
PICTURES = """
import sys
from pathlib import Path
import numpy as np
from resnest_cli.outputs import plots
from resnest_cli.training import report
row = {"model": "m", "engine": "e", "precision": "p", "batch": 1, "samples_per_sec": 9.0, "published_top1": 80.0}
epoch = {"epoch": 1, "train_loss": 1.0, "val_loss": 1.0, "val_top1": 0.5}
def draw(folder):
    counts = np.array([[0, 1], [0, 1], [3, 3]])
    (folder / "confusion.png").write_bytes(plots.confusion_png(*counts, {0: "a", 1: "b"}, "title"))
    report.draw_curves(folder, [epoch], 1)
    (folder / "speed.png").write_bytes(plots.speed_png([row]))
if __name__ == "__main__":
    draw(Path(sys.argv[1]))
"""


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder, and have another named by the environment, whose settings of matplotlib are a stranger's."""
    for name, content in zip(("photos", "named"), HOSTILE, strict=True):
        (tmp_path / name).mkdir()
        (tmp_path / name / "matplotlibrc").write_bytes(content)
    (tmp_path / "latex").write_text("#!/bin/sh\ntouch started\n")
    (tmp_path / "latex").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("MATPLOTLIBRC", str(tmp_path / "named"))
    monkeypatch.setenv("MPLBACKEND", "nonsense")
    monkeypatch.chdir(tmp_path / "photos")
    return tmp_path


@pytest.mark.slow
def test_no_settings_are_read_for_our_pictures(hostile: Path, shell: Shell) -> None:
    (hostile / "run.py").write_text(PICTURES)
    (hostile / "here").mkdir()
    runpy.run_path(str(hostile / "run.py"))["draw"](hostile / "here")
    expected = [path.read_bytes() for path in sorted((hostile / "here").iterdir())]
    assert len(expected) == 3
    for number, content in enumerate(HOSTILE):
        Path("matplotlibrc").write_bytes(content)
        there = hostile / f"there-{number}"
        there.mkdir()
        ended = shell(sys.executable, hostile / "run.py", there)
        assert (ended.returncode, ended.stderr) == (0, b"")
        assert [path.read_bytes() for path in sorted(there.iterdir())] == expected
    assert not [*hostile.rglob("started")]


def test_letters_come_from_a_font_that_has_them(font: str, caplog: pytest.LogCaptureFixture) -> None:
    with drawing([f"a {DOG}"]):
        assert mpl.rcParams["font.family"][-1] == font
    assert not caplog.records
    assert drawn(DOG) != drawn("\N{CJK UNIFIED IDEOGRAPH-72AB}")


def test_letters_that_no_font_has_are_said_once(logged: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    own = [entry for entry in font_manager.fontManager.ttflist if entry.fname.startswith(mpl.get_data_path())]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    for _ in range(2):
        drawn(DOG)
    assert logged == [f"no font of this machine has {DOG}, so pictures show boxes; one such as Noto has them"]


def test_matplotlib_says_nothing_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    with drawing(["x"]):
        logging.getLogger("matplotlib.font_manager").warning("building a cache")
    assert not caplog.records


def test_classes_of_any_name_are_validated_and_drawn(tmp_path: Path, resnest: Resnest) -> None:
    names = [*ODD[:9], DOG]
    (tmp_path / "names.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    for i in range(10):
        Image.new("RGB", (32, 32), (25 * i,) * 3).save(tmp_path / f"{i}.png")
    rows = "".join(f'{i}.png,"{name}"\n' for i, name in enumerate(names))
    (tmp_path / "list.csv").write_text(f"path,label\n{rows}", encoding="utf-8")
    picture = tmp_path / "x.png"
    words = ("--labels", tmp_path / "names.txt", "--confusion", picture, "--mistakes", tmp_path / "x.html")
    ended = resnest("validate", tmp_path / "list.csv", "-m", "digits", *words)
    assert ended.exit_code == 0, ended.output
    assert re.search(r"images +10, of 10 classes", ended.stdout)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_training_draws_classes_of_any_name(tmp_path: Path) -> None:
    true = np.arange(len(ODD) + 1)
    report.draw_confusion(tmp_path, [*ODD, DOG], true, true)
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")


LONG = ("x" * 100_000, "\N{CJK UNIFIED IDEOGRAPH-72AC}" * 100_000, "a" + "\u0301" * 20_000, "\n" * 100_000)


@pytest.mark.parametrize("name", [*LONG, "\0" * 80, "\\" * 100, "\udcff" * 100])
def test_a_name_is_cut_to_what_can_be_laid_out(name: str) -> None:
    short = drawable(name)
    assert short.isprintable()
    assert short.encode()
    assert len(short) <= lettering.LONGEST * len(r"\U0001f600")


def test_long_names_are_drawn_at_once_in_every_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    longest = 0
    lay_out: Any = Text._get_layout  # type: ignore[attr-defined] # noqa: SLF001 - what takes a minute

    def watched(self: Text, *rest: object) -> object:
        nonlocal longest
        longest = max(longest, len(self.get_text()))
        return lay_out(self, *rest)

    monkeypatch.setattr(Text, "_get_layout", watched)
    true = np.arange(len(LONG))
    report.draw_confusion(tmp_path, LONG, true, true)
    row = {"engine": "torch", "precision": "fp32", "batch": 1, "samples_per_sec": 1.0, "published_top1": None}
    assert plots.speed_png([row | {"model": name} for name in LONG]).startswith(b"\x89PNG")
    assert 0 < longest < 1000


def test_a_long_label_costs_an_explanation_no_time() -> None:
    class Draw:
        calls = 0

        def textlength(self, text: str, _: object) -> float:
            self.calls += 1
            return 7.0 * len(text)

        def text(self, _: object, text: str, *__: object) -> None:
            self.shown = text

    draw = Draw()
    pictures._write(draw, (0, 0), LONG[0], 20, 300)  # type: ignore[arg-type] # noqa: SLF001 - what all text goes through
    assert draw.shown == "x" * 41 + "\N{HORIZONTAL ELLIPSIS}"
    assert draw.calls <= 300


def test_a_picture_that_cannot_be_drawn_costs_no_numbers_and_no_other_file(
    tmp_path: Path, resnest: Resnest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("In FT2Font: $ could not load glyph \x1b[2J")

    monkeypatch.setattr(Figure, "savefig", broken)
    picture, others = tmp_path / "x.png", (tmp_path / "x.csv", tmp_path / "classes.csv", tmp_path / "x.html")
    words = ("--confusion", picture, "--confusion", others[0], "--per-class", others[1], "--mistakes", others[2])
    Image.new("RGB", (32, 32)).save(tmp_path / "0.png")
    (tmp_path / "list.csv").write_text("path,label\n0.png,zero\n", encoding="utf-8")
    ended = resnest("validate", tmp_path / "list.csv", "-m", "digits", "-q", *words)
    assert ended.exit_code == ExitCode.FAILED
    assert "images" in ended.stdout
    assert ended.stderr == (
        f"error: {picture}: the picture cannot be drawn: RuntimeError: In FT2Font: $ could not load glyph \\x1b[2J.\n"
    )
    assert [path.exists() for path in (picture, *others)] == [False, True, True, True]


def test_a_picture_that_cannot_be_drawn_costs_no_trained_model(
    tmp_path: Path, resnest: Resnest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("too large")

    monkeypatch.setattr(Figure, "savefig", broken)
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (32, 32), (60 * i, 20, 200 * (name == "a"))).save(tmp_path / "data" / name / f"{i}.png")
    words = ("-m", "digits", "--epochs", "1", "-j", "0", "--device", "cpu")
    ended = resnest("finetune", tmp_path / "data", "-o", tmp_path / "out", *words)
    assert ended.exit_code == 0, ended.output
    assert "the picture cannot be drawn: ValueError: too large." in ended.stderr
    assert (tmp_path / "out" / "metrics.json").exists()
