"""Pictures that look the same are found, and others are not taken for them."""

from __future__ import annotations

import io
from itertools import combinations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter
from scipy.fft import dctn
from sklearn.datasets import load_digits

from resnest_cli.inputs.likeness import EDGE, GRAY, LEAST_COSINE, MOST_SIGNS, REACH, fingerprint, pairs


def scene(seed: int, size: tuple[int, int] = (240, 180)) -> Image.Image:
    """Draw something like a photo: forms of any color on a ground that is not plain, a little noise."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 200, (5, 7, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(coarse)
    for _ in range(6):
        x, y, width, height = (int(value) for value in rng.integers(20, 120, 4))
        pen.ellipse((x, y, x + width, y + height), fill=tuple(int(value) for value in rng.integers(0, 200, 3)))
    return coarse.filter(ImageFilter.GaussianBlur(1))


def packed(picture: Image.Image) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=60)
    return Image.open(file).convert("RGB")


CHANGES = {
    "half the size": lambda picture: picture.resize((120, 90), Image.Resampling.LANCZOS),
    "twice the size": lambda picture: picture.resize((480, 360), Image.Resampling.BICUBIC),
    "compressed": packed,
    "brighter": lambda picture: picture.point(lambda value: min(255, round(1.1 * value))),
    "cropped": lambda picture: picture.crop((2, 2, 238, 178)),  # 1 % from each edge
}


def test_a_fingerprint_is_the_low_frequencies_of_scipy() -> None:
    picture = scene(0, (EDGE, EDGE))
    waves = dctn(np.asarray(picture.convert("YCbCr"), np.float64) - 128, axes=(0, 1), norm="ortho")
    numbers = np.concatenate([waves[:8, :8, 0].ravel()[1:], *(waves[:4, :4, channel].ravel() for channel in (1, 2))])
    expected = numbers / np.linalg.norm(numbers)
    np.testing.assert_allclose(np.frombuffer(fingerprint(picture), np.float16), expected, atol=2**-11)


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_picture_is_found_beside_its_original(change: str) -> None:
    originals = [scene(seed) for seed in range(20)]
    found = pairs([fingerprint(picture) for picture in (*originals, *map(CHANGES[change], originals))])
    assert {tuple(sorted(pair)) for pair in found} == {(i, i + 20) for i in range(20)}


def test_another_picture_is_none() -> None:
    one = scene(0)
    gray, blue, red = one.convert("YCbCr").split()
    colored = Image.merge("YCbCr", (gray, red, blue)).convert("RGB")  # of the same brightness everywhere, but for clips
    for other in (one.transpose(Image.Transpose.FLIP_LEFT_RIGHT), one.rotate(180), one.crop((0, 0, 180, 135)), colored):
        assert list(pairs([fingerprint(one), fingerprint(other)])) == []


def test_a_strong_color_makes_no_two_textures_alike() -> None:
    """Fine grain on one red ground: the color of both is the same, and far stronger than what differs."""
    red = np.array([200, 40, 40])
    rng = np.random.default_rng(0)
    grains = [rng.integers(-40, 40, (8, 8, 1)) * np.ones((1, 1, 3), int) for _ in range(40)]
    pictures = [Image.fromarray((red + grain).astype(np.uint8)).resize((64, 64)) for grain in grains]
    prints = [fingerprint(picture) for picture in pictures]
    assert all(prints)
    assert list(pairs(prints)) == []


@pytest.mark.parametrize("kind", ["white", "gray", "slope", "noise on white"])
def test_a_picture_with_too_little_in_it_looks_like_no_other(kind: str) -> None:
    slope = np.tile(np.linspace(40, 200, 64, dtype=np.uint8), (64, 1))
    noise = np.random.default_rng(0).integers(250, 256, (64, 64), np.uint8)
    pixels = {"white": np.full((64, 64), 255, np.uint8), "gray": np.full((64, 64), 90, np.uint8), "slope": slope}
    assert fingerprint(Image.fromarray(pixels.get(kind, noise)).convert("RGB")) == b""
    assert list(pairs([b"", b""])) == []


def test_few_digits_are_taken_for_others() -> None:
    """They are 8x8 pixels on a plain ground: of 1,613,706 pairs three are alike, each of one class."""
    pixels, labels = load_digits(return_X_y=True)
    pictures = (Image.fromarray((each.reshape(8, 8) * 15).astype(np.uint8)).convert("RGB") for each in pixels)
    found = {tuple(sorted(pair)) for pair in pairs([fingerprint(picture) for picture in pictures])}
    assert len(found) <= 5
    assert all(labels[a] == labels[b] for a, b in found)


def test_what_is_found_is_what_comparing_all_with_all_finds() -> None:
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(300, 95))
    numbers = np.repeat(kinds, 4, axis=0) + rng.normal(scale=0.1, size=(1200, 95))  # some alike, some too far
    numbers = (numbers / np.linalg.norm(numbers, axis=1, keepdims=True)).astype(np.float16)
    rows = numbers.astype(np.float64)
    gray = rows[:, :GRAY] / np.linalg.norm(rows[:, :GRAY], axis=1, keepdims=True)
    expected = {
        (a, b)
        for a, b in combinations(range(1200), 2)
        if a // 4 == b // 4
        and min(rows[a] @ rows[b], gray[a] @ gray[b]) >= LEAST_COSINE
        and np.sum((rows[a, :GRAY] > 0) != (rows[b, :GRAY] > 0)) <= MOST_SIGNS
    }
    found = {tuple(sorted(pair)) for pair in pairs([row.tobytes() for row in numbers])}
    assert 200 < len(expected) < 1800
    assert found <= expected
    assert len(found) >= 0.99 * len(expected)


def test_a_crowd_of_one_picture_costs_no_more_than_its_neighbours() -> None:
    same = fingerprint(scene(0))
    assert len(list(pairs([same] * 1000))) <= 5 * REACH * 1000
