"""The results of a training run, in numbers, tables and pictures.

In: classes, the true and the predicted class of every validation image, and the history. Out: `metrics.json`,
`history.csv`, and with matplotlib `confusion.png` and, where epochs were trained, `curves.png`. Knows no framework.
"""

from __future__ import annotations

import json
from collections import Counter
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from resnest_cli.outputs import plots
from resnest_cli.outputs.lettering import drawable
from resnest_cli.system import atomic
from resnest_cli.text import cells

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

METRICS = "metrics.json"
WORST = 10  # confusions that are reported
NO_PICTURES = "curves.png and confusion.png need matplotlib and are left out: pip install 'resnest-cli[train]'"


def figures(
    classes: Sequence[str], train_targets: NDArray[np.int64], true: NDArray[np.int64], taken: NDArray[np.int64]
) -> dict[str, Any]:
    """Return accuracy with the majority baseline, recall per class (None without images) and the worst confusions.

    The baseline always answers the most frequent class in training. Accuracy and baseline are shares of the validation
    images, 0..1.

    Args:
        classes: names by index.
        train_targets: class indices of the training images [N].
        true: class indices of the validation images [M].
        taken: the predicted class indices [M].
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
    """Write `history.csv`, one row per epoch."""
    text = cells.table([history[0], *(row.values() for row in history)])
    atomic.write(folder / "history.csv", text.encode())


def write_metrics(folder: Path, metrics: dict[str, Any]) -> None:
    """Write `metrics.json`, which marks a complete folder."""
    atomic.write(folder / METRICS, (json.dumps(metrics, indent=2) + "\n").encode())


def can_draw() -> bool:
    """Return whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def draw_confusion(folder: Path, classes: Sequence[str], true: NDArray[np.int64], taken: NDArray[np.int64]) -> None:
    """Write `confusion.png`, the picture that `validate` draws of this folder.

    Raises:
        OutputError: the picture cannot be drawn or written.
    """
    title = f"{drawable(str(folder))}, {len(true)} images"
    confusion = plots.confusion_png(true, taken, np.ones_like(true), dict(enumerate(classes)), title)
    atomic.write(folder / "confusion.png", confusion)


def draw_curves(folder: Path, history: list[dict[str, Any]], kept: int) -> None:
    """Write `curves.png`, with the epoch `kept` marked; nothing of a head alone, which took no epochs.

    Raises:
        OutputError: the picture cannot be drawn or written.
    """
    if history[-1]["epoch"] > 0:
        atomic.write(folder / "curves.png", plots.curves_png(history, kept))


def _confusions(true: NDArray[np.int64], taken: NDArray[np.int64]) -> list[tuple[tuple[int, int], int]]:
    """Return (class, wrong class) pairs and their images, most frequent first; there may be thousands of classes."""
    wrong = true != taken
    pairs = Counter(zip(true[wrong].tolist(), taken[wrong].tolist(), strict=True))
    return sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
