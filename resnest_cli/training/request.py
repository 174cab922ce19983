"""A run as it was asked for: from the options of a command to its job, its folder, and its events.

In: `Options`, a recipe, a folder of images. Out: a `Plan`, whose job is new or the one that the folder holds. What is
wrong with folders is said before torch is loaded, which `Plan.start` does.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnest_cli.errors import UsageError
from resnest_cli.models import catalog, weights
from resnest_cli.system.paths import Kind, is_empty, look
from resnest_cli.training import job
from resnest_cli.training.job import Job
from resnest_cli.training.recipe import VAL

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from resnest_cli.inputs.labelled.training_set import Found
    from resnest_cli.options import Options
    from resnest_cli.training.events import Event
    from resnest_cli.training.recipe import Recipe


@dataclass(frozen=True)
class Request:
    """What `finetune` and `train` are asked for.

    Attributes:
        command: "finetune" or "train".
        data: a folder or table of images.
        recipe: how to train.
        options: the model to start from.
        output: the folder to make; None: one beside the working folder, named after data and model.
        resume: continue the run in that folder.
        val: the share of each class to hold out.
        full: train all layers after the head; None: with a GPU.
        arch: arguments of the network.
        exclude: patterns of what to leave out of folders.
        groups: the column of a table, or "folder", that says which images must lie on one side.
        folds: the number of models to train, each judged on another part of the images; 0: one model, judged on `val`.
        gpus: "all" or a number: train in so many processes, each with a GPU; None: in this process.
    """

    command: str
    data: Path
    recipe: Recipe
    options: Options
    output: Path | None = None
    resume: bool = False
    val: float = VAL
    full: bool | None = None
    arch: Mapping[str, Any] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()
    groups: str | None = None
    folds: int = 0
    gpus: str | None = None

    def settle(self, given: Collection[str] = ()) -> Plan:
        """Return the job to do, its folder and its images.

        With `resume` the job is the one that the folder holds; of options in `given` only `epochs` may differ from it.

        Raises:
            UsageError: the data are not there; the folder is taken, lies in the data, or holds another job; folds make
                no sense, or are asked for in several processes.
            BadDataSet: see `Job.find`.
            UnknownModel, ModelError, BadCheckpoint: the model to start from cannot be used.
        """
        self._check_folds(given)
        asked = self._job()
        seen = look(asked.data)
        if not seen.is_there and not self.resume:  # a resumed run finds moved images later, with its own message
            why = "no such folder or table." if seen.kind is Kind.MISSING else seen.why
            raise UsageError(f"{self.data}: {why}")
        out = self.output or job.folder_for(asked)
        if self.resume:
            asked = job.resumed(job.read(out), asked, given)
        else:
            _check_folder(out, Path(asked.data))
        several = _is_one_of_several()
        if asked.folds and (self.gpus or several):
            message = f"--folds {asked.folds} trains in one process: leave --gpus, torchrun and Slurm's tasks away."
            raise UsageError(message)
        # Of several processes the first looks for the images, in `Run`.
        return Plan(self, asked, out, None if self.resume or several else asked.find())

    def _check_folds(self, given: Collection[str]) -> None:
        if not self.folds and "folds" not in given:
            return
        if not 2 <= self.folds <= job.MOST_FOLDS:  # noqa: PLR2004 - one fold leaves nothing to train on
            message = f"--folds {self.folds}: use a number from 2 to {job.MOST_FOLDS}."
            raise UsageError(message)
        if "val" in given:
            message = f"--val {self.val:g}: --folds judges every image once, not a share of them; give one of the two."
            raise UsageError(message)

    def _job(self) -> Job:
        model = {name: getattr(self.options, name) for name in job.OF_MODEL}
        model["weights"] = job.absolute(self.options.weights)
        spec = catalog.find_model(self.options.model)
        if model["weights"] is not None and not self.resume:
            weights.locate(spec, model["weights"])
        if spec.folder not in {None, catalog.DIGITS}:
            model["model"] = job.absolute(spec.folder)
        return Job(
            command=self.command,
            data=str(job.absolute(self.data)),
            recipe=self.recipe,
            model={name: list(value) if isinstance(value, tuple) else value for name, value in model.items()},
            arch=dict(self.arch),
            val=self.val,
            full=self.full,
            exclude=self.exclude,
            groups=self.groups,
            folds=self.folds,
        )


@dataclass(frozen=True)
class Plan:
    """A run that can start.

    Attributes:
        request: what was asked for.
        job: what is done.
        out: the folder of the run.
        found: the images of a new run.
    """

    request: Request
    job: Job
    out: Path
    found: Found | None

    def start(self, flags: Sequence[str] = ()) -> Iterator[Event]:
        """Load torch, and return the events of the run, which does its work as they are asked for.

        `flags` are what the processes of several GPUs show on stderr, as options of the command.

        Raises:
            BadDataSet, UsageError, DeviceError, TrainingStopped, OutputError: from the events; see `Run` and `Folds`.
        """
        from resnest_cli.training.folds import Folds  # noqa: PLC0415 - torch: seconds
        from resnest_cli.training.run import Run  # noqa: PLC0415 - torch: seconds

        resume, options = self.request.resume, self.request.options
        kind = Folds if self.job.folds else Run
        run = kind(self.job, self.out, device=options.device, workers=options.workers, found=self.found)
        if self.request.gpus and isinstance(run, Run):
            return run.launch(self.request.gpus, flags, resume=resume)
        return run.events(resume=resume)


def _is_one_of_several() -> bool:
    """Return whether torchrun or Slurm has started this process; timm decides by more of their variables."""
    return bool({"WORLD_SIZE", "SLURM_NTASKS"} & os.environ.keys())


def _check_folder(out: Path, data: Path) -> None:
    """Refuse a folder for a new run that lies in the data, or is not empty.

    Raises:
        UsageError: it does, or is.
    """
    job.check_outside(out, data)
    seen = look(out)
    if seen.kind is Kind.UNKNOWN:
        raise UsageError(f"{out} cannot be written: {seen.why}")
    if seen.is_there and not is_empty(out):
        raise UsageError(f"{out} exists: go on with the run in it with --resume, or name another folder with -o.")
