"""Pictures of results, drawn by matplotlib, an extra: the confusion matrix, and speed against accuracy.

In: a `Validation`, or rows of a benchmark. Out: the bytes of a PNG. Nothing is shown on a screen.
"""

from __future__ import annotations

import io
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from resnest_cli.outputs.lettering import lettered, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from resnest_cli.tasks.validate.validation import Validation

MOST_CLASSES = 30  # that a confusion matrix shows with names that can be read
DPI = 150
_INK = 0.55  # of the full colour: from here on, numbers are written in white


def require() -> None:
    """Find out early whether pictures can be drawn.

    Raises:
        UsageError: matplotlib is not installed.
    """
    with lettered(()):
        pass


def confusion_png(found: Validation) -> bytes:
    """Draw the confusion matrix: rows are true classes, colours shares of a row, numbers counts of images.

    Of more than `MOST_CLASSES` classes it shows those with the most mistakes, and all others as one.
    """
    counts, names, title = shown(found)
    with lettered([*names, title]):
        return _confusion(counts, names, title)


def _confusion(counts: NDArray[np.int64], names: list[str], title: str) -> bytes:
    size = 2.5 + 0.34 * len(names)
    figure = _figure(size + 1.2, size)
    axes = figure.subplots()
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "white" if shares[row, column] > _INK else "black"
        axes.text(column, row, f"{counts[row, column]}", ha="center", va="center", color=colour, fontsize=7)
    figure.colorbar(image, label="share of the true class", fraction=0.046, pad=0.03)
    return _png(figure)


def speed_png(rows: Sequence[dict[str, Any]]) -> bytes:
    """Draw speed against published accuracy and, where batches differ, against the batch; both on a log scale.

    `rows` are those of `resnest bench`. What failed is left out; models without a published accuracy are in the second
    picture only.
    """
    good = [row | {"model": plain(row["model"])} for row in rows if "error" not in row]
    published = [row for row in good if row["published_top1"]]
    has_batches = len({row["batch"] for row in good}) > 1
    panels = [_accuracy] if published else []
    if has_batches or not published:
        panels.append(_batches)
    with lettered(row["model"] for row in good):
        figure = _figure(7.5 * len(panels), 5.5)
        for axes, draw in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            draw(axes, published if draw is _accuracy else good)
            axes.set_ylabel("images a second" if draw is _batches else "published top-1, %")
            axes.grid(alpha=0.3, which="both", linewidth=0.5)
            axes.legend(fontsize=8)
        return _png(figure)


def _accuracy(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    series = _series(rows, lambda row: f"{row['engine']} {row['precision']}, batch {row['batch']}")
    for name, members in series.items():
        points = sorted((row["samples_per_sec"], row["published_top1"]) for row in members)
        axes.plot(*zip(*points, strict=True), "o", label=name)
    for model, members in _series(rows, itemgetter("model")).items():
        right = max(row["samples_per_sec"] for row in members)
        at = (right, members[0]["published_top1"])
        axes.annotate(model, at, xytext=(6, -3), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.margins(x=0.3, y=0.08)
    axes.set(xlabel="images a second", title="speed and accuracy")
    _plain_ticks(axes.xaxis)


def _batches(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    for name, members in _series(rows, lambda row: f"{row['model']}, {row['engine']} {row['precision']}").items():
        points = sorted((row["batch"], row["samples_per_sec"]) for row in members)
        axes.plot(*zip(*points, strict=True), "o-", label=name)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sorted({row["batch"] for row in rows}))
    axes.set(xlabel="images a batch", title="batch size")
    _plain_ticks(axes.xaxis)
    _plain_ticks(axes.yaxis)


def _series(rows: Sequence[dict[str, Any]], name: Callable[[dict[str, Any]], str]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(name(row), []).append(row)
    return found


def _plain_ticks(axis: Axis) -> None:
    """Write 20, not 2 x 10^1."""
    from matplotlib.ticker import FuncFormatter  # noqa: PLC0415 - as above

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "2345" else ""))


def shown(found: Validation) -> tuple[NDArray[np.int64], list[str], str]:
    """Choose what is drawn: counts [K, K], their names, the title."""
    among = found.among
    counts = found.tally.confusion[np.ix_(among, among)]
    title = f"{plain(found.spec.name)}, {found.tally.images} images"
    if len(among) <= MOST_CLASSES + 1:  # a single one would be no others
        return counts, [plain(found.labels.names[i]) for i in among], title
    wrong = counts.sum(axis=1) + counts.sum(axis=0) - 2 * counts.diagonal()
    chosen = np.sort(np.argsort(-wrong, kind="stable")[:MOST_CLASSES])
    others = np.setdiff1d(np.arange(len(among)), chosen)
    folded = np.zeros((MOST_CLASSES + 1, MOST_CLASSES + 1), np.int64)
    folded[:-1, :-1] = counts[np.ix_(chosen, chosen)]
    folded[:-1, -1] = counts[np.ix_(chosen, others)].sum(axis=1)
    folded[-1, :-1] = counts[np.ix_(others, chosen)].sum(axis=0)
    folded[-1, -1] = counts[np.ix_(others, others)].sum()
    names = [f"{plain(found.labels.names[i])} ({i})" for i in among[chosen]]
    title += f"\nthe {MOST_CLASSES} of {len(among)} classes with most mistakes"
    return folded, [*names, "all others"], title


def _figure(width: float, height: float) -> Figure:
    """Make a figure of so many inches that belongs to no window."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, and slow

    return Figure(figsize=(width, height), layout="constrained")


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=DPI)
    return out.getvalue()
