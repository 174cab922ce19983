"""Pictures of results: a confusion matrix, the curves of a training run, a calibration, and speed against accuracy.

In: counts and names, or rows. Out: the bytes of a PNG. Needs matplotlib, an extra. Shows nothing on a screen.
"""

from __future__ import annotations

import io
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from resnest_cli.outputs.lettering import drawable, drawing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.ticker import Locator
    from numpy.typing import NDArray

MOST_CLASSES = 30  # in a confusion matrix whose names can be read
DPI = 150
_SETS_WIDTH = 0.2  # of a bar: four coverages stand side by side
_DARK = 0.55  # of the full color: on darker fields numbers are white


def require() -> None:
    """Check that pictures can be drawn.

    Raises:
        UsageError: matplotlib is not installed.
    """
    with drawing(()):
        pass


def confusion_png(
    true: NDArray[np.int64],
    predicted: NDArray[np.int64],
    images: NDArray[np.int64],
    names: dict[int, str],
    title: str,
) -> bytes:
    """Return the picture of a confusion matrix: rows are true classes, colors shares of a row, numbers images.

    Args:
        true: class indices [M]; there may be thousands of classes, so the counts are sparse.
        predicted: class indices [M].
        images: how many images have each pair [M].
        names: of the classes by index, in order. Of more than `MOST_CLASSES`, those with most mistakes are drawn.
        title: above the picture; see `lettering.drawable` for names in it.
    """
    counts, drawn, choice = folded(true, predicted, images, names)
    title += choice
    with drawing([*drawn, title]):
        size = 2.5 + 0.34 * len(drawn)
        figure = _figure(size + 1.2, size)
        _draw_confusion(figure, counts, drawn, title)
        return _png(figure)


def folded(
    true: NDArray[np.int64], predicted: NDArray[np.int64], images: NDArray[np.int64], names: dict[int, str]
) -> tuple[NDArray[np.int64], list[str], str]:
    """Return what is drawn: counts int64 [K, K], names of the K classes, and for the title which classes these are."""
    classes = np.array([*names])
    if len(classes) <= MOST_CLASSES + 1:  # a single other class would be no sum
        chosen, drawn, choice = classes, [drawable(name) for name in names.values()], ""
    else:
        chosen = _most_mistaken(true, predicted, images, classes)
        drawn = [*(f"{drawable(names[index])} ({index})" for index in chosen.tolist()), "all others"]
        choice = f"\nthe {MOST_CLASSES} of {len(classes)} classes with most mistakes"
    place = np.full(classes.max() + 1, len(chosen))
    place[chosen] = np.arange(len(chosen))
    counts = np.zeros((len(drawn), len(drawn)), np.int64)
    np.add.at(counts, (place[true], place[predicted]), images)
    return counts, drawn, choice


def _most_mistaken(
    true: NDArray[np.int64], predicted: NDArray[np.int64], images: NDArray[np.int64], classes: NDArray[np.int64]
) -> NDArray[np.int64]:
    wrong = true != predicted
    mistakes = np.zeros(classes.max() + 1, np.int64)
    for side in (true, predicted):
        np.add.at(mistakes, side[wrong], images[wrong])
    return np.sort(classes[np.argsort(-mistakes[classes], kind="stable")[:MOST_CLASSES]])


def _draw_confusion(figure: Figure, counts: NDArray[np.int64], names: list[str], title: str) -> None:
    axes = figure.subplots()
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    for row, column in zip(*np.nonzero(counts), strict=True):
        color = "white" if shares[row, column] > _DARK else "black"
        axes.text(column, row, f"{counts[row, column]}", ha="center", va="center", color=color, fontsize=7)
    figure.colorbar(image, label="share of the true class", fraction=0.046, pad=0.03)


def curves_png(history: Sequence[dict[str, Any]], kept: int) -> bytes:
    """Return the picture of a training run, by epoch: losses, and the accuracy on the validation images.

    Args:
        history: a row per epoch; the head's, if there is one, is epoch 0 and drawn as points of its own.
        kept: the epoch whose weights are kept, which is marked.
    """
    with drawing(()):
        figure = _figure(9, 3.7)
        _draw_curves(figure, history, kept)
        return _png(figure)


def _draw_curves(figure: Figure, history: Sequence[dict[str, Any]], kept: int) -> None:
    losses, accuracy = figure.subplots(1, 2)
    _draw_curve(losses, history, "train_loss", "training (augmented)", "tab:blue")
    _draw_curve(losses, history, "val_loss", "validation", "tab:orange")
    _draw_curve(accuracy, history, "val_top1", "validation", "tab:green", scale=100)
    marked = f"kept: epoch {kept}" if kept else "kept: the head alone"
    for axes, label in ((losses, "loss"), (accuracy, "top-1, %")):
        axes.axvline(kept, color="gray", linestyle=":", label=marked)
        axes.set(xlabel="epoch; 0 is the head alone" if history[0]["epoch"] == 0 else "epoch", ylabel=label)
        axes.xaxis.set_major_locator(_whole_numbers())
        axes.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)  # over no point


def _draw_curve(  # noqa: PLR0913, PLR0917 - what is drawn, and how
    axes: Axes, history: Sequence[dict[str, Any]], key: str, label: str, color: str, scale: float = 1
) -> None:
    """Draw a line through the epochs of all layers, and the head, which no step leads from, as a point."""
    for rows, style, named in (
        ([row for row in history if row["epoch"] > 0], ".-", label),
        ([row for row in history if row["epoch"] == 0], "D", None),
    ):
        axes.plot([row["epoch"] for row in rows], [scale * row[key] for row in rows], style, color=color, label=named)


def calibration_png(figures: Mapping[str, Any]) -> bytes:
    """Return the picture of a calibration: how often answers are right by how sure they are, and the sizes of sets.

    `figures` are those of `tasks.calibrate.judging.figures`. A dot's area grows with its images.
    """
    with drawing(()):
        figure = _figure(10, 4.4)
        reliability, sizes = figure.subplots(1, 2)
        reliability.plot([0, 100], [0, 100], ":", color="gray", label="as sure as right")
        for name, color in (("before", "tab:orange"), ("after", "tab:blue")):
            sure, right, images = np.array(figures["bins"][name]).T
            reliability.scatter(100 * sure, 100 * right, 10 + 290 * images / images.sum(), color=color, alpha=0.6)
            reliability.plot(100 * sure, 100 * right, color=color, label=name)
        reliability.set(xlabel="probability of the first class, %", ylabel="right, %", title="how sure, how right")
        _draw_sizes(sizes, [row for row in figures["sets"] if row["after"]])
        for axes in (reliability, sizes):
            axes.legend(fontsize=8)
        return _png(figure)


def _draw_sizes(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw, for each coverage, the share of images whose set has 1, 2, ... classes."""
    for number, row in enumerate(rows):
        counts = np.array(row["after"]["sizes"])
        at = np.arange(1, len(counts) + 1) + (number - (len(rows) - 1) / 2) * _SETS_WIDTH
        axes.bar(at, 100 * counts / counts.sum(), _SETS_WIDTH, label=f"{row['coverage']:.0%} asked")
    axes.xaxis.set_major_locator(_whole_numbers())
    axes.set(xlabel="classes in a set", ylabel="images, %", title="sizes of sets")


def speed_png(rows: Sequence[dict[str, Any]]) -> bytes:
    """Return the picture of speed against published accuracy and, where batches differ, against the batch size.

    `rows` are those of `resnest bench`; failed ones are left out. Models without a published accuracy are in the second
    panel only. Speed and batch size are on a log scale.
    """
    good = [row | {"model": drawable(row["model"])} for row in rows if "error" not in row]
    published = [row for row in good if row["published_top1"]]
    has_batches = len({row["batch"] for row in good}) > 1
    panels = [_accuracy] if published else []
    if has_batches or not published:
        panels.append(_batches)
    with drawing(row["model"] for row in good):
        figure = _figure(7.5 * len(panels), 5.5)
        for axes, draw in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            draw(axes, published if draw is _accuracy else good)
            axes.set_ylabel("images per second" if draw is _batches else "published top-1, %")
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
    axes.set(xlabel="images per second", title="speed and accuracy")
    _plain_ticks(axes.xaxis)


def _batches(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    for name, members in _series(rows, lambda row: f"{row['model']}, {row['engine']} {row['precision']}").items():
        points = sorted((row["batch"], row["samples_per_sec"]) for row in members)
        axes.plot(*zip(*points, strict=True), "o-", label=name)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sorted({row["batch"] for row in rows}))
    axes.set(xlabel="images per batch", title="batch size")
    _plain_ticks(axes.xaxis)
    _plain_ticks(axes.yaxis)


def _series(rows: Sequence[dict[str, Any]], name: Callable[[dict[str, Any]], str]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(name(row), []).append(row)
    return found


def _plain_ticks(axis: Axis) -> None:
    """Label ticks with 20, not 2 x 10^1."""
    from matplotlib.ticker import FuncFormatter  # noqa: PLC0415 - as above

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "2345" else ""))


def _whole_numbers() -> Locator:
    """Return what labels an axis with whole numbers only."""
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - an extra, and slow

    return MaxNLocator(integer=True, min_n_ticks=1)


def _figure(width: float, height: float) -> Figure:
    """Return a figure of this size in inches, without a window."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, and slow

    return Figure(figsize=(width, height), layout="constrained")


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=DPI)
    return out.getvalue()
