"""Events and metrics of a run in words: texts for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnest_cli.inputs import splits
from resnest_cli.text.layout import KEPT
from resnest_cli.training import recipe
from resnest_cli.training.verdict import OVER, UNDER

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from resnest_cli.inputs.labelled.training_set import TrainingSet
    from resnest_cli.training.events import Epoch, Judged, Settled, Solved

ROWS = 20  # classes in a table


def counts(data: TrainingSet) -> list[list[str]]:
    """Return rows of class, train, val and left out: of all classes or the smallest ones, and totals."""
    return _table(data.classes, [data.counts(split) for split in (splits.TRAIN, splits.VAL, splits.LEFT_OUT)])


def images(data: TrainingSet) -> list[list[str]]:
    """Return rows of class, images and left out, as `counts`; of folds, in which an image is on both sides in turn."""
    there = data.counts(splits.TRAIN) + data.counts(splits.VAL)
    return _table(data.classes, [there, data.counts(splits.LEFT_OUT)])


def _table(classes: Sequence[str], columns: Sequence[Counter[str]]) -> list[list[str]]:
    many = len(classes) > ROWS
    named = sorted(classes, key=lambda name: columns[0][name])[:ROWS] if many else classes
    rows = [[name, *(str(column[name]) for column in columns)] for name in named]
    if many:
        rows.append([f"... and {len(classes) - ROWS:,} larger classes", *("" for _ in columns)])
    return [*rows, [f"{len(classes):,} classes", *(str(sum(column.values())) for column in columns)]]


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


def judged(event: Judged) -> str:
    """Return a line about a finished fold."""
    return f"fold {event.number}/{event.count}  top-1 {event.top1:.2%} of {event.images:,} images"


def figures(metrics: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield accuracy, baseline, the worst confusions, and where to look at mistakes."""
    images = f"{metrics['val_images']:,} validation images (weights {metrics['weights']})"
    yield "accuracy", f"{metrics['top1']:.2%} of {images}"
    yield from _beside(metrics)


def figures_of_folds(metrics: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield accuracy over all images and its spread, baseline, the worst confusions, and where to look at mistakes."""
    low, high = metrics["top1_ci95"]
    images = f"{metrics['images']:,} images, each judged by the model that has not seen it"
    yield "accuracy", f"{metrics['top1']:.2%} of {images} (95% interval {low:.2%} to {high:.2%})"
    folds, mean, deviation = metrics["fold_top1"], metrics["fold_top1_mean"], metrics["fold_top1_std"]
    yield "folds", f"{min(folds):.2%} to {max(folds):.2%}, mean {mean:.2%}, standard deviation {deviation:.2%}"
    if metrics["best_epochs"]:
        flatters = "chosen on the images that it is judged on, which flatters it; --patience 0 keeps the last epoch"
        yield "but", f"the best epoch of each model was {flatters}"
    yield from _beside(metrics)


def _beside(metrics: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "baseline", f"{metrics['majority_top1']:.2%} by always saying {metrics['majority_class']!r}"
    worst = [f"{row['class']} for {row['taken_for']} ({row['images']})" for row in metrics["worst_confusions"]]
    yield "confused", ", ".join(worst) or "none"
    if worst:
        yield "look at", "mistakes.html, the images whose labels the model contradicts most: some may be wrong labels"


def models_of_folds(metrics: dict[str, Any], out: Path) -> Iterator[tuple[str, str]]:
    """Yield where the models are, and how to train one on nearly all images."""
    first, last = (out / f"fold-{number}" for number in (1, metrics["folds"]))
    yield "models", f"{first} to {last}, each trained on the images of the other folds"
    yield (
        "next",
        "one model: the same command without --folds and with another -o; --val 0.01 trains on nearly all images",
    )


def verdict(metrics: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what a person should know of the result, each with what to try; nothing where all is well."""
    found = metrics["verdict"]
    if not found["learned"]:
        yield from _learned_nothing(metrics)
        return
    if not found["beats_majority"]:
        yield "verdict", f"it tells classes apart, but {_no_better(metrics)}"
        if not metrics["recipe"]["balance"]:
            yield "try", "--balance, which draws rare classes as often, and more images of these"
    if found["beats_head"] is False:
        what = "is kept" if not found["kept_epoch"] else "would have been better than the last epoch"
        yield "verdict", f"training all layers did not beat the head alone, which {what}"
        if metrics["worst_confusions"]:
            yield "try", "a lower --lr, more images, or --head-only, which takes no epochs"
    yield from _fit(metrics)


def _learned_nothing(metrics: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "verdict", f"it has learned nothing that can be shown: {_no_better(metrics)}"
    all_layers, few = metrics["epochs"] > 0, metrics["top1"] > metrics["majority_top1"]
    advice = ["more validation images (--val, or a val folder)"] if few else []
    if all_layers and metrics["verdict"]["fit"] == UNDER:
        advice.append("a higher --lr or more --epochs, since the training loss hardly fell")
    if metrics["worst_confusions"]:
        advice += ["more images per class", "a look at the labels (mistakes.html)"]
        advice += [] if all_layers else ["all layers (--full)", "another model to start from (-m)"]
    yield "try", ", ".join(advice)


def _no_better(metrics: dict[str, Any]) -> str:
    """Return how top-1 compares with the baseline, which it does not beat."""
    mine, theirs = metrics["top1"], metrics["majority_top1"]
    images = f"{metrics['val_images']:,} validation images"
    always = f"always saying {metrics['majority_class']!r}"
    if mine > theirs:
        return f"{mine:.2%} of {images} is more than the {theirs:.2%} of {always}, but chance can do that"
    often = "as often" if mine == theirs else f"more often ({theirs:.2%})"
    return f"it is right about {mine:.2%} of {images}, and {always} is right {often}"


def _fit(metrics: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield which side of a good fit the run is on, if that shows."""
    fit, since, all_layers = metrics["verdict"]["fit"], metrics["verdict"]["since"], metrics["epochs"] > 0
    if fit == OVER and all_layers:
        yield "verdict", f"overfitting: after epoch {since} the validation loss rises while the training loss falls"
        yield "try", f"more images, a stronger --augment, or --epochs {since}"
    elif fit == OVER:
        yield "verdict", "overfitting: the head fits the training images far better than the validation images"
        yield "try", "more images per class, and a look at the labels (mistakes.html)"
    elif fit == UNDER and all_layers:
        yield "verdict", "underfitting: both losses still fell in the last epochs"
        yield "try", f"more epochs (--resume --epochs {2 * metrics['epochs']}) or a higher --lr"
    elif fit == UNDER:
        yield "verdict", "underfitting: the features of this model separate even the training images badly"
        yield "try", "all layers (--full), or another model to start from (-m)"


def weakest(metrics: dict[str, Any]) -> tuple[list[list[str]], int]:
    """Return rows of class, images and recall, the lowest recall first, and how many classes are left out."""
    rows = sorted((row for row in metrics["per_class"] if row["images"]), key=lambda row: row["recall"])
    cells = [[row["class"], str(row["images"]), f"{row['recall']:.2%}"] for row in rows[:ROWS]]
    return cells, len(rows) - len(cells)
