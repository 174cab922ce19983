"""What a person sees of a run: data set, recipe, epochs and a bar on stderr; figures and the next command on stdout."""

from __future__ import annotations

import shlex
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from rich.progress import MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from resnest_cli.cli.output import console, progress
from resnest_cli.inputs.labelled.check import Scanning
from resnest_cli.text.layout import put_facts, put_table
from resnest_cli.text.terminal import note, one_line, put
from resnest_cli.training import words
from resnest_cli.training.events import Cached, Done, Epoch, Judged, Parted, Scanned, Settled, Solved, Step

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from resnest_cli.cli.view import View
    from resnest_cli.training.events import Event


class Screen:
    """The screen of one run.

    Args:
        view: how much is written to stderr.
        out: the folder, for the next command.
    """

    def __init__(self, view: View, out: Path) -> None:
        self.view, self.out = view, out
        self.epochs = 0
        self.task = TaskID(0)
        self.top1 = ""
        self.fold = ""

    def show(self, events: Iterable[Event]) -> None:
        """Show each event as it comes."""
        with self._progress() if self.view.has_bar() else nullcontext() as bar:
            for event in events:
                self._show(event, bar)

    def _show(self, event: Event, bar: Progress | None) -> None:
        if isinstance(event, Scanning | Step | Cached):
            if bar:
                self._advance(event, bar)
            elif isinstance(event, Scanning) and not event.done:
                self.view.say(f"checking {event.total:,} files ...")
        elif isinstance(event, Done):
            if bar:
                bar.stop()  # the figures begin on its line
            self._report(event.metrics)
        elif not self.view.quiet:
            self._say(event)

    def _say(self, event: Scanned | Parted | Solved | Settled | Epoch | Judged) -> None:
        if isinstance(event, Scanned):
            headings = ["class", "train", "val", "left out"]
            put_table(headings, words.counts(event.data), numeric=(1, 2, 3), stream=sys.stderr)
            _note_each(event.data.notes)
        elif isinstance(event, Solved):
            note(words.solved(event))
        elif isinstance(event, Settled) and event.rank.first:
            self.epochs = event.recipe.epochs
            put_facts(words.settled(event), sys.stderr)
        elif isinstance(event, Epoch):
            self.top1 = f"{event.val_top1:.2%}"
            note(words.epoch(event, self.epochs))

    def _advance(self, event: Scanning | Step | Cached, bar: Progress) -> None:
        if not isinstance(event, Step):
            what = "checking" if isinstance(event, Scanning) else "features"
            bar.update(self.task, description=f"{self.fold}{what}", completed=event.done, total=event.total, loss="")
            return
        loss = f"loss {event.loss:.3f}  {self.top1}"
        bar.update(self.task, description=f"{self.fold}layers", completed=event.step, total=event.steps, loss=loss)

    def _progress(self) -> Progress:
        loss = TextColumn("{task.fields[loss]}", markup=False)
        bar = progress(console(sys.stderr), MofNCompleteColumn(), loss, TimeRemainingColumn())
        self.task = bar.add_task("reading", total=None, loss="")
        return bar

    def _report(self, metrics: dict[str, Any]) -> None:
        put_facts(words.figures(metrics))
        _put_weakest(metrics)
        put_facts(words.verdict(metrics))
        if metrics["verdict"]["learned"]:
            put(f"next: {shlex.join(['resnest', 'predict', 'IMAGE', '-m', str(self.out)])}")


class FoldsScreen(Screen):
    """The screen of several folds: a line for each, and what all images say together."""

    def _show(self, event: Event, bar: Progress | None) -> None:
        super()._show(event, bar)
        if bar and isinstance(event, Parted | Judged):
            done, count = (event.number, event.count) if isinstance(event, Judged) else (0, len(event.folds))
            self.fold = f"fold {done + 1}/{count} "
            bar.update(self.task, description="folds", completed=done, total=count)

    def _say(self, event: Scanned | Parted | Solved | Settled | Epoch | Judged) -> None:
        if isinstance(event, Parted):
            first = event.folds[0]
            put_table(["class", "images", "left out"], words.images(first), numeric=(1, 2), stream=sys.stderr)
            _note_each(first.notes)
        elif isinstance(event, Judged):
            note(words.judged(event))
        elif not isinstance(event, Solved):  # a head alone is judged at once
            super()._say(event)

    def _report(self, metrics: dict[str, Any]) -> None:
        put_facts(words.figures_of_folds(metrics))
        _put_weakest(metrics)
        put_facts(words.models_of_folds(metrics, self.out))


def _note_each(notes: Iterable[str]) -> None:
    for text in notes:
        note(one_line(text))


def _put_weakest(metrics: dict[str, Any]) -> None:
    rows, more = words.weakest(metrics)
    put_table(["class", "images", "recall"], rows, numeric=(1, 2))
    if more:
        put(f"... and {more:,} better ones, all in metrics.json")
