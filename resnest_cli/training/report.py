"""What came of a run, in figures, tables and pictures.

In: classes, the true and the predicted class of every validation image, and the history. Out: `metrics.json`,
`history.csv`, and `curves.png` and `confusion.png` where matplotlib is installed. Knows no framework.
"""

from __future__ import annotations

import json
from collections import Counter
from importlib.util import find_spec
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from resnest_cli.outputs.lettering import lettered, plain
from resnest_cli.system import cache
from resnest_cli.text import cells

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

WORST = 10  # confusions that are reported
DRAWN = 30  # classes in the picture: those most often confused, should there be more
NO_PICTURES = "curves.png and confusion.png need matplotlib and are left out: pip install 'resnest-cli[train]'"


def figures(
    classes: Sequence[str], train_targets: NDArray[np.int64], true: NDArray[np.int64], taken: NDArray[np.int64]
) -> dict[str, Any]:
    """Return accuracy beside the majority baseline, per-class recall (None without images) and the worst confusions.

    The baseline always takes the class that is most frequent in training; both are shares of the validation images.
    """
    majority = int(np.bincount(train_targets, minlength=len(classes)).argmax())
    images = np.bincount(true, minlength=len(classes))
    right = np.bincount(true[true == taken], minlength=len(classes))
    recall = [int(r) / int(n) if n else None for r, n in zip(right, images, strict=True)]
    return {
        "top1": float((true == taken).mean()),
        "majority_class": classes[majority],
        "majority_top1": float((true == majority).mean()),
        "train_images": len(train_targets),
        "val_images": len(true),
        "per_class": [
            {"class": name, "images": int(n), "recall": share}
            for name, n, share in zip(classes, images, recall, strict=True)
        ],
        "worst_confusions": [
            {"class": classes[a], "taken_for": classes[b], "images": count}
            for (a, b), count in _confusions(true, taken)[:WORST]
        ],
    }


def write_history(folder: Path, history: list[dict[str, Any]]) -> None:
    """Write one row an epoch."""
    text = cells.table([history[0], *(row.values() for row in history)])
    cache.write_atomically(folder / "history.csv", text.encode())


def write_metrics(folder: Path, metrics: dict[str, Any]) -> None:
    """Write `metrics.json`; a folder is complete when it has one."""
    cache.write_atomically(folder / "metrics.json", (json.dumps(metrics, indent=2) + "\n").encode())


def can_draw() -> bool:
    """Tell whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def draw(
    folder: Path,
    history: list[dict[str, Any]],
    classes: Sequence[str],
    true: NDArray[np.int64],
    taken: NDArray[np.int64],
) -> None:
    """Draw `curves.png` and `confusion.png`."""
    with lettered(plain(name) for name in classes):
        _save(_curves(history), folder / "curves.png")
        _save(_confusion([plain(name) for name in classes], true, taken), folder / "confusion.png")


def _confusions(true: NDArray[np.int64], taken: NDArray[np.int64]) -> list[tuple[tuple[int, int], int]]:
    """Count (class, wrong class) pairs, the most frequent first; sparse, for there may be thousands of classes."""
    wrong = true != taken
    pairs = Counter(zip(true[wrong].tolist(), taken[wrong].tolist(), strict=True))
    return sorted(pairs.items(), key=lambda item: (-item[1], item[0]))


def _curves(history: list[dict[str, Any]]) -> Figure:
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    losses, accuracy = figure.subplots(1, 2)
    epochs = range(1, len(history) + 1)
    losses.plot(epochs, [row["train_loss"] for row in history], label="training (smoothed, mixed)")
    losses.plot(epochs, [row["val_loss"] for row in history], label="validation")
    losses.set(xlabel="epoch", ylabel="loss")
    losses.legend(frameon=False)
    accuracy.plot(epochs, [100 * row["val_top1"] for row in history], color="tab:green")
    accuracy.set(xlabel="epoch", ylabel="validation top-1, %")
    for i in range(1, len(history)):
        if history[i]["stage"] != history[i - 1]["stage"]:  # all layers from here on
            losses.axvline(i + 0.5, color="grey", linestyle=":")
            accuracy.axvline(i + 0.5, color="grey", linestyle=":")
    return figure


def _confusion(classes: Sequence[str], true: NDArray[np.int64], taken: NDArray[np.int64]) -> Figure:
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    shown = _shown(len(classes), true, taken)
    place = {label: i for i, label in enumerate(shown)}
    counts = np.zeros((len(shown), len(shown)), np.int64)
    for a, b in zip(true.tolist(), taken.tolist(), strict=True):
        if a in place and b in place:
            counts[place[a], place[b]] += 1
    edge = 2 + 0.35 * len(shown)
    figure = Figure(figsize=(edge + 1, edge), layout="constrained")
    axes = figure.subplots()
    axes.imshow(counts / np.maximum(1, counts.sum(axis=1, keepdims=True)), cmap="Blues", vmin=0, vmax=1)
    names = [_short(classes[label]) for label in shown]
    axes.set_xticks(range(len(shown)), names, rotation=90, fontsize=8)
    axes.set_yticks(range(len(shown)), names, fontsize=8)
    axes.set(
        xlabel="taken for", ylabel="class" + (f" ({len(shown)} of {len(classes)})" if len(shown) < len(classes) else "")
    )
    for a, b in zip(*np.nonzero(counts), strict=True):
        shade = "white" if counts[a, b] > counts[a].sum() / 2 else "black"
        axes.text(b, a, str(counts[a, b]), ha="center", va="center", fontsize=7, color=shade)
    return figure


def _shown(count: int, true: NDArray[np.int64], taken: NDArray[np.int64]) -> list[int]:
    """Choose the classes to draw: all, or those that are most often part of a confusion."""
    if count <= DRAWN:
        return list(range(count))
    wrong = true != taken
    parts = np.bincount(true[wrong], minlength=count) + np.bincount(taken[wrong], minlength=count)
    return sorted(np.argsort(-parts, kind="stable")[:DRAWN].tolist())


def _short(name: str) -> str:
    """Keep a name short."""
    return name if len(name) <= 18 else f"{name[:17]}…"  # noqa: PLR2004 - about the picture's margin


def _save(figure: Figure, path: Path) -> None:
    content = BytesIO()
    figure.savefig(content, format="png", dpi=120)
    cache.write_atomically(path, content.getvalue())
