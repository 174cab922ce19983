"""A model in int8, as a folder that every command takes: calibrated on the user's own images, and judged on others.

In: the options that name a model, a folder of images, a folder to make. Out: that folder, with the weights, the int8
graph, and a record of what it was made from and how near its answers are to those in fp32. It gets its name when they
are near enough; where the quickest way to int8 does not do, better ones are tried, and in the end it is refused.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.torch import save

from resnest_cli.engines.choose import open_engine
from resnest_cli.engines.openvino import OpenVinoEngine
from resnest_cli.engines.pixels import PixelEngine
from resnest_cli.engines.pytorch import int8
from resnest_cli.engines.pytorch.network import build
from resnest_cli.engines.runtime import has_int8, next_to_int8
from resnest_cli.errors import DeviceError, ModelError, UsageError
from resnest_cli.inputs.labelled.dataset import Dataset, Labelled
from resnest_cli.models import catalog, folders, graphs, labels, weights
from resnest_cli.outputs import saving
from resnest_cli.pipeline.trunk import Trunk
from resnest_cli.system import atomic, files
from resnest_cli.tasks.export import exporter
from resnest_cli.tasks.predict import softmax
from resnest_cli.tasks.quantize.calibration import LEAST, SAMPLES, SEED, draw
from resnest_cli.tasks.validate.metrics import wilson
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from resnest_cli.engines.base import Engine
    from resnest_cli.models.graphs import Graph
    from resnest_cli.models.labels import Labels
    from resnest_cli.options import Options
    from resnest_cli.types import ModelSpec, Source

MIN_AGREEMENT = 0.98
# Of `int8.strangeness`, measured: images of the model's own kind 0 to 0.1; digits to a model for photographs,
# photographs to one for digits, inverted ones 0.1 to 0.3; noise from 0.36 on, black or very dark ones from 0.66 on.
STRANGE = 0.3
SIDECAR = "quantize.json"
_LOOKED_AT = 32
_TURNS, _TIMED = 3, 40

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Agreement:
    """How near int8 is to fp32 on images that it was not calibrated on.

    `max_probability_change` is that of any class of any image, `mean_probability_change` that of the class which was
    first in fp32. Of the `labelled` images, `right_before` and `right_after` have the true class first.
    """

    images: int
    same_class: int
    max_probability_change: float
    mean_probability_change: float
    labelled: int = 0
    right_before: int = 0
    right_after: int = 0

    @property
    def share(self) -> float:
        """The share of images whose first class is the same, 0..1."""
        return self.same_class / self.images

    def said(self) -> dict[str, Any]:
        """Return the counts with what follows from them: shares, 0..1, and their 95% intervals (Wilson)."""
        found = {**asdict(self), "agreement": self.share, "agreement_ci95": wilson(self.same_class, self.images)}
        if self.labelled:
            for name, right in (("accuracy_before", self.right_before), ("accuracy_after", self.right_after)):
                found |= {name: right / self.labelled, f"{name}_ci95": wilson(right, self.labelled)}
        return found


@dataclass(frozen=True)
class Speed:
    """Images a second in int8, and in the precision that is the next best here."""

    int8: float
    other: float
    precision: str


@dataclass(frozen=True)
class Quantized:
    """A finished folder.

    Attributes:
        folder: where it is.
        tried: how each way to int8 did; the folder has the last.
        failures: images that could not be read, and were not replaced by others.
        floating: the layers that still compute in floating point.
        speed: how fast it is.
    """

    folder: Path
    tried: dict[str, Agreement]
    failures: tuple[Failure, ...]
    floating: tuple[str, ...]
    speed: Speed


@dataclass(frozen=True)
class _Pictures:
    """Images that could be read, uint8 [N, H, W, 3], and those that could not."""

    paths: list[str]
    pixels: NDArray[np.uint8]
    failures: list[Failure]


def quantize(  # noqa: PLR0913 - each is a choice of the user's
    options: Options,
    calibrate: Path,
    folder: Path,
    *,
    samples: int = SAMPLES,
    seed: int = SEED,
    min_agreement: float = MIN_AGREEMENT,
    exclude: Sequence[str] = (),
    overwrite: bool = False,
) -> Quantized:
    """Make an int8 model of the one that `options` name, in a new `folder`.

    Args:
        options: the model, its weights, labels and preprocessing.
        calibrate: a folder of images like those that the model is for; if its own folders name classes, accuracy is
            measured too.
        folder: what to make; it appears when it is complete.
        samples: how many images to calibrate on; see `calibration.draw`.
        seed: which ones.
        min_agreement: the share of judged images whose first class must be that of fp32, 0..1.
        exclude: patterns of what to leave out of `calibrate`, see `photographs.Rule`.
        overwrite: replace the folder if there is one.

    Raises:
        UsageError: NNCF is not installed, or there are too few images.
        DeviceError: this CPU has no instructions for int8.
        OutputError: the folder is there, or cannot be written.
        WeightsUnavailable, BadCheckpoint, LabelsError: the model cannot be opened.
        ModelError: the images are not what the model is for, or no way to int8 keeps its answers.
    """
    spec = catalog.resolve(options)
    _check(spec, folder, overwrite=overwrite)
    path = None if options.random_weights else weights.locate(spec, options.weights)
    network = build(spec, path)
    config = exporter.describe(spec, options, network, folders.INT8, raw=True)
    calibration, held_out = (_load(spec, options, part) for part in draw(calibrate, samples, seed, exclude))
    _check_pictures(calibration, held_out, calibrate)
    strangeness = int8.strangeness(network, spec, calibration.pixels[:_LOOKED_AT])
    _check_strangeness(strangeness if min_agreement and path else 0, calibrate)
    truths = _truths(calibrate, exclude, labels.load(spec, options.labels))
    with files.as_output_error(folder), atomic.folder(folder) as new:
        (new / weights.FILENAMES[0]).write_bytes(save(network.state_dict(), {"format": "pt"}))
        dense = int8.prepare(network, spec, new.parent / "dense")
        before = int8.rows(dense, spec, held_out.pixels, "fp32")
        exam = _Exam(spec, held_out.pixels, before, [truths.get(name) for name in held_out.paths], min_agreement)
        graph, tried = _ladder(dense, calibration.pixels, exam)
        speed = _speed(graph, spec, options, held_out.pixels)
        for source, name in zip(graphs.FILES, folders.FILES[folders.INT8], strict=True):
            shutil.copyfile(graph.folder / source, new / name)
        made = Quantized(folder, tried, (*calibration.failures, *held_out.failures), graph.facts["floating"], speed)
        given = {"seed": seed, "min_agreement": min_agreement, "strangeness": strangeness}
        config["export"]["files"] = {name: weights.sha256(new / name) for name in folders.FILES[folders.INT8]}
        record = _record(config, given, calibration, held_out, made)
        for name, content in (("config.json", config), (SIDECAR, record)):
            (new / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return made


def _record(
    config: dict[str, Any], given: dict[str, Any], calibration: _Pictures, held_out: _Pictures, made: Quantized
) -> dict[str, Any]:
    """Say what the graph was made of and how it did, for the file beside it."""
    return {
        "model": config["export"]["model"],
        "weights_sha256": config["export"]["weights_sha256"],
        **given,
        "calibrated_on": calibration.paths,
        "judged_on": held_out.paths,
        "unreadable": [asdict(failure) for failure in made.failures],
        "tried": [{"method": method, **found.said()} for method, found in made.tried.items()],
        "floating_layers": made.floating,
        "images_per_second": {folders.INT8: made.speed.int8, made.speed.precision: made.speed.other},
        "versions": int8.versions(),
    }


def _check(spec: ModelSpec, folder: Path, *, overwrite: bool) -> None:
    if folders.is_exported(spec) or folders.is_int8(spec):
        message = f"{spec.name} is an exported model: quantize the model that it was made from."
        raise UsageError(message)
    folders.require(folders.INT8)
    if not has_int8():
        message = f"this CPU has no instructions for int8, which would be slower: use --precision {next_to_int8()}."
        raise DeviceError(message)
    saving.claim_folder(folder, overwrite=overwrite)


def _load(spec: ModelSpec, options: Options, found: Iterable[Source]) -> _Pictures:
    engine = PixelEngine(spec)
    trunk = Trunk(spec, options, engine=engine)
    rows = list(trunk.rows(found))
    trunk.close()
    good = [row for row in rows if not isinstance(row, Failure)]
    pixels = np.stack([engine.picture(row.values) for row in good]) if good else np.empty((0, *engine.shape), np.uint8)
    return _Pictures([row.path for row in good], pixels, [row for row in rows if isinstance(row, Failure)])


def _check_pictures(calibration: _Pictures, held_out: _Pictures, place: Path) -> None:
    """Refuse what says nothing: too few images that can be read, or the same over and over.

    Raises:
        UsageError: there are too few different ones.
    """
    different = len(np.unique(np.concatenate([calibration.pixels, held_out.pixels]), axis=0))
    if different < LEAST:
        unread = len(calibration.failures) + len(held_out.failures)
        message = f"--calibrate {place}: {different} different images, {unread} unreadable ones; {LEAST} are needed."
        raise UsageError(message)


def _check_strangeness(strangeness: float, place: Path) -> None:
    """Refuse pictures that the network was never made for: what is learned from them holds for no others.

    Raises:
        ModelError: they are too far away, as noise or black pictures are.
    """
    if not strangeness <= STRANGE:
        message = (
            f"--calibrate {place}: these images are nothing like those that the model was trained on: what its layers "
            f"see differs by {strangeness:.2f} nats (allowed: {STRANGE}). Nothing was kept. Give images like those "
            "that it is for; or --min-agreement 0, to keep whatever comes of these."
        )
        raise ModelError(message)


def _truths(place: Path, exclude: Sequence[str], named: Labels) -> dict[str, int]:
    """Return the true class of each image by its path; nothing where the place's folders do not name classes."""
    try:
        found = Dataset(place, named, exclude=exclude).images(place)
    except UsageError:
        return {}
    return {image.item.source.path: image.truth for image in found if isinstance(image, Labelled)}


@dataclass(frozen=True)
class _Exam:
    """What an int8 graph is judged by: other images, their logits in fp32, their classes where known; what it needs."""

    spec: ModelSpec
    pixels: NDArray[np.uint8]
    before: NDArray[np.float32]
    truths: Sequence[int | None]
    min_agreement: float

    def take(self, graph: Graph) -> Agreement:
        """Have it answer."""
        return compare(self.before, int8.rows(graph, self.spec, self.pixels, folders.INT8), self.truths)


def _ladder(dense: Graph, pixels: NDArray[np.uint8], exam: _Exam) -> tuple[Graph, dict[str, Agreement]]:
    """Try one way to int8 after another; give the first graph that agrees well enough, and how each did.

    Raises:
        ModelError: none does.
    """
    tried: dict[str, Agreement] = {}
    for number, method in enumerate(int8.METHODS):
        _log.info("int8, %s: this takes minutes for a large model", method)
        graph = int8.quantise(dense, pixels, method, dense.folder.parent / str(number), exam.min_agreement)
        tried[method] = found = exam.take(graph)
        _log.info("the first class is that of fp32 for %d of %d images", found.same_class, found.images)
        if found.share >= exam.min_agreement:
            return graph, tried
    shares = ", ".join(f"{found.share:.1%} {method}" for method, found in tried.items())
    message = (
        f"int8 does not keep the answers of {exam.spec.name}: the first class is that of fp32 for too few images, "
        f"{shares}; {exam.min_agreement:.1%} were wanted. Nothing was kept. Calibrate on more images, or on ones more "
        "like those that the model is for; or use --precision bf16."
    )
    raise ModelError(message)


def compare(before: NDArray[np.float32], after: NDArray[np.float32], truths: Sequence[int | None]) -> Agreement:
    """Compare logits [N, C] of the same images; `truths` has their true classes where these are known."""
    first, now = before.argmax(axis=1), after.argmax(axis=1)
    changes = np.abs(_probabilities(before) - _probabilities(after))
    known = [(one, other, truth) for one, other, truth in zip(first, now, truths, strict=True) if truth is not None]
    return Agreement(
        images=len(first),
        same_class=int((first == now).sum()),
        max_probability_change=float(changes.max()),
        mean_probability_change=float(changes[np.arange(len(first)), first].mean()),
        labelled=len(known),
        right_before=sum(bool(one == truth) for one, _, truth in known),
        right_after=sum(bool(other == truth) for _, other, truth in known),
    )


def _probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.stack([softmax(row) for row in logits])


def _speed(graph: Graph, spec: ModelSpec, options: Options, pixels: NDArray[np.uint8]) -> Speed:
    """Run both in turns, so that what else the machine does meets both alike."""
    other = open_engine(spec, replace(options, device="cpu", precision=next_to_int8()))
    engines = (OpenVinoEngine(spec, graph, precision=folders.INT8), other)
    rates: list[list[float]] = [[], []]
    for _ in range(_TURNS + 1):
        for engine, rate in zip(engines, rates, strict=True):
            rate.append(_rate(engine, pixels))
    ours, theirs = (median(rate[1:]) for rate in rates)  # the first compiles
    for engine in engines:
        engine.close()
    if ours < theirs:
        _log.warning("int8 is slower here than %s: %.1f images/s, not %.1f", other.precision, ours, theirs)
    return Speed(ours, theirs, other.precision)


def _rate(engine: Engine, pixels: NDArray[np.uint8]) -> float:
    begin = time.perf_counter()
    done = sum(len(rows) for rows in engine.run(picture[None] for picture in pixels[:_TIMED]))
    return done / (time.perf_counter() - begin)
