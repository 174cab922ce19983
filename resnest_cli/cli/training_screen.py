"""What a person sees of a run: the data set before, each epoch and a bar meanwhile, the figures at the end.

What goes by is on stderr; the figures, and the command to type next, are on stdout.
"""

from __future__ import annotations

import shlex
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from rich.progress import (
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from resnest_cli.cli.output import Shown, console, facts, progress, table
from resnest_cli.inputs import splits
from resnest_cli.text.terminal import put
from resnest_cli.training import recipe
from resnest_cli.training.loop import Epoch, Step
from resnest_cli.training.run import HEAD, Cached, Done, Scanned, Settled

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from resnest_cli.cli.view import View
    from resnest_cli.inputs.labelled.training_set import TrainingSet
    from resnest_cli.training.run import Event

ROWS = 20  # classes that a table shows
STAGES = {HEAD: "head"}  # what a stage is called where there are two


class Screen:
    """Shows the events of one run.

    Args:
        view: how much a person wants to see.
        out: the folder, for the command to type next.
    """

    def __init__(self, view: View, out: Path) -> None:
        self.view, self.out = view, out
        self.stderr = console(sys.stderr)
        self.epochs = 0
        self.task = TaskID(0)
        self.top1 = ""

    def show(self, events: Iterable[Event]) -> None:
        """Show each event as it comes."""
        with self._progress() if self.view.has_bar() else nullcontext() as bar:
            for event in events:
                self._show(event, bar)

    def _show(self, event: Event, bar: Progress | None) -> None:
        if isinstance(event, Step | Cached):
            self._advance(event, bar)
        elif isinstance(event, Done):
            if bar:
                bar.stop()  # it would stay on the line where the figures begin
            self._report(event.metrics)
        elif not self.view.quiet:
            self._say(event)

    def _say(self, event: Scanned | Settled | Epoch) -> None:
        if isinstance(event, Scanned):
            self.stderr.print(_classes(event.data))
            for words in event.data.notes:
                self.stderr.print(Shown(words))
        elif isinstance(event, Settled) and event.place.first:
            self.epochs = event.recipe.epochs
            self.stderr.print(facts(list(_settled(event))))
        elif isinstance(event, Epoch):
            self.top1 = f"{event.val_top1:.2%}"
            self.stderr.print(
                f"{STAGES.get(event.stage, 'layers')} epoch {event.epoch}/{self.epochs}  loss {event.train_loss:.4f}  "
                f"validation loss {event.val_loss:.4f}, top-1 {self.top1}  {event.seconds:.1f} s"
            )

    def _advance(self, event: Step | Cached, bar: Progress | None) -> None:
        if bar is None:
            return
        if isinstance(event, Cached):
            bar.update(self.task, description="features", completed=event.done, total=event.total, loss="")
        else:
            loss = f"loss {event.loss:.3f}  {self.top1}"
            bar.update(
                self.task,
                description=STAGES.get(event.stage, "layers"),
                completed=event.step,
                total=event.steps,
                loss=loss,
            )

    def _progress(self) -> Progress:
        loss = TextColumn("{task.fields[loss]}", markup=False)
        bar = progress(self.stderr, MofNCompleteColumn(), loss, TimeRemainingColumn())
        self.task = bar.add_task("reading", total=None, loss="")
        return bar

    def _report(self, metrics: dict[str, Any]) -> None:
        out = console(sys.stdout)
        out.print(facts(list(_figures(metrics))))
        weakest = sorted((row for row in metrics["per_class"] if row["images"]), key=lambda row: row["recall"])
        cells = [[row["class"], str(row["images"]), f"{row['recall']:.2%}"] for row in weakest[:ROWS]]
        out.print(table(["class", "images", "recall"], cells, numeric=(1, 2)))
        if len(weakest) > ROWS:
            out.print(f"... and {len(weakest) - ROWS:,} better ones, all in metrics.json")
        put(f"next: {shlex.join(['resnest', 'predict', 'IMAGE', '-m', str(self.out)])}")


def _classes(data: TrainingSet) -> Any:  # noqa: ANN401 - rich's
    """Count the images of every class, of the smallest ones should there be many."""
    train, val, left_out = (data.counts(split) for split in (splits.TRAIN, splits.VAL, splits.LEFT_OUT))
    shown = sorted(data.classes, key=lambda name: train[name])[:ROWS] if len(data.classes) > ROWS else data.classes
    cells = [[name, str(train[name]), str(val[name]), str(left_out[name])] for name in shown]
    if len(data.classes) > ROWS:
        cells.append([f"... and {len(data.classes) - ROWS:,} larger classes", "", "", ""])
    totals = [str(sum(counts.values())) for counts in (train, val, left_out)]
    return table(
        ["class", "train", "val", "left out"], [*cells, [f"{len(data.classes):,} classes", *totals]], numeric=(1, 2, 3)
    )


def _settled(event: Settled) -> Iterable[tuple[str, str]]:
    """List the recipe with nothing left open."""
    processes = f", {event.place.processes} processes" if event.place.processes > 1 else ""
    yield "stage", STAGES.get(event.stage, "layers")
    yield "runs on", f"{event.place.device}{processes}"
    yield (
        "recipe",
        ", ".join(
            f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in recipe.items(event.recipe).items()
        ),
    )
    yield "steps", f"{event.steps:,}" + (f", goes on from step {event.step:,}" if event.step else "")


def _figures(metrics: dict[str, Any]) -> Iterable[tuple[str, str]]:
    yield (
        "accuracy",
        f"{metrics['top1']:.2%} of {metrics['val_images']:,} validation images (weights {metrics['weights']})",
    )
    yield "baseline", f"{metrics['majority_top1']:.2%} by always saying {metrics['majority_class']!r}"
    worst = [f"{row['class']} for {row['taken_for']} ({row['images']})" for row in metrics["worst_confusions"]]
    yield "confused", ", ".join(worst) or "none"
