"""The curves of a training run: whole epochs, and the one whose weights are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from resnest_cli.outputs import plots

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def epochs(first: int, last: int) -> list[dict[str, Any]]:
    return [
        {"epoch": i, "train_loss": 2.0 - i / 100, "val_loss": 1.0 + i / 100, "val_top1": 0.5 + i / 200}
        for i in range(first, last + 1)
    ]


def panels(draw: Callable[[], bytes], monkeypatch: pytest.MonkeyPatch) -> list[Axes]:
    """Return the panels as they are drawn."""
    seen: list[Figure] = []
    save: Any = plots._png  # noqa: SLF001 - what the picture is made of

    def watched(figure: Figure) -> bytes:
        seen.append(figure)
        content: bytes = save(figure)
        return content

    monkeypatch.setattr(plots, "_png", watched)
    assert draw().startswith(b"\x89PNG")
    return seen[0].axes


def curves(history: list[dict[str, Any]], kept: int, monkeypatch: pytest.MonkeyPatch) -> list[Axes]:
    return panels(lambda: plots.curves_png(history, kept), monkeypatch)


@pytest.mark.parametrize("last", [1, 2, 3, 7, 30, 270])
@pytest.mark.parametrize("first", [0, 1])
def test_epochs_are_whole(first: int, last: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for axes in curves(epochs(first, last), last, monkeypatch):
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.xaxis.get_majorticklocs() if low <= tick <= high]
        assert ticks
        assert all(tick == round(tick) for tick in ticks)


def test_the_kept_epoch_is_marked_and_the_head_is_a_point_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    losses, accuracy = curves(epochs(0, 4), 3, monkeypatch)
    drawn = {line.get_label(): np.array(line.get_data()).tolist() for line in losses.get_lines()}
    assert drawn["training (augmented)"] == [[1, 2, 3, 4], [1.99, 1.98, 1.97, 1.96]]
    assert drawn["validation"] == [[1, 2, 3, 4], [1.01, 1.02, 1.03, 1.04]]
    assert drawn["kept: epoch 3"][0] == [3, 3]
    assert [[0.0], [2.0]] in drawn.values()
    assert [[0.0], [1.0]] in drawn.values()
    assert np.array(accuracy.get_lines()[0].get_ydata()).tolist() == [50.5, 51.0, 51.5, 52.0]
    assert accuracy.get_xlabel() == "epoch; 0 is the head alone"


def test_a_head_that_no_epoch_beat_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for axes in curves(epochs(0, 2), 0, monkeypatch):
        assert "kept: the head alone" in [line.get_label() for line in axes.get_lines()]


def test_a_calibration_is_drawn_by_bin_and_by_coverage(monkeypatch: pytest.MonkeyPatch) -> None:
    bins = {"before": [[0.4, 0.75, 4], [0.9, 1.0, 36]], "after": [[0.95, 0.925, 40]]}
    rows = [
        {"coverage": 0.9, "after": {"sizes": [15, 5]}},
        {"coverage": 0.95, "after": {"sizes": [10, 6, 4]}},
        {"coverage": 0.99, "after": None},
    ]
    reliability, sizes = panels(lambda: plots.calibration_png({"bins": bins, "sets": rows}), monkeypatch)
    drawn = {line.get_label(): np.array(line.get_data()).tolist() for line in reliability.get_lines()}
    assert drawn == {
        "as sure as right": [[0, 100], [0, 100]],
        "before": [[40, 90], [75, 100]],
        "after": [[95], [92.5]],
    }
    bars: dict[Any, Any] = dict(zip(sizes.get_legend_handles_labels()[1], sizes.containers, strict=True))
    assert {label: [bar.get_height() for bar in each] for label, each in bars.items()} == {
        "90% asked": [75, 25],
        "95% asked": [50, 30, 20],
    }
    assert all(tick == round(tick) for tick in sizes.xaxis.get_majorticklocs())
