"""A finished int8 model in words: (name, value) texts for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resnest_cli.tasks.quantize.quantization import Quantized


def facts(made: Quantized) -> Iterator[tuple[str, str]]:
    """Yield folder, method, agreement with fp32, accuracy and speed."""
    method, found = list(made.tried.items())[-1]
    figures = found.figures()
    size = sum(path.stat().st_size for path in made.folder.glob("model.[xb]*"))
    yield "folder", f"{made.folder} (int8: {size / 1e6:.1f} MB)"
    yield "method", method
    yield "in floating point", f"{len(made.floating)} layers with weights" + ", see quantize.json" * bool(made.floating)
    yield "judged on", f"{found.images} other images"
    yield "first class", f"that of fp32 for {_share(figures, 'agreement')}"
    most, mean = found.max_probability_change, found.mean_probability_change
    yield "probabilities", f"differ by at most {most:.3f}; that of the first class by {mean:.4f} on average"
    before_after = (
        f"{_share(figures, 'accuracy_after')}, in fp32 {_share(figures, 'accuracy_before')}" if found.labelled else ""
    )
    yield "accuracy", before_after or "not known: the folders there name no classes"
    speed = made.speed
    ratio = f"{speed.int8 / speed.other:.2f} times {speed.precision}"
    yield "speed", f"{speed.int8:.1f} images/s, {ratio} ({speed.other:.1f}), in turns"


def _share(figures: dict[str, Any], name: str) -> str:
    low, high = (100 * bound for bound in figures[f"{name}_ci95"])
    return f"{100 * figures[name]:.2f} % (95%: {low:.2f} to {high:.2f})"
