"""A `Validation` in words: its numbers with what they mean, and the hardest classes.

In: a `Validation`. Out: pairs and rows of text. Does not know where they are printed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnest_cli.inputs.splits import ALL
from resnest_cli.tasks.validate.report import class_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resnest_cli.tasks.validate.report import ClassRow
    from resnest_cli.tasks.validate.result import Validation

WORST_CLASSES = 10
HARDEST = ("hardest classes", "images", "top-1 %", "mostly taken for", "times")


def facts(found: Validation) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each number."""
    row, published = found.summary(), found.spec.facts
    yield "model", f"{row['model']}, {row['param_count']} M parameters"
    yield "images", _images(found)
    yield "scored among", f"{len(found.among)} of {found.spec.num_classes} classes"
    yield "top-1", _percent(row["top1"], row["top1_ci95"], published.get("top1_timm"))
    yield "top-5", _percent(row["top5"], row["top5_ci95"], published.get("top5_timm"))
    if found.real:
        yield "ReaL top-1", _percent(row["real_top1"], None, row["published_real_top1"]) + f", {row['real_n']} images"
        yield "ReaL top-5", _percent(row["real_top5"], None, None)
    if row["n"]:
        yield "loss", f"{row['loss']:.4f}"
        yield "calibration error", f"{row['ece']:.4f}"
    if found.calibrated:
        yield from found.calibrated.words()
    yield "images are", _preparation(found)
    if published:
        yield "published with", _published(found)


def hardest(found: Validation) -> list[list[str]]:
    """Return the classes with the lowest top-1 that have mistakes, at most `WORST_CLASSES`; columns as `HARDEST`."""
    wrong = [row for row in class_rows(found) if row.mistaken_for]
    wrong.sort(key=lambda row: (row.right / row.n, -row.n))
    return [_cells(found, row) for row in wrong[:WORST_CLASSES]]


def _images(found: Validation) -> str:
    unread = f", and {found.errors} without an answer" if found.errors else ""
    side = "" if found.split == ALL else f", the {found.split} side"
    classes = int(found.tally.confusion.any(axis=1).sum())
    return f"{found.tally.images}{unread}, of {classes} {'class' if classes == 1 else 'classes'}{side}"


def _percent(value: float | None, interval: list[float] | None, published: float | None) -> str:
    if value is None:
        return "no images"
    between = f" (95%: {interval[0]:.2f} to {interval[1]:.2f})" if interval else ""
    return f"{value:.2f} %{between}" + (f", published {published:.2f}" if published else "")


def _preparation(found: Validation) -> str:
    data = found.spec.data
    not_turned = "not turned by EXIF" + ", as the published numbers" * bool(found.spec.facts)
    turned = "turned by EXIF" if found.exif else not_turned
    return f"{data.input_size[1]} px, crop {data.crop_pct}, {data.interpolation}, {turned}"


def _published(found: Validation) -> str:
    if found.is_as_published():
        return "the same preparation, on ImageNet-1k's validation set"
    facts = found.spec.facts
    return (
        f"{facts['input_size']} px, crop {facts['crop_pct']}, {facts['interpolation']}, not turned by EXIF: "
        "another preparation than here; on ImageNet-1k's validation set"
    )


def _cells(found: Validation, row: ClassRow) -> list[str]:
    names = found.labels.names
    other, times = row.mistaken_for or (row.index, 0)
    return [f"{names[row.index]} ({row.index})", str(row.n), f"{row.top1:.2f}", f"{names[other]} ({other})", str(times)]
