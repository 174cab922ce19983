"""A calibration in words: (name, value) texts and rows of a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resnest_cli.tasks.calibrate.file import Calibration

SETS = ("asked", "covered %", "classes", "sure %", "right if sure %")
TOO_FEW = "too few to judge"
_NEAR = 0.05  # of 1


def facts(found: Calibration) -> Iterator[tuple[str, str]]:
    """Yield the images, the temperature, and how good the probabilities are before and after."""
    images, figures = found.images, found.figures
    failed = f", and {images['failed']} without an answer" if images["failed"] else ""
    yield "model", f"{found.made_with['model']}, weights {found.made_with['weights'][:8]}"
    yield "images", f"{images['fitting']} fit, {images['scoring']} others judge{failed}"
    yield "top-1", percent(figures["top1"])
    yield "temperature", f"{found.fit.temperature:.4f}: {_meaning(found.fit.temperature)}"
    for name, key in (("calibration error", "ece"), ("loss", "nll"), ("Brier score", "brier")):
        yield name, f"{_figure(figures[key]['after'])}, before {_figure(figures[key]['before'])}"
    yield from (("note", note) for note in found.notes)


def sets(found: Calibration) -> Iterator[list[str]]:
    """Yield a row for each coverage; columns as `SETS`."""
    for row in found.figures["sets"]:
        after = row["after"]
        cells = ["covered", "size", "sure", "sure_right"]
        texts = [_cell(name, after[name]) for name in cells] if after else [TOO_FEW, "", "", ""]
        yield [f"{row['coverage']:.0%}", *texts]


def percent(figure: Sequence[float] | None) -> str:
    """Return a share with its interval."""
    if figure is None:
        return "none"
    value, low, high = (100 * number for number in figure)
    return f"{value:.2f} % (95%: {low:.2f} to {high:.2f})"


def _meaning(temperature: float) -> str:
    if abs(temperature - 1) < _NEAR:
        return "probabilities were about right"
    return "probabilities were too high" if temperature > 1 else "probabilities were too low"


def _figure(figure: Sequence[float]) -> str:
    value, low, high = figure
    return f"{value:.4f} ({low:.4f} to {high:.4f})"


def _cell(name: str, figure: Any) -> str:  # noqa: ANN401 - as in JSON
    if figure is None:
        return "none"
    value, low, high = figure if name == "size" else (100 * number for number in figure)
    digits = 2 if name == "size" else 1
    return f"{value:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"  # short: five columns fit 80
