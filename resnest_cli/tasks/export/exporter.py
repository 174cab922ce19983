"""A model as a folder that runs without this package: ONNX, OpenVINO's own format, or a torch.export program.

In: a model, a format, a folder. Out: the folder, with a config that says what goes in and what
the classes are, and a short program that runs it. The folder appears after the written file has given the right
answers to real pictures, in batches of 1, 3 and 8: those of torch, or of the engine where torch is not installed.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnest_cli.errors import UsageError
from resnest_cli.models import architecture, catalog, folders, labels, weights
from resnest_cli.models.check import check
from resnest_cli.outputs import saving
from resnest_cli.system import atomic, files, imports
from resnest_cli.tasks.export import parity
from resnest_cli.tasks.export.formats import Format, Original
from resnest_cli.tasks.export.snippet import snippet
from resnest_cli.tasks.opened import settled
from resnest_cli.types import EngineFacts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from typing_extensions import Unpack

    from resnest_cli.options import Keywords, Options
    from resnest_cli.tasks.export.parity import Parity
    from resnest_cli.types import ModelSpec

SAMPLES = catalog.DIGITS / "samples"  # twelve real pictures that come with the package
EXAMPLE = "example.py"
FORMATS = ("onnx", "openvino", "torch")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exported:
    """A finished export: its folder, the config in it, and how far it is from the model."""

    folder: Path
    config: dict[str, Any]
    parity: Parity


def export(  # noqa: PLR0913 - each is a choice of the user's
    model: str | Options,
    to: str,
    out: str | PathLike[str],
    *,
    raw_uint8: bool = False,
    overwrite: bool = False,
    pictures: Sequence[str] = (),
    exclude: Sequence[str] = (),
    **changes: Unpack[Keywords],
) -> Exported:
    """Write a model as a new folder that runs elsewhere.

    >>> made = export("resnest50d", "onnx", out="resnest50d-onnx")

    Args:
        model: as for `Classifier`.
        to: the format: "onnx", "openvino" or "torch".
        out: the folder to make; it appears when it is complete.
        raw_uint8: take pixels uint8 [N, H, W, 3] and normalize inside; if not, normalized float32 [N, 3, H, W].
        overwrite: replace the folder if there is one.
        pictures: what to compare on: files, folders, patterns; () is `SAMPLES`.
        exclude: patterns of what to leave out of these folders, see `selection.Rule`.
        **changes: fields of `Options`: weights, labels and preprocessing.

    Raises:
        TypeError: a keyword that is no field of `Options`.
        UsageError: no such format, or what it needs is not installed.
        OutputError: the folder exists, or cannot be written.
        WeightsUnavailable, BadCheckpoint, LabelsError: the model cannot be opened.
        ModelError: the file does not give the model's answers; nothing is kept of it.
    """
    spec, options = settled(model, None, changes)
    check(options)
    folder = Path(out)
    _check(spec, to, folder, overwrite=overwrite)
    path = None if options.random_weights else weights.locate(spec, options.weights)
    original = Original(spec, path, weights.sha256(path) if path else "")
    made = _find(to)
    reference = parity.reference(original)
    config = describe(
        original, options, to, made.packages, raw=raw_uint8, param_count=EngineFacts.of(reference).param_count
    )
    pixels = parity.load(spec, options, pictures or [str(SAMPLES)], exclude)
    with files.as_output_error(folder), atomic.folder(folder) as partial, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries, about each other
        _log.info("writing %s as %s: this takes seconds to minutes", spec.name, to)
        made.write(original, partial, config)
        found = parity.compare(made.load(partial), reference, spec, pixels, raw=raw_uint8)
        parity.check(found, to)
        config["export"]["files"] = {name: weights.sha256(partial / name) for name in folders.FILES[to]}
        config["export"]["parity"] = asdict(found)
        folders.write_config(partial, config)
        (partial / EXAMPLE).write_text(snippet(config), encoding="utf-8")
    return Exported(folder, config, found)


def _find(to: str) -> Format:
    """Return a format by its name. Loads torch for "onnx" and "torch"."""
    if to == "openvino":
        from resnest_cli.tasks.export import to_openvino  # noqa: PLC0415 - the other formats need no openvino

        return Format(to_openvino.write, to_openvino.load, ("openvino",))
    imports.announce("torch")
    from resnest_cli.tasks.export import to_torch  # noqa: PLC0415 - torch: seconds

    return to_torch.FORMATS[to]


def _check(spec: ModelSpec, to: str, folder: Path, *, overwrite: bool) -> None:
    if folders.is_exported(spec):
        message = f"{spec.name} is an exported model: export the model that it was made from."
        raise UsageError(message)
    if to not in FORMATS:
        message = f"--to {to}: use one of {', '.join(FORMATS)}."
        raise UsageError(message)
    if to == "openvino" and (why := architecture.why_timm(spec)):
        message = f"--to openvino: {why}. Use --to onnx."
        raise UsageError(message)
    folders.require(to)
    saving.claim_folder(folder, overwrite=overwrite)


def describe(  # noqa: PLR0913 - the entries of a config
    original: Original, options: Options, to: str, packages: Sequence[str], *, raw: bool, param_count: int
) -> dict[str, Any]:
    """Return the config of a folder with a graph; see `folders.describe` and `folders.describe_export`.

    `packages` are those whose versions decide what the graph is.
    """
    spec = original.spec
    named = labels.load(spec, options.labels)
    block = folders.describe_export(
        spec,
        to,
        raw=raw,
        weights_sha256=original.sha256 or weights.RANDOM,
        param_count=param_count,
        versions={name: version(name) for name in ("resnest-cli", *packages)},
    )
    features = architecture.num_features(spec)
    return folders.describe(spec, named.names, num_features=features, wnids=named.wnids, export=block)
