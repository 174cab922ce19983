"""Events and metrics of a run in words: texts for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnest_cli.inputs import splits
from resnest_cli.text.layout import KEPT
from resnest_cli.training import recipe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resnest_cli.inputs.labelled.training_set import TrainingSet
    from resnest_cli.training.events import Epoch, Settled, Solved

ROWS = 20  # classes in a table


def counts(data: TrainingSet) -> list[list[str]]:
    """Return rows of class, train, val and left out: of all classes or the smallest ones, and totals."""
    sides = [data.counts(split) for split in (splits.TRAIN, splits.VAL, splits.LEFT_OUT)]
    many = len(data.classes) > ROWS
    named = sorted(data.classes, key=lambda name: sides[0][name])[:ROWS] if many else data.classes
    rows = [[name, *(str(side[name]) for side in sides)] for name in named]
    if many:
        rows.append([f"... and {len(data.classes) - ROWS:,} larger classes", "", "", ""])
    return [*rows, [f"{len(data.classes):,} classes", *(str(sum(side.values())) for side in sides)]]


def settled(event: Settled) -> Iterator[tuple[str, str]]:
    """Yield device, the settled recipe and the number of steps."""
    processes = f", {event.rank.processes} processes" if event.rank.processes > 1 else ""
    items = recipe.items(event.recipe).items()
    yield "runs on", f"{event.rank.device}{processes}"
    yield (
        "recipe",
        ", ".join(
            f"{key}{KEPT}{value:g}" if isinstance(value, float) else f"{key}{KEPT}{value}" for key, value in items
        ),
    )
    yield "steps", f"{event.steps:,}" + (f", goes on from step {event.step:,}" if event.step else "")


def solved(event: Solved) -> str:
    """Return a line about the solved head."""
    return (
        f"head solved in {event.seconds:.1f} s (C {event.strength:g})  loss {event.train_loss:.4f}  "
        f"validation loss {event.val_loss:.4f}, top-1 {event.val_top1:.2%}"
    )


def epoch(event: Epoch, epochs: int) -> str:
    """Return a line about a finished epoch."""
    return (
        f"epoch {event.epoch}/{epochs}  loss {event.train_loss:.4f}  "
        f"validation loss {event.val_loss:.4f}, top-1 {event.val_top1:.2%}  {event.seconds:.1f} s"
    )


def figures(metrics: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield accuracy, baseline and the worst confusions."""
    images = f"{metrics['val_images']:,} validation images (weights {metrics['weights']})"
    yield "accuracy", f"{metrics['top1']:.2%} of {images}"
    yield "baseline", f"{metrics['majority_top1']:.2%} by always saying {metrics['majority_class']!r}"
    worst = [f"{row['class']} for {row['taken_for']} ({row['images']})" for row in metrics["worst_confusions"]]
    yield "confused", ", ".join(worst) or "none"


def weakest(metrics: dict[str, Any]) -> tuple[list[list[str]], int]:
    """Return rows of class, images and recall, the lowest recall first, and how many classes are left out."""
    rows = sorted((row for row in metrics["per_class"] if row["images"]), key=lambda row: row["recall"])
    cells = [[row["class"], str(row["images"]), f"{row['recall']:.2%}"] for row in rows[:ROWS]]
    return cells, len(rows) - len(cells)
