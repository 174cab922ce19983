"""A model as a folder that runs elsewhere: ONNX, OpenVINO's own format, or a torch.export program.

In: the options that name a model, a format, a folder. Out: the folder, with a config that says what goes in and what
the classes are, and a short program that runs it without this package. It gets its name when the file that was written
has given torch's answers to real pictures, in batches of 1, 3 and 8.
"""

from __future__ import annotations

import copy
import json
import logging
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from importlib.metadata import version
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np
import timm
import torch

from resnest_cli.engines.pixels import PixelEngine
from resnest_cli.engines.pytorch.network import build, origin, to_program, ungroup
from resnest_cli.errors import ModelError, UsageError
from resnest_cli.inputs.find import find_sources
from resnest_cli.models import catalog, folders, labels, weights
from resnest_cli.models.weights import RANDOM
from resnest_cli.outputs import saving
from resnest_cli.pipeline.trunk import Trunk
from resnest_cli.system import atomic, files
from resnest_cli.tasks.export.snippet import snippet
from resnest_cli.tasks.predict import softmax
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from resnest_cli.options import Options
    from resnest_cli.types import ModelSpec

    Runner = Callable[[NDArray[Any]], NDArray[np.float32]]

BATCHES = (8, 3, 1)
TOLERANCE = 1e-4  # of probabilities, and of logits as a share of the largest
SAMPLES = catalog.DIGITS / "samples"  # twelve real pictures that are always at hand
EXAMPLE = "example.py"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parity:
    """How far the written file is from torch, at most: on how many images, in logits and probabilities."""

    images: int
    batches: tuple[int, ...]
    max_logit: float
    max_logit_difference: float
    max_probability_difference: float
    same_class: int


@dataclass(frozen=True)
class Exported:
    """A finished export: its folder, the config in it, and a program that runs it."""

    folder: Path
    config: dict[str, Any]
    parity: Parity
    snippet: str


def export(  # noqa: PLR0913 - each is a choice of the user's
    options: Options,
    to: str,
    folder: Path,
    *,
    raw_uint8: bool = False,
    overwrite: bool = False,
    pictures: Sequence[str] = (str(SAMPLES),),
    exclude: Sequence[str] = (),
) -> Exported:
    """Export the model that `options` name as "onnx", "openvino" or "torch" into a new `folder`.

    Args:
        options: the model, its weights, labels and preprocessing.
        to: the format.
        folder: what to make; it appears when it is complete.
        raw_uint8: take pixels uint8 [N, H, W, 3] and normalise inside; if not, normalised float32 [N, 3, H, W].
        overwrite: replace the folder if there is one.
        pictures: what to compare with torch on: files, folders, patterns.
        exclude: patterns of what to leave out of these folders, see `photographs.Rule`.

    Raises:
        UsageError: no such format, or what it needs is not installed.
        OutputError: the folder is there, or cannot be written.
        WeightsUnavailable, BadCheckpoint, LabelsError: the model cannot be opened.
        ModelError: the file does not give torch's answers; nothing is left of it.
    """
    spec = catalog.resolve(options)
    _check(spec, to, folder, overwrite=overwrite)
    path = None if options.random_weights else weights.locate(spec, options.weights)
    network = build(spec, path)
    config = describe(spec, options, network, to, raw=raw_uint8)
    pixels = _pixels(spec, options, pictures, exclude)
    with files.as_output_error(folder), atomic.folder(folder) as partial, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries, about each other
        _log.info("writing %s as %s: this takes seconds to minutes", spec.name, to)
        _WRITERS[to](network, spec, partial, config, raw_uint8)
        parity = _compare(_RUNNERS[to](partial), network, spec, pixels, raw=raw_uint8)
        _judge(parity, to)
        config["export"]["files"] = {name: weights.sha256(partial / name) for name in folders.FILES[to]}
        config["export"]["parity"] = asdict(parity)
        text = snippet(config)
        (partial / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
        (partial / EXAMPLE).write_text(text, encoding="utf-8")
    return Exported(folder, config, parity, text)


def _check(spec: ModelSpec, to: str, folder: Path, *, overwrite: bool) -> None:
    if folders.is_exported(spec):
        message = f"{spec.name} is an exported model: export the model that it was made from."
        raise UsageError(message)
    if to not in _WRITERS:
        message = f"--to {to}: use one of {', '.join(_WRITERS)}."
        raise UsageError(message)
    folders.require(to)
    saving.claim_folder(folder, overwrite=overwrite)


def describe(spec: ModelSpec, options: Options, network: nn.Module, to: str, *, raw: bool) -> dict[str, Any]:
    """Describe the export as timm's config.json describes a model, with a block of its own for what goes in and out."""
    named = labels.load(spec, options.labels)
    channels, height, width = spec.data.input_size
    shape = ["batch", height, width, channels] if raw else ["batch", channels, height, width]
    return {
        "architecture": spec.architecture,
        "num_classes": spec.num_classes,
        "num_features": network.num_features,
        "label_names": named.names,
        "wnids": named.wnids if any(named.wnids) else None,
        "model_args": dict(spec.model_args),
        "pretrained_cfg": {**asdict(spec.data), "num_classes": spec.num_classes},
        "export": {
            "format": to,
            "model": spec.name,
            "input": {
                "name": "pixels" if raw else "images",
                "dtype": "uint8" if raw else "float32",
                "shape": shape,
                "range": "RGB, 0..255" if raw else "RGB, (pixels / 255 - mean) / std",
            },
            "output": {"name": "logits", "dtype": "float32", "shape": ["batch", spec.num_classes]},
            "weights_sha256": origin(network) or RANDOM,
            "param_count": sum(parameter.numel() for parameter in network.parameters()),
            "versions": {
                "resnest-cli": version("resnest-cli"),
                "torch": torch.__version__,
                "timm": timm.__version__,
                **{name: version(name) for name in ("onnx", "onnxscript") if to == "onnx"},
                **({"openvino": version("openvino")} if to == "openvino" else {}),
            },
        },
    }


def _metadata(config: dict[str, Any]) -> dict[str, str]:
    """Return what the file itself says: each value is JSON."""
    block = config["export"]
    said = {
        "model": block["model"],
        "labels": config["label_names"],
        "wnids": config["wnids"],
        "preprocessing": config["pretrained_cfg"],
        "input": block["input"],
        "output": block["output"],
        "weights_sha256": block["weights_sha256"],
        "versions": block["versions"],
    }
    return {key: json.dumps(value) for key, value in said.items()}


def _write_onnx(network: nn.Module, spec: ModelSpec, folder: Path, config: dict[str, Any], raw: bool) -> None:  # noqa: FBT001 - one signature for all
    import onnx  # noqa: PLC0415 - of the extra "onnx"

    block = config["export"]
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):  # the exporter talks
        converted: Any = torch.onnx.export(
            to_program(network, spec, raw=raw),
            dynamo=True,
            verbose=False,
            input_names=[block["input"]["name"]],
            output_names=[block["output"]["name"]],
            dynamic_shapes=({0: "batch"},),
        )
    model = converted.model_proto
    onnx.helper.set_model_props(model, _metadata(config))
    onnx.save(model, folder / "model.onnx")
    onnx.checker.check_model(str(folder / "model.onnx"), full_check=True)


def _write_openvino(network: nn.Module, spec: ModelSpec, folder: Path, config: dict[str, Any], raw: bool) -> None:  # noqa: FBT001 - one signature for all
    from resnest_cli.engines.convert import convert  # noqa: PLC0415 - the others run without it

    block = config["export"]
    names = (block["input"]["name"], block["output"]["name"])
    program = to_program(ungroup(copy.deepcopy(network)), spec, raw=raw)  # the plain one is what it is compared with
    convert(program, block["input"]["shape"][1:], folder / "model.xml", names=names, metadata=_metadata(config))


def _write_torch(network: nn.Module, spec: ModelSpec, folder: Path, config: dict[str, Any], raw: bool) -> None:  # noqa: FBT001 - one signature for all
    from safetensors.torch import save  # noqa: PLC0415 - here only

    torch.export.save(to_program(network, spec, raw=raw), folder / "model.pt2", extra_files=_metadata(config))
    (folder / "model.safetensors").write_bytes(save(network.state_dict(), {"format": "pt"}))


def _run_onnx(folder: Path) -> Runner:
    import onnxruntime  # noqa: PLC0415 - of the extra "onnx"

    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    (name,) = (item.name for item in session.get_inputs())
    return lambda batch: np.asarray(session.run(None, {name: batch})[0])


def _run_openvino(folder: Path) -> Runner:
    from resnest_cli.engines.openvino import runner  # noqa: PLC0415 - the others run without it

    return runner(folder / "model.xml")


def _run_torch(folder: Path) -> Runner:
    module = torch.export.load(folder / "model.pt2").module()  # what was written just now

    def run(batch: NDArray[Any]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(module(torch.from_numpy(batch)))

    return run


_WRITERS = {"onnx": _write_onnx, "openvino": _write_openvino, "torch": _write_torch}
_RUNNERS = {"onnx": _run_onnx, "openvino": _run_openvino, "torch": _run_torch}


def _pixels(spec: ModelSpec, options: Options, pictures: Iterable[str], exclude: Sequence[str]) -> NDArray[np.uint8]:
    """Load the pictures to compare on, uint8 [N, H, W, 3].

    Raises:
        UsageError: one of them cannot be read.
    """
    engine = PixelEngine(spec)
    found = []
    for row in Trunk(spec, options, engine=engine).rows(find_sources(pictures, exclude=exclude)):
        if isinstance(row, Failure):
            message = f"--pictures {row.path}: {row.message}"
            raise UsageError(message)
        found.append(engine.picture(row.values))
    return np.stack(found)


def _compare(run: Runner, network: nn.Module, spec: ModelSpec, pixels: NDArray[np.uint8], *, raw: bool) -> Parity:
    """Run all pictures through the file, in batches of several sizes in turn, and through eager torch."""
    mean, std = (np.array(values, np.float32) for values in (spec.data.mean, spec.data.std))
    images = ((pixels / np.float32(255) - mean) / std).astype(np.float32).transpose(0, 3, 1, 2)
    given = pixels if raw else np.ascontiguousarray(images)
    sizes = _sizes(len(pixels))
    ends = np.cumsum(sizes)
    found = np.concatenate([run(given[end - size : end]) for end, size in zip(ends, sizes, strict=True)])
    with torch.inference_mode():
        expected = np.concatenate([network(torch.from_numpy(image[None].copy())).numpy() for image in images])
    probabilities = [np.stack([softmax(row) for row in rows]) for rows in (found, expected)]
    return Parity(
        images=len(pixels),
        batches=tuple(sizes),
        max_logit=float(np.abs(expected).max()),
        max_logit_difference=float(np.abs(found - expected).max()),
        max_probability_difference=float(np.abs(probabilities[0] - probabilities[1]).max()),
        same_class=int((found.argmax(axis=1) == expected.argmax(axis=1)).sum()),
    )


def _sizes(count: int) -> list[int]:
    """Cut `count` pictures into batches of 8, 3 and 1 in turn."""
    sizes: list[int] = []
    while count:
        sizes.append(min(BATCHES[len(sizes) % len(BATCHES)], count))
        count -= sizes[-1]
    return sizes


def _judge(parity: Parity, to: str) -> None:
    """Refuse a file that answers otherwise than torch, a NaN included.

    Raises:
        ModelError: it is too far off.
    """
    logits = parity.max_logit_difference / max(1.0, parity.max_logit)
    if not (logits <= TOLERANCE and parity.max_probability_difference <= TOLERANCE):
        message = (
            f"the {to} file does not give torch's answers: logits differ by {parity.max_logit_difference:.1e}, "
            f"probabilities by {parity.max_probability_difference:.1e} (allowed: {TOLERANCE}). Nothing was kept; try "
            f"another format, or other versions of the libraries."
        )
        raise ModelError(message)
