"""A job from its start to its model folder: what `resnest finetune` and `resnest train` do.

In: a `Job`, its folder, and where it runs. Out: a stream of events, the last of which is `Done`; and the folder. A job
whose folder holds checkpoints goes on from the newest good one. Knows nothing of the terminal.

Finetuning trains a new head on features that are computed once, with the fast engine; then, with a GPU or if asked to,
all layers, each with a rate below that of the layer above it.
"""

from __future__ import annotations

import contextlib
import logging
import math
import platform
import shlex
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import timm
import torch
from torch import nn

import resnest_cli
from resnest_cli.engines.pytorch import network
from resnest_cli.errors import BadDataSet, DeviceError, ExitCode, OutputError, ResnestError, TrainingStopped, UsageError
from resnest_cli.inputs import splits
from resnest_cli.inputs.labelled import training_set
from resnest_cli.inputs.labelled.training_set import TrainingSet
from resnest_cli.models import weights
from resnest_cli.pipeline.trunk import Trunk
from resnest_cli.system import atomic, files, machine
from resnest_cli.system.paths import look
from resnest_cli.training import checkpoints, folder, job, recipe, report
from resnest_cli.training.data import (
    AHEAD,
    EvalTransform,
    Features,
    Images,
    lacks_shared_memory,
    seed_everything,
    train_transform,
)
from resnest_cli.training.distributed import Place, join, leave, shared, summed
from resnest_cli.training.loop import VAL_BATCH, Epoch, Judgement, Loop, Step, make_optimizer
from resnest_cli.training.rate import find_rate
from resnest_cli.training.signals import Signals
from resnest_cli.types import Failure, ModelSpec, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from numpy.typing import NDArray

    from resnest_cli.training.data import Data
    from resnest_cli.training.job import Job
    from resnest_cli.training.recipe import Recipe

HEAD, LAYERS = "1-head", "2-layers"
CHECKPOINTS, SPLIT = "checkpoints", "split.csv"
MAX_AUTO_WORKERS = 8
FEW_PIXELS = 64 * 64  # images so small are decoded sooner than handed from one process to another
_log = logging.getLogger(__name__)
DEFAULT_BATCH = {"cpu": 32, "mps": 32}  # others take 128


@dataclass(frozen=True)
class Scanned:
    """The data set, checked and split, before anything is trained."""

    data: TrainingSet


@dataclass(frozen=True)
class Settled:
    """A stage about to begin: its recipe with nothing left open, and where it goes on."""

    stage: str
    recipe: Recipe
    place: Place
    steps: int
    step: int


@dataclass(frozen=True)
class Cached:
    """Features of so many images out of all are computed."""

    done: int
    total: int


@dataclass(frozen=True)
class Done:
    """The folder is complete; these are its metrics."""

    metrics: dict[str, Any]


Event: TypeAlias = Scanned | Settled | Cached | Step | Epoch | Done


class Run:
    """A job under way in this process.

    Args:
        asked: what is to be done.
        out: the folder of the run, which the first process makes.
        device: as in `Options`.
        workers: processes that decode, or "auto".
    """

    def __init__(self, asked: Job, out: Path, *, device: str = "auto", workers: int | str = "auto") -> None:
        self.job, self.out, self.wanted_device, self.workers = asked, out, device, workers
        self.signals = Signals()
        self.history: list[dict[str, Any]] = []
        self.begun = False  # whether the folder holds what it takes to go on

    def events(self, *, resume: bool = False) -> Iterator[Event]:
        """Do the job, or what is left of it; only the first of several processes tells.

        Raises:
            BadDataSet, UsageError, DeviceError: before anything is trained.
            TrainingStopped, OutputError: on the way; the last good checkpoint stands.
        """
        try:
            for event in self._all_events(resume=resume):
                if self.place.first:
                    yield event
        finally:
            leave()

    def _all_events(self, *, resume: bool) -> Iterator[Event]:
        yield from self.prepare(resume=resume)
        with Signals(wanted=self.place.processes == 1) as self.signals, _translated(self.place):
            yield from self._finetune() if self.job.command == job.FINETUNE else self._from_scratch()
            yield from self._finish()

    def prepare(self, *, resume: bool) -> Iterator[Event]:
        """Check the model and the data, settle what the job left open, and make the folder."""
        self.place = join(self.wanted_device)
        self.start = self.job.start()
        if self.job.command == job.FINETUNE:
            self._weights()
        _try_words(self.job, self.start)
        found = shared(self.place, self._data(resume=resume) if self.place.first else None)
        if not isinstance(found, TrainingSet):
            raise found if self.place.first and found else SystemExit(ExitCode.FAILED)
        self.data = found
        yield Scanned(self.data)
        self.result = self.job.result(self.data.classes)
        self.recipe = self._settled()
        if self.place.first:
            if not resume:
                self._make_folder()
            self.begun = True
        kept = checkpoints.newest(self.out / CHECKPOINTS) if self.place.first else None
        self.state, self.job = shared(self.place, (kept, self.job))

    def _data(self, *, resume: bool) -> TrainingSet | ResnestError:
        """Return what is trained on, or why nothing can be: the other processes must not wait for it."""
        try:
            if resume:
                return self._data_of_before()
            return training_set.load(Path(self.job.data), share=self.job.val, seed=self._seed, exclude=self.job.exclude)
        except ResnestError as error:
            return error

    def _data_of_before(self) -> TrainingSet:
        """Read what the run was begun with; it may be elsewhere now, which is kept."""
        data, before, now = training_set.read(self.out / SPLIT), Path(job.read(self.out).data), Path(self.job.data)
        if not (seen := look(now)).is_there:
            words = shlex.join(["resnest", self.job.command, "NEWDIR", "-o", str(self.out), "--resume"])
            message = f"{now}: {seen.why or 'it is not there any more.'} If the images moved: {words}"
            raise BadDataSet(message)
        if before != now:
            roots = (before.parent, now.parent) if seen.is_file else (before, now)
            data = training_set.moved(data, *roots)
            self._write(data)
        return data

    def _write(self, data: TrainingSet) -> None:
        """Keep the job and its data.

        Raises:
            OutputError: the folder cannot be written.
        """
        with files.as_output_error(self.out):
            files.make_folder(self.out)
            files.make_folder(self.out / CHECKPOINTS)
            training_set.write(self.out / SPLIT, data)
        job.write(self.job, self.out)

    def _settled(self) -> Recipe:
        precision = _precision(self.job.recipe.precision, self.place.device)
        return recipe.settled(
            replace(self.job.recipe, precision=precision),
            self.result.architecture,
            images=len(self.data.side(splits.TRAIN)),
            processes=self.place.processes,
            default_batch=DEFAULT_BATCH.get(self.place.device.type, 128),
        )

    def _make_folder(self) -> None:
        if self.job.command == job.FINETUNE and self.job.full is None:
            self.job = replace(self.job, full=self.place.device.type != "cpu")
        self._write(self.data)

    def _from_scratch(self) -> Iterator[Event]:
        seed_everything(self._seed, "weights")
        made = network.build(self._for_training(self.result), None)
        made.init_weights()  # type: ignore[operator] # build's own seed is the same for all; this one is the run's
        made.reset_classifier(self.result.num_classes)  # type: ignore[operator]
        yield from self._layers(made)

    def _finetune(self) -> Iterator[Event]:
        if self.state is None or self.state["stage"] == HEAD:
            yield from self._head()
            head = {f"fc.{name}": value for name, value in self.loop.network.state_dict().items()}
        else:  # the head is in the checkpoint of all layers
            self.history, head = self.state["earlier"], {}
        if self.job.full:
            made = self._pretrained(self._for_training(self.start))
            made.load_state_dict(head, strict=False)
            yield from self._layers(made)

    def _head(self) -> Iterator[Event]:
        """Train a linear classifier on the pooled features of images as `predict` sees them."""
        yield from self._cache_features()
        count = len(self.data.side(splits.TRAIN))
        sides = [
            Features(torch.from_numpy(rows), torch.tensor([label for _, label in self.data.side(split)]))
            for rows, split in ((self.features[:count], splits.TRAIN), (self.features[count:], splits.VAL))
        ]
        seed_everything(self._seed, "head")
        head = nn.Linear(self.features.shape[1], len(self.data.classes))
        yield from self._stage(HEAD, head, sides[0], sides[1], recipe.head_of(self.recipe), self.place.alone())

    def _layers(self, made: nn.Module) -> Iterator[Event]:
        config, workers = self.result.data, self._decoders()
        largest = max(int(self.recipe.batch) // self.recipe.accumulate, self.place.processes * VAL_BATCH)
        needed = 2 * workers * AHEAD * largest * 4 * math.prod(config.input_size)  # two sides, float32
        piped = lacks_shared_memory(needed)
        transform = train_transform(config, self.recipe)
        train = Images(self.data.side(splits.TRAIN), transform, self._seed, workers, piped=piped)
        val = Images(self.data.side(splits.VAL), EvalTransform(config), self._seed, workers, piped=piped)
        yield from self._stage(LAYERS, made, train, val, self.recipe, self.place)

    def _stage(  # noqa: PLR0913, PLR0917 - what the two stages differ in
        self, stage: str, made: nn.Module, train: Data, val: Data, settled: Recipe, place: Place
    ) -> Iterator[Event]:
        """Train one stage to its end, from its newest checkpoint if there is one."""
        state = self.state if self.state and self.state["stage"] == stage else None
        rate = state["lr"] if state else self._rate(made, train, settled, place)
        settled = replace(settled, lr=rate)
        self.loop = Loop(
            made,
            train,
            val,
            settled,
            place,
            folder=self.out / CHECKPOINTS,
            stage=stage,
            signals=self.signals,
            classes=len(self.data.classes),
            earlier=self.history,
        )
        if state:
            _resume(self.loop, state, self.out / CHECKPOINTS)
        yield Settled(stage, settled, place, self.loop.steps, self.loop.step)
        yield from self.loop.events()
        self.history = self.history + self.loop.history

    def _rate(self, made: nn.Module, train: Data, settled: Recipe, place: Place) -> float:
        if settled.lr != recipe.AUTO:
            return float(settled.lr)
        if self.job.command == job.TRAIN:
            return recipe.LR_PER_256 * int(settled.batch) / 256
        found = find_rate(made, train, settled, place.device) if place.first else 0.0
        return shared(place, found)

    def _cache_features(self) -> Iterator[Event]:
        """Compute the features of all images once, float32 [train + val, F]; every process does its share."""
        path = self.out / CHECKPOINTS / "features.npy"
        sources = [Source(path) for split in (splits.TRAIN, splits.VAL) for path, _ in self.data.side(split)]
        kept = _read_features(path, len(sources)) if self.place.first else None
        kept = shared(self.place, kept)
        if kept is None:
            kept = yield from self._compute_features(sources)
            if self.place.first:
                content = BytesIO()
                np.save(content, kept)
                with contextlib.suppress(OSError):  # it only saves time, should the run go on later
                    atomic.write(path, content.getvalue())
        self.features: NDArray[np.float32] = kept

    def _compute_features(self, sources: list[Source]) -> Generator[Cached, None, NDArray[np.float32]]:
        own = range(self.place.rank, len(sources), self.place.processes)
        trunk = Trunk(self.start, self.job.options(device=str(self.place.device)), want="features")
        rows: list[NDArray[np.float32]] = []
        for row in trunk.rows(sources[i] for i in own):
            if isinstance(row, Failure):
                message = f"{row.path}: {row.message} It could be read when the data set was checked."
                raise BadDataSet(message)
            rows.append(row.values)
            if self.signals.number:
                raise self.signals.stopped("while features were computed, before any training")
            yield Cached(len(rows), len(own))
        trunk.close()
        width = int(summed(self.place, torch.tensor(len(rows[0]) if self.place.first else 0)))
        every = torch.zeros(len(sources), width)
        if rows:
            every[list(own)] = torch.from_numpy(np.stack(rows))
        features: NDArray[np.float32] = summed(self.place, every).numpy()
        return features

    def _pretrained(self, spec: ModelSpec) -> nn.Module:
        """Build the network that the job starts from, with a classifier for the new classes."""
        made = network.build(spec, self._weights())
        seed_everything(self._seed, "head")
        made.reset_classifier(self.result.num_classes)  # type: ignore[operator] # timm's models have it
        return made

    def _weights(self) -> Path | None:
        options = self.job.options()
        return None if options.random_weights else weights.locate(self.start, options.weights)

    def _decoders(self) -> int:
        """Choose the number of decoding processes; none where an image is decoded sooner than handed over."""
        if self.workers != recipe.AUTO:
            return int(self.workers)
        few = np.prod(self.result.data.input_size[1:]) <= FEW_PIXELS
        return 0 if few else min(machine.usable_cores(), MAX_AUTO_WORKERS)

    def _for_training(self, spec: ModelSpec) -> ModelSpec:
        """Add what acts in training only; it has no weights."""
        drops = {"drop_rate": self.recipe.dropout, "drop_block_rate": self.recipe.drop_block}
        return replace(spec, model_args=MappingProxyType({**spec.model_args, **drops}))

    def _finish(self) -> Iterator[Event]:
        """Judge the weights to keep, and write the folder."""
        judgement = self.loop.validate()
        if not self.place.first:
            return
        state = {name: value.cpu() for name, value in self.loop.network.state_dict().items()}
        if self.loop.stage == HEAD:
            made = self._pretrained(self.start)
            made.load_state_dict({f"fc.{name}": value for name, value in state.items()}, strict=False)
            state = made.state_dict()
        description = f"{self.job.command} of {self.start.name} on {len(self.data.classes)} classes"
        sha256 = folder.write(self.out, self.result, state, description)
        yield Done(self._report(judgement, sha256, sum(value.numel() for value in self.loop.network.parameters())))

    def _report(self, judgement: Judgement, sha256: str, trained: int) -> dict[str, Any]:
        true, taken = judgement.targets.numpy(), judgement.predicted.numpy()
        train_targets = np.array([label for _, label in self.data.side(splits.TRAIN)])
        metrics = {
            "model": self.start.name,
            "command": self.job.command,
            **report.figures(self.data.classes, train_targets, true, taken),
            "val_loss": judgement.loss,
            "left_out": len(self.data.examples) - len(train_targets) - len(true),
            "weights": "of the best epoch on the validation images" if self.recipe.patience else "of the last epoch",
            "epochs": len(self.history),
            "trained_parameters": trained,
            "recipe": asdict(self.loop.recipe),
            "sha256": sha256,
            "versions": {
                "resnest-cli": resnest_cli.__version__,
                "torch": torch.__version__,
                "timm": timm.__version__,
                "python": platform.python_version(),
            },
        }
        report.write_history(self.out, self.history)
        if report.can_draw():
            _draw(self.out, self.history, self.data.classes, true, taken)
        report.write_metrics(self.out, metrics)
        return metrics

    @property
    def _seed(self) -> int:
        return self.job.recipe.seed


def _draw(*what: Any) -> None:  # noqa: ANN401 - as `report.draw` has it
    """Draw what came of a run; without pictures it is as good."""
    try:
        report.draw(*what)
    except OutputError as error:
        _log.warning("%s", error)


def _try_words(asked: Job, spec: ModelSpec) -> None:
    """Use what timm takes as words once, on nothing, so that it is refused before a large data set is read.

    Raises:
        UsageError: timm does not know it.
    """
    plain = replace(asked.recipe, lr=1.0, layer_decay=1.0)
    _try("--optimizer", lambda: make_optimizer(nn.Linear(2, 2), plain), plain.optimizer)
    _try("--augment", lambda: train_transform(spec.data, asked.recipe), asked.recipe.augment)
    if asked.arch:
        _try("--arch", lambda: network.build(spec, None), asked.arch)


def _try(option: str, attempt: Callable[[], object], given: object) -> None:
    try:
        attempt()
    except Exception as error:  # whatever timm raises of what it does not know
        message = f"{option} {given}: timm does not take it ({type(error).__name__}: {error})."
        raise UsageError(message) from error


def _precision(wanted: str, device: torch.device) -> str:
    """Settle "auto": bf16 on GPUs that compute it, else fp32; small batches gain nothing from it on a CPU."""
    if wanted != recipe.AUTO:
        return wanted
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"


def _resume(loop: Loop, state: dict[str, Any], folder: Path) -> None:
    """Take up a state.

    Raises:
        TrainingStopped: it is not one of such a run.
    """
    try:
        loop.resume(state)
    except torch.OutOfMemoryError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        message = (
            f"the newest file in {folder} does not fit this run ({type(error).__name__}): remove it, and try again."
        )
        raise TrainingStopped(message) from error


def _read_features(path: Path, count: int) -> NDArray[np.float32] | None:
    try:
        rows = np.lib.format.open_memmap(path, mode="r")  # a shape that the file has no room for is refused
    except Exception:  # noqa: BLE001 - of a hostile header, numpy raises what Python's own reader does
        return None
    fits = rows.dtype == np.float32 and rows.ndim == 2 and len(rows) == count  # noqa: PLR2004 - a table
    return np.array(rows) if fits else None


@contextlib.contextmanager
def _translated(place: Place) -> Iterator[None]:
    """Turn what torch raises where memory ends, or says of a decoding process, into words."""
    try:
        yield
    except TrainingStopped as error:
        told = str(error).strip()
        if told.startswith("Caught"):  # with the traceback of a decoding process, whose last line is the message
            raise TrainingStopped(told.rpartition("\n")[2].partition(": ")[2]) from error
        raise
    except torch.OutOfMemoryError as error:
        message = f"{place.device} has not enough memory: give a smaller --batch, or share a step with --accumulate 2."
        raise DeviceError(message) from error
    except RuntimeError as error:
        if not str(error).startswith("DataLoader"):
            raise
        if "timed out" in str(error):
            message = "a process that decodes images has stopped answering: has a file changed since the run began?"
            raise TrainingStopped(message) from error
        message = "a process that decodes images was killed, perhaps for want of memory: fewer need less (-j 1, -j 0)."
        raise TrainingStopped(message) from error
