"""Explanations as pictures: the heat map beside what the network saw, and the split attention block by block.

In: an `Explanation`. Out: PIL images. Colors are those of cividis, which those who cannot tell red from green read
as others do (Nunez et al., doi:10.1371/journal.pone.0199239), and which stays in order when it is printed gray.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from resnest_cli.inputs import thumbnails
from resnest_cli.models.catalog import DATA

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnest_cli.tasks.explain.heatmap import Explanation, Shares

MIN_EDGE = 320  # pixels of a panel: small networks are shown larger
PAD, LINE = 12, 22
DARKEST = 90  # gray under the colors, which black would hide
SMALL = 13  # size of what explains
TEXT, QUIET, PAPER = (20, 20, 20), (95, 95, 95), (255, 255, 255)
STRIP, ROW, NAME, MEAN = 300, 16, 110, 46  # of the split attention: widths, and the height of a block


def side_by_side(said: Explanation) -> Image.Image:
    """Draw the picture that the network saw, and beside it where the evidence for the class is."""
    height, width = said.heat.shape
    scale = max(1, -(-MIN_EDGE // min(height, width)))
    size = (width * scale, height * scale)
    seen = Image.fromarray(said.pixels).resize(size, Image.Resampling.NEAREST)
    sheet = Image.new("RGB", (2 * size[0] + 3 * PAD, size[1] + 3 * PAD + 3 * LINE), PAPER)
    top = PAD + 2 * LINE + PAD // 2
    sheet.paste(seen, (PAD, top))
    sheet.paste(overlay(seen, said.heatmap, size), (2 * PAD + size[0], top))
    draw = ImageDraw.Draw(sheet)
    inside = sheet.width - 2 * PAD
    _write(draw, (PAD, PAD - 4), f"{said.label}  {said.probability:.1%}", 20, inside)
    about = [f"class {said.index}", *([said.wnid] if said.wnid else []), said.path]
    _write(draw, (PAD, PAD + LINE), "   ".join(about), SMALL, inside)
    _scale(sheet, top + size[1] + PAD, said)
    return sheet


def thumbnails_of(said: Explanation) -> tuple[str, str]:
    """Return small pictures of what the network saw, and of the same colored by the heat map, as `data:` URIs."""
    return thumbnails.of(Image.fromarray(said.pixels)), thumbnails.of(said.overlay())


def split_attention(said: Explanation) -> Image.Image:
    """Draw, block by block, the share that each split has of each channel, channels in the order of the first's."""
    radix = max(shares.radix for shares in said.shares)
    width = NAME + radix * (STRIP + MEAN + PAD) + PAD
    top = PAD + 3 * LINE
    sheet = Image.new("RGB", (width, top + len(said.shares) * (ROW + 4) + 2 * LINE + PAD), PAPER)
    draw = ImageDraw.Draw(sheet)
    what = "share of each split" if radix > 1 else "gate (radix 1: one split, nothing to share)"
    _write(draw, (PAD, PAD - 4), f"Split attention: {what}", 20, width - 2 * PAD)
    note = "a strip is a block's channels, sorted by split 1; the number is their mean"
    _write(draw, (PAD, PAD + LINE), f"{said.path}   {note}", SMALL, width - 2 * PAD)
    for split in range(radix):
        _write(draw, (_strip_left(split), PAD + 2 * LINE), f"split {split + 1}", 14, STRIP)
    for number, shares in enumerate(said.shares):
        _draw_block(sheet, top + number * (ROW + 4), shares)
    _bar(sheet, (_strip_left(0), sheet.height - LINE - PAD), ("0", "1"))
    return sheet


def overlay(seen: Image.Image, heatmap: NDArray[np.float32], size: tuple[int, int]) -> Image.Image:
    """Color a picture of this size, made gray and light, by the heat map: so a color means heat and nothing else."""
    smooth = Image.fromarray(heatmap).resize(size, Image.Resampling.BILINEAR)
    colors = cividis(np.asarray(smooth))
    gray = seen.convert("L").point(lambda level: DARKEST + level * (255 - DARKEST) // 255)
    return Image.blend(gray.convert("RGB"), Image.fromarray(colors), 0.6)


def _scale(sheet: Image.Image, top: int, said: Explanation) -> None:
    rows, columns = said.cells
    grid = f"Grad-CAM, last stage: {rows} x {columns} cells"
    if not said.heat.any():
        grid += "; nothing speaks for this class"
    _write(ImageDraw.Draw(sheet), (PAD, top), grid, SMALL, sheet.width // 2 - PAD)
    _bar(sheet, (sheet.width // 2 + PAD // 2, top), ("no evidence", "most"))


def _bar(sheet: Image.Image, place: tuple[int, int], ends: tuple[str, str]) -> None:
    """Draw the color scale with words at its ends."""
    draw, length = ImageDraw.Draw(sheet), 140
    left = place[0] + int(draw.textlength(ends[0], _font(SMALL))) + 6
    ramp = np.tile(np.linspace(0, 1, length, dtype=np.float32), (12, 1))
    draw.text(place, ends[0], TEXT, _font(SMALL))
    sheet.paste(Image.fromarray(cividis(ramp)), (left, place[1] + 3))
    draw.text((left + length + 6, place[1]), ends[1], TEXT, _font(SMALL))


def _draw_block(sheet: Image.Image, top: int, shares: Shares) -> None:
    draw = ImageDraw.Draw(sheet)
    _write(draw, (PAD, top), shares.block, 14, NAME - PAD)
    order = np.argsort(shares.values[0], kind="stable")
    for split, values in enumerate(shares.values):
        strip = np.tile(values[order], (ROW, 1))
        colored = Image.fromarray(cividis(strip)).resize((STRIP, ROW), Image.Resampling.NEAREST)
        sheet.paste(colored, (_strip_left(split), top))
        draw.text((_strip_left(split) + STRIP + 6, top), f"{values.mean():.2f}", TEXT, _font(SMALL))


def _strip_left(split: int) -> int:
    return NAME + split * (STRIP + MEAN + PAD)


def cividis(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Color values 0..1 [H, W] as uint8 [H, W, 3]."""
    table = _table()
    return table[np.clip(values * len(table), 0, len(table) - 1).astype(np.intp)]


@cache
def _table() -> NDArray[np.uint8]:
    """Return the colors [256, 3] of the file that `scripts/data` makes of matplotlib's, which takes 0.4 s to import."""
    return np.loadtxt(DATA / "cividis.tsv", np.uint8)


def _write(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, width: int) -> None:
    """Write a line, small ones in gray, cut with an ellipsis where it would be wider than `width`."""
    color = QUIET if size == SMALL else TEXT
    head = text[:width]  # no letter is narrower than a pixel; of 100,000, each is looked at for every one that is cut
    printable = "".join(character if character.isprintable() else "?" for character in head)
    shown = printable
    while shown and draw.textlength(shown, _font(size)) > width:
        shown = shown[:-2] + "\N{HORIZONTAL ELLIPSIS}" if len(shown) > 1 else ""
    draw.text(place, shown, color, _font(size))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
