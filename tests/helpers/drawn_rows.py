"""Rows of all kinds, and what holds for all of them, for hypothesis to draw."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from resnest_cli.outputs.rows import About

FACTS = {"model": "digits", "odd": "</script>"}
# Of text that is no path, CSV and Parquet write lone surrogates as escapes: they stand for nothing there.
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
path = st.binary(min_size=1, max_size=20).map(lambda name: name.replace(b"\0", b"0").decode("utf-8", "surrogateescape"))
share = st.floats(0, 1, width=32).map(lambda value: float(str(np.float32(value))))
prediction = st.fixed_dictionaries(
    {"index": st.integers(0, 999), "wnid": st.none() | st.just("n02111889"), "label": text, "probability": share}
)
certainty = st.fixed_dictionaries(
    {"set": st.lists(st.integers(0, 999), min_size=1, max_size=4), "strangeness": share, "abstained": st.booleans()}
)

degrees = st.none() | st.floats(-180, 180).map(lambda value: round(value, 7))
exif = st.fixed_dictionaries(
    {"taken": st.none() | st.just("2026-05-01T12:00:00+02:00"), "latitude": degrees, "longitude": degrees}
)


@st.composite
def files(draw: st.DrawFn) -> tuple[list[dict[str, Any]], About]:
    """Draw the rows of a file, and what holds for all of them."""
    is_calibrated, has_exif = draw(st.booleans()), draw(st.booleans())
    rows: list[dict[str, Any]] = []
    for name in draw(st.lists(path, max_size=6)):
        if draw(st.booleans()):
            error = {"type": draw(st.sampled_from(["NotAnImage", "TruncatedImage"])), "message": draw(text)}
            rows.append({"path": name, "status": "error", "predictions": [], "error": error})
            continue
        found = [{"rank": rank} | each for rank, each in enumerate(draw(st.lists(prediction, max_size=3)), 1)]
        row = {"path": name, "status": "ok", "predictions": found}
        rows.append(row | (draw(certainty) if is_calibrated else {}) | (draw(exif) if has_exif else {}))
    return rows, About(3, FACTS, is_calibrated, has_exif)
