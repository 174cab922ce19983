"""Scale the numbers of a deep image (16-bit, 32-bit, float) to 8 bits per channel. numpy only.

In: an array of any integer or float type. Out: uint8 of the same shape. Reads no file.

Which number is white? The first of these that fits:

1. The usual scale of the numbers, from black at 0: 255, 1023, 4095 or 16383 (8, 10, 12 and 14 bits stored in more),
   65535, or the maximum of the type; for floats 1, 255 or 65535. A scale fits if nearly no content lies outside it, and
   the content spans half of it, or an eighth of the type's own scale, since a 16-bit image may be dark.
2. The content's own range, as of Kelvin, reflectance 0..3000 or heights in metres.

"Nearly" and "range" exclude a thousandth of the pixels at either end, so that one hot pixel decides nothing; a
hundredth, where a thousandth would leave almost no shades for the others. Numbers that mean "no data" are excluded and
become black: NaN, the infinities, 1e20 and beyond, -9999 and the like, and the number that the file declares.

So a 16-bit image below 4096 is read as 12 bits, and below 16384 as 14 bits, which cameras, scanners, microscopes and
X-ray detectors store. A 16-bit image that is really so dark becomes brighter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from resnest_cli.errors import BrokenImage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[Any]

TAIL, WIDE_TAIL = 0.001, 0.01  # shares of the pixels, at either end, that are excluded
FEW_SHADES = 64  # times wider than the range without the wide tails, which would get 4 of 256 shades
SLACK = 0.05  # how far resampled numbers overshoot their scale, as a share of it
OWN_SPAN, GUESSED_SPAN = 1 / 8, 1 / 2  # shares of a scale that the content must span
SAMPLE = 200_000  # numbers that percentiles are computed from
NO_DATA = (-9999, -99999, -32768, -32767, -(2**31))
NO_DATA_FROM = 1e20  # the fill value of climate data; maps use 3.4e38, the largest float32


def to_8_bits(
    values: Values, *, no_data: float | None = None, zero_is_white: bool = False, stretch: bool = True
) -> NDArray[np.uint8]:
    """Scale numbers to 0..255, from black to white, or from white to black if `zero_is_white`.

    Without `stretch` the scale is that of the type (for floats the smallest usual scale that holds the numbers).

    Raises:
        BrokenImage: no number is valid.
    """
    values = values.astype(np.float32) if values.dtype.str.endswith("f2") else values  # half floats end at 65504
    missing = _missing(values, no_data)
    known = values if missing is None else values[~missing]
    if not known.size:
        message = "the image holds no data: all its values are NaN, or stand for missing ones."
        raise BrokenImage(message)
    black, white = _range(known) if stretch else (0, _white(float(known.max()), known.dtype))
    values = values if missing is None else np.where(missing, values.dtype.type(black), values)
    gray = (values - np.float64(black) if black else values).astype(np.float32)
    gray *= 255 / (white - black)
    gray += 0.5
    np.clip(gray, 0, 255, out=gray)
    shown = gray.astype(np.uint8)
    if zero_is_white:
        np.subtract(255, shown, out=shown)
    if missing is not None:
        shown[missing] = 0
    return shown


def spans(values: Values, of: float) -> bool:
    """Return whether the numbers, without their tails, span enough of their type's own scale, 0..`of`."""
    low, high = _ends(values)
    return high - low >= of * OWN_SPAN


def _missing(values: Values, no_data: float | None) -> NDArray[np.bool_] | None:
    """Return a mask of the numbers that mean "no data"; None where there are none."""
    floats, signed = values.dtype.kind == "f", values.dtype.kind in "if"
    missing = np.zeros(values.shape, bool)
    if floats:
        missing |= ~((values < NO_DATA_FROM) & (values > -NO_DATA_FROM))  # so that NaN is in
    for number in (*(NO_DATA if signed else ()), *(() if no_data is None else (no_data,))):
        missing |= values == number
    return missing if missing.any() else None


def _range(values: Values) -> tuple[float, float]:
    """Return which numbers are black and white."""
    low, high = _ends(values)
    for scale, share in _scales(values.dtype):
        if low >= -SLACK * scale and high <= (1 + SLACK) * scale and high - low >= share * scale:
            return 0, scale
    return (low, high) if low < high else (0, _white(low, values.dtype))


def _ends(values: Values) -> tuple[float, float]:
    """Return the smallest and the largest number without the tails; with the tails where all others are equal."""
    flat = values.reshape(-1)
    sample = flat[:: max(1, flat.size // SAMPLE) | 1]  # odd, so that the sample is not one column
    ends = np.quantile(sample.astype(np.float64), [TAIL, WIDE_TAIL, 1 - WIDE_TAIL, 1 - TAIL])
    low, inner_low, inner_high, high = ends
    if high - low > FEW_SHADES * (inner_high - inner_low) > 0:
        low, high = inner_low, inner_high
    return (float(low), float(high)) if low < high else (float(values.min()), float(values.max()))


def _scales(dtype: np.dtype[Any]) -> list[tuple[float, float]]:
    """Return the usual scales of a type, smallest first, and the share of each that must be spanned."""
    if dtype.kind == "f":
        return [(scale, GUESSED_SPAN) for scale in (1, 255, 65535)]
    own = int(np.iinfo(dtype).max)
    return [*((scale, GUESSED_SPAN) for scale in (255, 1023, 4095, 16383, 65535) if scale < own), (own, OWN_SPAN)]


def _white(value: float, dtype: np.dtype[Any]) -> float:
    """Return the scale of a type; for floats and signed numbers the smallest usual scale that holds `value`."""
    scales = [scale for scale, _ in _scales(dtype)]
    return next((scale for scale in scales[-1 if dtype.kind == "u" else 0 :] if value <= scale), value)
