"""A model in int8, calibrated on the user's own images and judged on others.

In: a model, a folder of images, a folder to make. Out: that folder, with the weights, the int8
graph, and a record of what it was made from and how near its answers are to fp32. The folder appears when its answers
are near enough: where the quickest method is not, better ones are tried, and in the end the model is refused.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.numpy import save

from resnest_cli.engines import checkpoints, int8
from resnest_cli.engines.runtime import has_int8, next_to_int8
from resnest_cli.engines.strangeness import strangeness
from resnest_cli.errors import DeviceError, ModelError, UsageError
from resnest_cli.inputs.labelled.dataset import Dataset, Labelled
from resnest_cli.models import architecture, folders, graphs, labels, weights
from resnest_cli.models.check import check
from resnest_cli.outputs import saving
from resnest_cli.system import atomic, files
from resnest_cli.tasks.export import exporter
from resnest_cli.tasks.export.formats import Original
from resnest_cli.tasks.opened import settled
from resnest_cli.tasks.quantize import pictures, speed
from resnest_cli.tasks.quantize.agreement import Exam
from resnest_cli.tasks.quantize.calibration import draw
from resnest_cli.tasks.quantize.options import QuantizeOptions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Unpack

    from resnest_cli.models.graphs import Graph
    from resnest_cli.models.labels import Labels
    from resnest_cli.options import Keywords, Options
    from resnest_cli.tasks.quantize.agreement import Agreement
    from resnest_cli.tasks.quantize.pictures import Pictures
    from resnest_cli.tasks.quantize.speed import Speed
    from resnest_cli.types import Failure, ModelSpec

SIDECAR = "quantize.json"
_LOOKED_AT = 32  # calibration images that tell the strangeness

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Quantized:
    """A finished folder.

    Attributes:
        folder: where it is.
        tried: method -> how its graph did; the folder has the last graph.
        failures: images that could not be read, and were not replaced by others.
        floating: the layers that still compute in floating point.
        speed: how fast it is.
    """

    folder: Path
    tried: dict[str, Agreement]
    failures: tuple[Failure, ...]
    floating: tuple[str, ...]
    speed: Speed


def quantize(  # noqa: PLR0913 - what may be asked of it
    model: str | Options,
    calibrate: str | PathLike[str],
    out: str | PathLike[str],
    *,
    samples: int = QuantizeOptions.samples,
    seed: int = QuantizeOptions.seed,
    min_agreement: float = QuantizeOptions.min_agreement,
    exclude: Sequence[str] = (),
    overwrite: bool = False,
    **changes: Unpack[Keywords],
) -> Quantized:
    """Make an int8 model of another, in a new folder.

    >>> made = quantize("resnest50d", "photos/", out="resnest50d-int8")

    Args:
        model: as for `Classifier`.
        calibrate: a folder of images like those that the model is for; if its subfolders name classes, accuracy is
            measured too.
        out: the folder to make; it appears when it is complete.
        samples: images to calibrate on.
        seed: random seed for the choice of images.
        min_agreement: least share of other images with fp32's first class, 0..1; 0 keeps any model.
        exclude: patterns of what to leave out of the folder of images, see `selection.Rule`.
        overwrite: replace the folder if there is one.
        **changes: fields of `Options`: weights, labels and preprocessing, and how images are read.

    Raises:
        TypeError: a keyword that is no field of `Options`.
        UsageError: NNCF is not installed, or there are too few images.
        DeviceError: this CPU has no instructions for int8.
        OutputError: the folder exists, or cannot be written.
        WeightsUnavailable, BadCheckpoint, LabelsError: the model cannot be opened.
        ModelError: the images are not what the model is for, or no method keeps its answers.
    """
    # 1. The model in fp32, and the images.
    spec, options = settled(model, None, changes)
    check(options)
    how = QuantizeOptions(samples, seed, min_agreement, tuple(exclude))
    calibrate, folder = Path(calibrate), Path(out)
    _check(spec, calibrate, folder, overwrite=overwrite)
    _log.info("%s, to be calibrated on images in %s", options.model, calibrate)
    path = None if options.random_weights else weights.locate(spec, options.weights)
    network = architecture.of(spec)
    state, digest = checkpoints.load(spec, path, network.shapes)
    made_of, count = Original(spec, path, digest), network.param_count
    config = exporter.describe(made_of, options, folders.INT8, int8.VERSIONED, raw=True, param_count=count)
    parts = draw(calibrate, how.samples, how.seed, how.exclude)
    calibration, held_out = (pictures.load(spec, options, part) for part in parts)
    pictures.check_count(calibration, held_out, calibrate)
    strange = strangeness(spec, state, calibration.pixels[:_LOOKED_AT])
    pictures.check_strangeness(strange if how.min_agreement and path else 0, calibrate)
    truths = _truths(calibrate, how.exclude, labels.load(spec, options.labels))
    with files.as_output_error(folder), atomic.folder(folder) as new:
        # 2. Its answers before; then the first int8 graph that keeps them.
        (new / weights.FILENAMES[0]).write_bytes(save(state, {"format": "pt"}))
        dense = int8.prepare(spec, state, new.parent / "dense")
        before = int8.rows(dense, spec, held_out.pixels, "fp32")
        exam = Exam(spec, held_out.pixels, before, [truths.get(name) for name in held_out.paths], how.min_agreement)
        graph, tried = _ladder(dense, calibration.pixels, exam)
        # 3. Its speed, its files, and what it was made of.
        rates = speed.measure(graph, spec, options, held_out.pixels)
        for source, name in zip(graphs.FILES, folders.FILES[folders.INT8], strict=True):
            shutil.copyfile(graph.folder / source, new / name)
        made = Quantized(folder, tried, (*calibration.failures, *held_out.failures), graph.facts["floating"], rates)
        config["export"]["files"] = {name: weights.sha256(new / name) for name in folders.FILES[folders.INT8]}
        given = {"seed": how.seed, "min_agreement": how.min_agreement, "strangeness": strange}
        record = _record(config, given, calibration, held_out, made)
        folders.write_config(new, config)
        (new / SIDECAR).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return made


def _check(spec: ModelSpec, calibrate: Path, folder: Path, *, overwrite: bool) -> None:
    if folders.is_exported(spec) or folders.is_int8(spec):
        message = f"{spec.name} is an exported model: quantize the model that it was made from."
        raise UsageError(message)
    if why := architecture.why_timm(spec):
        message = f"{spec.name} cannot be quantized: {why}."
        raise UsageError(message)
    folders.require(folders.INT8)
    if not os.path.lexists(calibrate):
        message = f"--calibrate {calibrate}: no such folder."
        raise UsageError(message)
    if not has_int8():
        message = f"this CPU has no instructions for int8, which would be slower: use --precision {next_to_int8()}."
        raise DeviceError(message)
    saving.claim_folder(folder, overwrite=overwrite)


def _truths(folder: Path, exclude: Sequence[str], named: Labels) -> dict[str, int]:
    """Return path -> true class of each image; nothing where the subfolders do not name classes."""
    try:
        found = Dataset(folder, named, exclude=exclude).images(folder)
    except UsageError:
        return {}
    return {image.item.source.path: image.truth for image in found if isinstance(image, Labelled)}


def _ladder(dense: Graph, pixels: NDArray[np.uint8], exam: Exam) -> tuple[Graph, dict[str, Agreement]]:
    """Try one method after another; return the first graph that agrees well enough, and how each did.

    Raises:
        ModelError: none does.
    """
    tried: dict[str, Agreement] = {}
    for number, method in enumerate(int8.METHODS):
        _log.info("int8, %s: this takes minutes for a large model", method)
        graph = int8.quantize(dense, pixels, method, dense.folder.parent / str(number), exam.min_agreement)
        tried[method] = found = exam.judge(graph)
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


def _record(
    config: dict[str, Any], given: dict[str, Any], calibration: Pictures, held_out: Pictures, made: Quantized
) -> dict[str, Any]:
    """Return what the graph was made of and how it did, for the file beside it."""
    return {
        "model": config["export"]["model"],
        "weights_sha256": config["export"]["weights_sha256"],
        **given,
        "calibrated_on": calibration.paths,
        "judged_on": held_out.paths,
        "unreadable": [asdict(failure) for failure in made.failures],
        "tried": [{"method": method, **found.figures()} for method, found in made.tried.items()],
        "floating_layers": made.floating,
        "images_per_second": {folders.INT8: made.speed.int8, made.speed.precision: made.speed.other},
        "versions": int8.versions(),
    }
