"""What a run needs before its first step: data on two sides, a recipe with nothing left open, the folder to write.

In: a `Job`, its folder, this process. Out: a `Setup`. Trains nothing.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from resnest_cli.engines.pytorch import network
from resnest_cli.errors import BadDataSet, ResnestError, UsageError, message_of
from resnest_cli.inputs import splits
from resnest_cli.inputs.labelled import training_set
from resnest_cli.models import weights
from resnest_cli.pipeline import decoders
from resnest_cli.system import files
from resnest_cli.system.paths import look
from resnest_cli.training import job, recipe
from resnest_cli.training.augmentation import Augmentation
from resnest_cli.training.optimizer import make_optimizer
from resnest_cli.training.randomness import seed_everything

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from resnest_cli.inputs.labelled.check import Scanning
    from resnest_cli.inputs.labelled.training_set import Found, TrainingSet
    from resnest_cli.training.distributed import Rank
    from resnest_cli.training.job import Job
    from resnest_cli.training.recipe import Recipe
    from resnest_cli.types import ModelSpec

CHECKPOINTS, SPLIT = "checkpoints", "split.csv"
DEFAULT_BATCH = {"cpu": 32, "mps": 32}  # of training from scratch, per process; other devices take 128
FINETUNE_BATCH, FINETUNE_STEPS = 64, 8  # per process, and the steps that an epoch of a small data set still has
LEAST_BATCH = 8  # norms learn little from fewer
FEW_PIXELS = 64 * 64  # an image this small is decoded sooner than passed between processes


@dataclass(frozen=True)
class Setup:
    """A run that can begin.

    Attributes:
        job: what was asked for; `full` is settled.
        out: the folder of the run.
        rank: this process.
        start: the model that the job starts from.
        result: the model that it makes.
        data: what is trained on.
        recipe: nothing left open but the learning rate.
        state: the newest checkpoint, None for a new run.
        workers: processes that decode, or "auto".
    """

    job: Job
    out: Path
    rank: Rank
    start: ModelSpec
    result: ModelSpec
    data: TrainingSet
    recipe: Recipe
    state: dict[str, Any] | None
    workers: int | str

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.out / CHECKPOINTS

    @property
    def decoders(self) -> int:
        """The number of decoding processes; 0 where images are small."""
        few = np.prod(self.result.data.input_size[1:]) <= FEW_PIXELS
        return 0 if few and self.workers == recipe.AUTO else decoders.count(self.workers)

    def for_training(self, spec: ModelSpec) -> ModelSpec:
        """Return a spec with dropout and DropBlock, which act in training only and have no weights."""
        drops = {"drop_rate": self.recipe.dropout, "drop_block_rate": self.recipe.drop_block}
        return replace(spec, model_args=MappingProxyType({**spec.model_args, **drops}))

    def pretrained(self, spec: ModelSpec) -> nn.Module:
        """Build the network that the job starts from, with a new classifier for the new classes."""
        made = network.build(spec, locate_weights(self.job, self.start))
        seed_everything(self.job.recipe.seed, "head")
        made.reset_classifier(self.result.num_classes)  # type: ignore[operator] # timm's models have it
        return made

    def untrained(self) -> nn.Module:
        """Build the network of the result with new weights from the job's seed."""
        seed_everything(self.job.recipe.seed, "weights")
        made = network.build(self.for_training(self.result), None)
        made.init_weights()  # type: ignore[operator] # `build` has a seed of its own
        made.reset_classifier(self.result.num_classes)  # type: ignore[operator]
        return made


def locate_weights(asked: Job, start: ModelSpec) -> Path | None:
    """Return the weights file that a job starts from, None for random weights; see `weights.locate`."""
    options = asked.options()
    return None if options.random_weights else weights.locate(start, options.weights)


def check_names(asked: Job, spec: ModelSpec) -> None:
    """Try the names that timm interprets, before a large data set is read.

    Raises:
        UsageError: timm does not know one of them.
    """
    plain = replace(asked.recipe, lr=1.0, layer_decay=1.0)
    _try("--optimizer", lambda: make_optimizer(nn.Linear(2, 2), plain), plain.optimizer)
    if (augmentation := Augmentation(spec.data, asked.recipe)).by_timm:
        _try("--augment", lambda: augmentation.transform, asked.recipe.augment)
    if asked.arch:
        _try("--arch", lambda: network.build(spec, None), asked.arch)


def _try(option: str, attempt: Callable[[], object], given: object) -> None:
    try:
        attempt()
    except Exception as error:  # timm raises any type for a name that it does not know
        message = f"{option} {given}: timm does not take it ({type(error).__name__}: {message_of(error)})."
        raise UsageError(message) from error


def read_data(
    asked: Job, out: Path, found: Found | None, *, resume: bool
) -> Generator[Scanning, None, TrainingSet | ResnestError]:
    """Return what is trained on, or the error: other processes wait for either. Yield how many files are checked."""
    try:
        if resume:
            return (yield from _data_of_before(asked, out))
        return (yield from training_set.load(found or asked.find(), share=asked.val, seed=asked.recipe.seed))
    except ResnestError as error:
        return error


def _data_of_before(asked: Job, out: Path) -> Generator[Scanning, None, TrainingSet]:
    """Read the data that the run was begun with. If the images have moved, the new paths are kept.

    Raises:
        BadDataSet: the images are missing, or are not the same.
        OutputError: the folder cannot be written.
    """
    check_there(asked, out)
    data, before, now = training_set.read(out / SPLIT), Path(job.read(out).data), Path(asked.data)
    if before != now:
        roots = (before.parent, now.parent) if look(now).is_file else (before, now)
        data = yield from training_set.moved(data, *roots)
        make_folder(asked, out, data)
    return data


def check_there(asked: Job, out: Path) -> None:
    """Refuse to resume the run in `out` where its images are not there any more.

    Raises:
        BadDataSet: the message says how to name their new place.
    """
    if not (seen := look(Path(asked.data))).is_there:
        words = shlex.join(["resnest", asked.command, "NEWDIR", "-o", str(out), "--resume"])
        message = f"{asked.data}: {seen.why or 'it is not there any more.'} If the images moved: {words}"
        raise BadDataSet(message)


def make_folder(asked: Job, out: Path, data: TrainingSet) -> None:
    """Write the job and its data into the folder of the run, so that the run can be resumed.

    Raises:
        OutputError: the folder cannot be written.
    """
    with files.as_output_error(out):
        files.make_folder(out)
        files.make_folder(out / CHECKPOINTS)
        training_set.write(out / SPLIT, data)
    job.write(asked, out)


def settle(asked: Job, result: ModelSpec, data: TrainingSet, rank: Rank) -> Recipe:
    """Return the job's recipe with precision, batch and dropout settled for this machine; see `recipe.settled`."""
    images = len(data.side(splits.TRAIN))
    default = DEFAULT_BATCH.get(rank.device.type, 128)
    if asked.command == job.FINETUNE:
        default = min(FINETUNE_BATCH, max(LEAST_BATCH, images // (FINETUNE_STEPS * rank.processes)))
    return recipe.settled(
        replace(asked.recipe, precision=_precision(asked.recipe.precision, rank.device)),
        result.architecture,
        images=images,
        processes=rank.processes,
        default_batch=default,
    )


def _precision(wanted: str, device: torch.device) -> str:
    """Return bf16 for "auto" on GPUs that compute it, else fp32: on a CPU small batches gain nothing from bf16."""
    if wanted != recipe.AUTO:
        return wanted
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
