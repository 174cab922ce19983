"""K runs on the same images, each judged on another part of them: cross-validation.

In: a `Job` with folds, its folder, and where it runs. Out: a stream of events, the last of which is `Done`; and the
folder, with the run of each fold in a folder of its own, and what all images say together. A fold whose folder is
complete is not trained again. Knows nothing of the terminal.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from resnest_cli.errors import ResnestError
from resnest_cli.inputs import splits
from resnest_cli.inputs.labelled import training_set
from resnest_cli.tasks.validate.metrics import wilson
from resnest_cli.training import answers, checkpoints, features, job, mistakes, report, setup
from resnest_cli.training.events import Done, Judged, Parted
from resnest_cli.training.finish import write_extras
from resnest_cli.training.report import METRICS
from resnest_cli.training.run import open_start, resumable, with_full, work
from resnest_cli.training.setup import Setup
from resnest_cli.training.signals import Signals

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from pathlib import Path

    from resnest_cli.inputs.labelled.check import Scanning
    from resnest_cli.inputs.labelled.training_set import Found, TrainingSet
    from resnest_cli.training.answers import Answer
    from resnest_cli.training.events import Event
    from resnest_cli.training.job import Job


class Folds:
    """A job of several folds, in this process.

    Args:
        asked: what is to be done; `folds` is the number of runs.
        out: the folder to make; that of the first run is `fold-1` in it.
        device: as in `Options`.
        workers: processes that decode, or "auto".
        found: the images of a new job, if they are found already.

    Attributes:
        begun: whether the folder holds what it takes to resume the job.
    """

    def __init__(
        self, asked: Job, out: Path, *, device: str = "auto", workers: int | str = "auto", found: Found | None = None
    ) -> None:
        self.job, self.out, self.device, self.workers, self.found = asked, out, device, workers, found
        self.begun = False

    def events(self, *, resume: bool = False) -> Iterator[Event]:
        """Run every fold, or those that are left.

        Raises:
            BadDataSet, UsageError, DeviceError: before anything is trained.
            TrainingStopped, OutputError: during training; finished folds stand, and so does the last good checkpoint.
        """
        words = [self.job.command, self.job.data, "-o", str(self.out), "--resume"]
        with resumable(words, lambda: self.begun):
            runs = yield from self._prepare(resume=resume)
            found = []
            with Signals() as signals:
                for number, run in enumerate(runs, 1):
                    if signals.number:
                        raise signals.stopped(f"before fold {number} of {len(runs)}")
                    yield from _finished(run, runs[0], signals)
                    found.append(answers.read(run))
                    yield Judged(number, len(runs), len(found[-1]), _top1(found[-1]))
            yield Done(self._pool(runs, found))

    def _prepare(self, *, resume: bool) -> Generator[Scanning | Parted, None, list[Setup]]:
        """Check the model and the data, and make the folder of each fold.

        Raises:
            BadDataSet, UsageError, DeviceError, OutputError: the job cannot be done.
        """
        # 1. This process, and the model to start from.
        rank, start = open_start(self.job, self.device)
        # 2. The data of each fold.
        data = yield from (self._data_of_before() if resume else self._new_data())
        yield Parted(tuple(data))
        # 3. The recipe: that of an ordinary run on the same data.
        asked = with_full(self.job, rank)
        one, result = replace(asked, folds=0), asked.result(data[0].classes)
        runs = [
            Setup(one, folder, rank, start, result, part, setup.settle(one, result, part, rank), None, self.workers)
            for folder, part in zip(self._folders(), data, strict=True)
        ]
        # 4. The folders; last the file by which the job can be resumed.
        if not resume:
            for run in runs:
                setup.make_folder(one, run.out, run.data)
        job.write(asked, self.out)
        self.begun = True
        return runs

    def _folders(self) -> list[Path]:
        return [self.out / f"fold-{number}" for number in range(1, self.job.folds + 1)]

    def _new_data(self) -> Generator[Scanning, None, list[TrainingSet]]:
        found = self.found or self.job.find()
        return (yield from training_set.folds(found, count=self.job.folds, seed=self.job.recipe.seed))

    def _data_of_before(self) -> Generator[Scanning, None, list[TrainingSet]]:
        setup.check_there(self.job, self.out)
        data = []
        for folder in self._folders():
            read = yield from setup.read_data(replace(self.job, folds=0), folder, None, resume=True)
            if isinstance(read, ResnestError):
                raise read
            data.append(read)
        return data

    def _pool(self, runs: Sequence[Setup], found: Sequence[Sequence[Answer]]) -> dict[str, Any]:
        """Write what all images say together; return the metrics.

        Raises:
            OutputError: the folder cannot be written.
        """
        whole, every = replace(runs[0], out=self.out), [answer for fold in found for answer in fold]
        classes = whole.data.classes
        index = {name: number for number, name in enumerate(classes)}
        true = np.array([index[answer.label] for answer in every])
        taken = np.array([index[answer.taken_for] for answer in every])
        answers.write_folds(self.out, found)
        extras = [partial(mistakes.write, whole, every)]
        if report.can_draw():
            extras.append(partial(report.draw_confusion, self.out, classes, true, taken))
        write_extras(extras)
        metrics = _metrics(whole, found, true, taken)
        report.write_metrics(self.out, metrics)
        return metrics


def _finished(run: Setup, first: Setup, signals: Signals) -> Iterator[Event]:
    """Run a fold to its end, if it is not done; the features of its images are those of the first fold."""
    if (run.out / METRICS).exists():
        return
    if run is not first:
        features.hand_on(first, run)
    ready = replace(run, state=checkpoints.newest(run.checkpoints))
    yield from (event for event in work(ready, signals) if not isinstance(event, Done))


def _metrics(
    whole: Setup, found: Sequence[Sequence[Answer]], true: np.ndarray[Any, Any], taken: np.ndarray[Any, Any]
) -> dict[str, Any]:
    """Return the figures of all images, their spread, and whether they are of epochs chosen on these very images."""
    images = [label for split in (splits.TRAIN, splits.VAL) for _, label in whole.data.side(split)]
    figures = report.figures(whole.data.classes, np.array(images), true, taken)
    top1 = [_top1(fold) for fold in found]
    return {
        "model": whole.start.name,
        "command": whole.job.command,
        "folds": len(found),
        "images": len(true),
        "never_judged": figures.pop("train_images") - figures.pop("val_images"),
        "left_out": len(whole.data.examples) - len(images),
        "top1": figures.pop("top1"),
        "top1_ci95": wilson(int((true == taken).sum()), len(true)),
        "fold_top1": top1,
        "fold_images": [len(fold) for fold in found],
        "fold_top1_mean": float(np.mean(top1)),
        "fold_top1_std": float(np.std(top1, ddof=1)),
        "best_epochs": bool(whole.job.full) and whole.recipe.patience > 0,
        **figures,
    }


def _top1(found: Sequence[Answer]) -> float:
    return sum(answer.right for answer in found) / len(found)
