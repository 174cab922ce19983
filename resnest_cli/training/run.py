"""A job from its start to its model folder: what `resnest finetune` and `resnest train` do.

In: a `Job`, its folder, and where it runs. Out: a stream of events, the last of which is `Done`; and the folder. A job
whose folder holds checkpoints is resumed from the newest good one. Knows nothing of the terminal.
"""

from __future__ import annotations

import contextlib
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from resnest_cli.errors import DeviceError, ExitCode, OutputError, TrainingStopped
from resnest_cli.inputs.labelled.training_set import TrainingSet
from resnest_cli.training import checkpoints, distributed, job, setup, stages
from resnest_cli.training.board import Board
from resnest_cli.training.distributed import join, leave, shared
from resnest_cli.training.events import Done, Scanned
from resnest_cli.training.finish import finish
from resnest_cli.training.setup import Setup
from resnest_cli.training.signals import Signals

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from resnest_cli.inputs.labelled.check import Scanning
    from resnest_cli.inputs.labelled.training_set import Found
    from resnest_cli.training.distributed import Rank
    from resnest_cli.training.events import Event
    from resnest_cli.training.job import Job
    from resnest_cli.types import ModelSpec


class Run:
    """A job in this process.

    Args:
        asked: what is to be done.
        out: the folder of the run, which the first process makes.
        device: as in `Options`.
        workers: processes that decode, or "auto".
        found: the images of a new run, if they are found already.

    Attributes:
        begun: whether the folder holds what it takes to resume the run.
    """

    def __init__(
        self, asked: Job, out: Path, *, device: str = "auto", workers: int | str = "auto", found: Found | None = None
    ) -> None:
        self.job, self.out, self.device, self.workers, self.found = asked, out, device, workers, found
        self.begun = False

    def events(self, *, resume: bool = False) -> Iterator[Event]:
        """Run the job, or the rest of it; only the first of several processes yields events.

        Raises:
            BadDataSet, UsageError, DeviceError: before anything is trained.
            TrainingStopped, OutputError: during training; the last good checkpoint stands.
        """
        try:
            with self._resumable():
                ready = yield from self.prepare(resume=resume)
                with Signals(wanted=ready.rank.processes == 1) as signals:
                    yield from work(ready, signals)
        finally:
            leave()

    def launch(self, gpus: str, flags: Sequence[str], *, resume: bool = False) -> Iterator[Event]:
        """Check the data here, so that an error is reported once, then let a process per GPU continue the run.

        Args:
            gpus: "all", or a number.
            flags: what is shown on stderr, as options of the command.
            resume: continue the run in the folder.

        Raises:
            BadDataSet, UsageError, DeviceError: before anything is trained.
            TrainingStopped: a process failed; it has printed why.
        """
        processes = distributed.gpus(gpus)
        with self._resumable():
            yield from self.prepare(resume=resume)
            distributed.launch(processes, [*self._words(), "-j", str(self.workers), *flags])

    def prepare(self, *, resume: bool) -> Generator[Scanning | Scanned, None, Setup]:
        """Check the model and the data, settle what the job left open, and make the folder.

        Raises:
            BadDataSet, UsageError, DeviceError, OutputError: the job cannot be done.
        """
        # 1. This process, and the model to start from.
        rank, start = open_start(self.job, self.device)
        # 2. The data: the first process reads them for all.
        reading = setup.read_data(self.job, self.out, self.found, resume=resume)
        found = shared(rank, (yield from reading) if rank.first else None)
        if not isinstance(found, TrainingSet):
            raise found if rank.first and found else SystemExit(ExitCode.FAILED)
        if rank.first:
            yield Scanned(found)
        # 3. The recipe.
        result = self.job.result(found.classes)
        recipe = setup.settle(self.job, result, found, rank)
        # 4. The folder, or what is in it.
        asked = self.job
        if rank.first:
            if resume:
                job.write(asked, self.out)  # there may be more epochs
            else:
                asked = with_full(asked, rank)
                setup.make_folder(asked, self.out, found)
            self.begun = True
        kept = checkpoints.newest(self.out / setup.CHECKPOINTS) if rank.first else None
        state, asked = shared(rank, (kept, asked))
        return Setup(asked, self.out, rank, start, result, found, recipe, state, self.workers)

    def _resumable(self) -> AbstractContextManager[None]:
        return resumable(self._words(), lambda: self.begun)

    def _words(self) -> list[str]:
        return [self.job.command, self.job.data, "-o", str(self.out), "--resume"]


@contextlib.contextmanager
def resumable(words: Sequence[str], begun: Callable[[], bool]) -> Iterator[None]:
    """Add the command that continues a run, if it has begun, to an error that stops it."""
    try:
        yield
    except (TrainingStopped, OutputError) as error:
        if begun():
            error.args = (f"{error.message}\nTo go on: {shlex.join(['resnest', *words])}",)
        raise


def open_start(asked: Job, device: str) -> tuple[Rank, ModelSpec]:
    """Return this process and the model that the job starts from, before a large data set is read.

    Raises:
        UsageError, DeviceError, UnknownModel, ModelError: the device or the model is missing, or timm refuses a name.
    """
    rank = join(device)
    start = asked.start()
    if asked.command == job.FINETUNE:
        setup.locate_weights(asked, start)
    setup.check_names(asked, start)
    return rank, start


def with_full(asked: Job, rank: Rank) -> Job:
    """Settle whether finetuning trains all layers: with a GPU, unless the user has said."""
    if asked.command != job.FINETUNE or asked.full is not None:
        return asked
    return replace(asked, full=rank.device.type != "cpu")


def work(ready: Setup, signals: Signals) -> Iterator[Event]:
    """Train, and complete the folder; only the first of several processes yields events.

    Raises:
        TrainingStopped, OutputError, DeviceError: the last good checkpoint stands.
    """
    board = Board(ready.out, wanted=ready.rank.first)
    with _translated(ready.rank), contextlib.closing(board):
        for event in _stages(ready, signals):
            board.add(event)
            if ready.rank.first:
                yield event


def _stages(ready: Setup, signals: Signals) -> Iterator[Event]:
    stage = stages.finetune if ready.job.command == job.FINETUNE else stages.from_scratch
    outcome = yield from stage(ready, signals)
    yield Done(finish(ready, outcome))


@contextlib.contextmanager
def _translated(rank: Rank) -> Iterator[None]:
    """Translate what torch raises where memory ends.

    Raises:
        DeviceError: the device has not enough memory.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        message = f"{rank.device} has not enough memory: give a smaller --batch, or share a step with --accumulate 2."
        raise DeviceError(message) from error
