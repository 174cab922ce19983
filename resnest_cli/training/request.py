"""A run as it was asked for: from the options of a command to its job, and its folder.

In: `Options`, a recipe, a folder of images. Out: a `Job`: a new one, or the one that the folder holds. Trains nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resnest_cli.errors import UsageError
from resnest_cli.models import catalog, weights
from resnest_cli.system.paths import Kind, is_empty, look
from resnest_cli.training import job
from resnest_cli.training.job import Job
from resnest_cli.training.recipe import VAL

if TYPE_CHECKING:
    from collections.abc import Collection

    from resnest_cli.options import Options
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
        arch: KEY=VALUE arguments of the network.
        exclude: patterns of what to leave out of folders.
        groups: the column of a table, or "folder", that says which images must lie on one side.
        folds: the number of models to train, each judged on another part of the images; 0: one model, judged on `val`.
    """

    command: str
    data: Path
    recipe: Recipe
    options: Options
    output: Path | None = None
    resume: bool = False
    val: float = VAL
    full: bool | None = None
    arch: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    groups: str | None = None
    folds: int = 0

    def settle(self, given: Collection[str] = ()) -> tuple[Job, Path]:
        """Return the job to do and its folder.

        With `resume` the job is the one that the folder holds; of options in `given` only `epochs` may differ from it.

        Raises:
            UsageError: the data are not there; the folder is taken, lies in the data, or holds another job; folds make
                no sense.
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
            return job.resumed(job.read(out), asked, given), out
        _check_folder(out, Path(asked.data))
        return asked, out

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
            arch=job.parse_arch(self.arch),
            val=self.val,
            full=self.full,
            exclude=self.exclude,
            groups=self.groups,
            folds=self.folds,
        )


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
