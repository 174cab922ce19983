"""A model as a folder that runs without this package: ONNX, OpenVINO's own format, or a torch.export program.

In: the options that name a model, a format, a folder. Out: the folder, with a config that says what goes in and what
the classes are, and a short program that runs it. The folder appears after the written file has given torch's answers
to real pictures, in batches of 1, 3 and 8.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import timm
import torch

from resnest_cli.engines.pytorch.network import build, origin
from resnest_cli.errors import UsageError
from resnest_cli.models import catalog, folders, labels, weights
from resnest_cli.outputs import saving
from resnest_cli.system import atomic, files
from resnest_cli.tasks.export import parity
from resnest_cli.tasks.export.formats import FORMATS
from resnest_cli.tasks.export.snippet import snippet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import nn

    from resnest_cli.options import Options
    from resnest_cli.tasks.export.parity import Parity
    from resnest_cli.types import ModelSpec

SAMPLES = catalog.DIGITS / "samples"  # twelve real pictures that come with the package
EXAMPLE = "example.py"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exported:
    """A finished export: its folder, the config in it, how far it is from torch, and a program that runs it."""

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
        raw_uint8: take pixels uint8 [N, H, W, 3] and normalize inside; if not, normalized float32 [N, 3, H, W].
        overwrite: replace the folder if there is one.
        pictures: what to compare with torch on: files, folders, patterns.
        exclude: patterns of what to leave out of these folders, see `selection.Rule`.

    Raises:
        UsageError: no such format, or what it needs is not installed.
        OutputError: the folder exists, or cannot be written.
        WeightsUnavailable, BadCheckpoint, LabelsError: the model cannot be opened.
        ModelError: the file does not give torch's answers; nothing is kept of it.
    """
    spec = catalog.resolve(options)
    _check(spec, to, folder, overwrite=overwrite)
    path = None if options.random_weights else weights.locate(spec, options.weights)
    network = build(spec, path)
    config = describe(spec, options, network, to, raw=raw_uint8)
    pixels = parity.load(spec, options, pictures, exclude)
    with files.as_output_error(folder), atomic.folder(folder) as partial, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries, about each other
        _log.info("writing %s as %s: this takes seconds to minutes", spec.name, to)
        FORMATS[to].write(network, spec, partial, config)
        found = parity.compare(FORMATS[to].load(partial), network, spec, pixels, raw=raw_uint8)
        parity.check(found, to)
        config["export"]["files"] = {name: weights.sha256(partial / name) for name in folders.FILES[to]}
        config["export"]["parity"] = asdict(found)
        text = snippet(config)
        folders.write_config(partial, config)
        (partial / EXAMPLE).write_text(text, encoding="utf-8")
    return Exported(folder, config, found, text)


def _check(spec: ModelSpec, to: str, folder: Path, *, overwrite: bool) -> None:
    if folders.is_exported(spec):
        message = f"{spec.name} is an exported model: export the model that it was made from."
        raise UsageError(message)
    if to not in FORMATS:
        message = f"--to {to}: use one of {', '.join(FORMATS)}."
        raise UsageError(message)
    folders.require(to)
    saving.claim_folder(folder, overwrite=overwrite)


def describe(spec: ModelSpec, options: Options, network: nn.Module, to: str, *, raw: bool) -> dict[str, Any]:
    """Return the config of a folder with a graph of `network`; see `folders.describe` and `folders.describe_export`."""
    named = labels.load(spec, options.labels)
    packages = FORMATS[to].packages if to in FORMATS else ()
    block = folders.describe_export(
        spec,
        to,
        raw=raw,
        weights_sha256=origin(network) or weights.RANDOM,
        param_count=sum(parameter.numel() for parameter in network.parameters()),
        versions={
            "resnest-cli": version("resnest-cli"),
            "torch": torch.__version__,
            "timm": timm.__version__,
            **{name: version(name) for name in packages},
        },
    )
    features: Any = network.num_features
    return folders.describe(spec, named.names, num_features=features, wnids=named.wnids, export=block)
