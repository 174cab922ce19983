"""Near-duplicates: one photo at two sizes, compressed twice, brightened, or cropped by a hair. Pillow and numpy only.

In: a decoded picture, then the fingerprints of all. Out: pairs of pictures that look the same. It keeps 190 bytes per
picture, and its time grows as that of sorting. `scripts/measure/near_duplicates.py` says how many it finds.

A fingerprint is made as pHash makes its own (C. Zauner, Implementation and Benchmarking of Perceptual Image Hash
Functions, 2010): a cosine transform of 32x32 pixels, of which the lowest 8x8 frequencies stay. Two things differ. The
mean brightness and the scale go, as other exposures of a photo differ in them. The numbers stay, beside their signs
(the bits of pHash), and the color: digits, and shirts on a plain ground, differ from others in few signs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

EDGE, LOW, LOW_COLOR = 32, 8, 4  # pixels of the small picture; lowest frequencies of its brightness, of its color
GRAY = LOW * LOW - 1  # numbers of the brightness, without its mean
LEAST_COSINE, MOST_SIGNS = 0.99, 8  # of two pictures that look the same: at least, and signs of 63 that differ at most
LEAST_CONTRAST = 4.0  # standard deviation in gray levels of 255: an empty page looks like every other
LEAST_WAVES = 1.1  # that a picture is made of: a slope from dark to light is one (1.03), a digit 1.2 or more
ORDERS, REACH = 5, 32  # in which pictures are sorted, and how many next ones each is compared with: 0.8 s for 100,000


def fingerprint(picture: Image.Image) -> bytes:
    """Return the fingerprint of an RGB picture: float16 [95], of length 1; b"" if there is too little in it."""
    small = picture.resize((EDGE, EDGE), Image.Resampling.BILINEAR, reducing_gap=2.0).convert("YCbCr")
    waves = _COSINES @ (np.asarray(small, np.float64).transpose(2, 0, 1) - 128) @ _COSINES.T
    gray, color = waves[0].ravel()[1:], waves[1:, :LOW_COLOR, :LOW_COLOR].ravel()
    energy = gray**2
    if energy.sum() < (LEAST_CONTRAST * EDGE) ** 2 or energy.sum() ** 2 < LEAST_WAVES * (energy**2).sum():
        return b""
    numbers = np.concatenate([gray, color])
    return bytes((numbers / np.linalg.norm(numbers)).astype(np.float16))


def pairs(fingerprints: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Yield the positions of two pictures that look the same; pairs of one crowd of them may lack, or come again.

    The pictures are sorted by their signs, in several orders that begin with other signs each, so that pictures that
    differ in few are close in one of them.
    """
    places = np.array([place for place, each in enumerate(fingerprints) if each], np.int64)
    if len(places) < 2:  # noqa: PLR2004 - a pair
        return
    numbers = np.frombuffer(b"".join(fingerprints), np.float16).reshape(len(places), -1).astype(np.float32)
    gray = numbers[:, :GRAY] / np.linalg.norm(numbers[:, :GRAY], axis=1, keepdims=True)
    signs = gray > 0
    bits = np.packbits(signs, axis=1)
    for turn in range(ORDERS):
        order = np.lexsort(np.roll(signs, turn * GRAY // ORDERS, axis=1).T)
        for step in range(1, min(REACH, len(order) - 1) + 1):
            near = _COUNTS[bits[order[:-step]] ^ bits[order[step:]]].sum(1) <= MOST_SIGNS
            a, b = order[:-step][near], order[step:][near]
            alike = np.minimum(_products(gray, a, b), _products(numbers, a, b)) >= LEAST_COSINE
            yield from zip(places[a[alike]].tolist(), places[b[alike]].tolist(), strict=True)


def _products(rows: NDArray[np.float32], a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.float32]:
    products: NDArray[np.float32] = np.einsum("ij,ij->i", rows[a], rows[b])
    return products


def _cosines() -> NDArray[np.float64]:
    """Return the lowest waves of the orthonormal DCT-II of `EDGE` values: float64 [LOW, EDGE]."""
    wave, at = np.arange(LOW)[:, None], np.arange(EDGE)
    return np.sqrt(np.where(wave == 0, 1, 2) / EDGE) * np.cos(np.pi * (2 * at + 1) * wave / (2 * EDGE))


_COSINES = _cosines()
_COUNTS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1, dtype=np.uint8)  # bits set in a byte
