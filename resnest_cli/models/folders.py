"""Model folders: the one writer of their `config.json`, which files each kind holds, and what can be asked of them.

In: a spec; for folders that `resnest export` and `resnest quantize` wrote, its `exported` is the config's block
"export". Out: a config as timm and `config.read` take it; the bytes of an export with one hash; or a refusal. Reads and
writes no graph.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from resnest_cli.errors import BadCheckpoint, ModelError, UsageError
from resnest_cli.models import catalog, weights
from resnest_cli.system import atomic, imports

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resnest_cli.options import Options
    from resnest_cli.types import ModelSpec

CONFIG = "config.json"
INT8 = "int8"
# Format -> files; the first is the one that a runtime opens.
FILES = {
    "onnx": ("model.onnx",),
    "openvino": ("model.xml", "model.bin"),
    "torch": ("model.pt2", "model.safetensors"),
    INT8: ("model.xml", "model.bin"),
}
# Formats whose file runs here. A torch program may hold code: its folder has the weights too, and these run. A folder
# with an int8 graph has its weights too, for machines and tasks that the graph is not for.
RUNNABLE = ("onnx", "openvino")


class Content(NamedTuple):
    """The files of an export as they were read: name -> bytes, the one to open first; and one hash of all of them."""

    files: dict[str, bytes]
    sha256: str


def describe(  # noqa: PLR0913 - the entries of a config
    spec: ModelSpec,
    label_names: Sequence[str],
    *,
    num_features: int,
    wnids: Sequence[str | None] = (),
    description: str = "",
    export: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a config as timm's `save_for_hf` writes it, so that timm's `local-dir:` loads the folder.

    Args:
        spec: the model.
        label_names: the names of its classes, in index order.
        num_features: F of its pooled features.
        wnids: WordNet ids of its classes, if known.
        description: what the weights are, in one line.
        export: the block of `describe_export`, for a folder with a graph.
    """
    stem = "conv1.0" if "deep" in spec.model_args.get("stem_type", "deep") else "conv1"
    pretrained = {**asdict(spec.data), "num_classes": spec.num_classes, "first_conv": stem, "classifier": "fc"}
    return {
        "architecture": spec.architecture,
        "num_classes": spec.num_classes,
        "num_features": num_features,
        "label_names": list(label_names),
        **({"wnids": list(wnids)} if any(wnids) else {}),
        "model_args": {"in_chans": 3, "global_pool": "avg", **spec.model_args, "num_classes": spec.num_classes},
        "pretrained_cfg": pretrained | ({"description": description} if description else {}),
        **({"export": dict(export)} if export else {}),
    }


def describe_export(  # noqa: PLR0913 - the entries of the block
    spec: ModelSpec, to: str, *, raw: bool, weights_sha256: str, param_count: int, versions: Mapping[str, str]
) -> dict[str, Any]:
    """Return the block "export" of a config: format, what goes in and out, what it was made from.

    Args:
        spec: the model.
        to: the format, a key of `FILES`.
        raw: whether it takes pixels uint8 [N, H, W, 3]; if not, normalized images float32 [N, 3, H, W].
        weights_sha256: the hash of the weights, or `weights.RANDOM`.
        param_count: the count of its parameters.
        versions: library -> version.
    """
    channels, height, width = spec.data.input_size
    return {
        "format": to,
        "model": spec.name,
        "input": {
            "name": "pixels" if raw else "images",
            "dtype": "uint8" if raw else "float32",
            "shape": ["batch", height, width, channels] if raw else ["batch", channels, height, width],
            "range": "RGB, 0..255" if raw else "RGB, (pixels / 255 - mean) / std",
        },
        "output": {"name": "logits", "dtype": "float32", "shape": ["batch", spec.num_classes]},
        "weights_sha256": weights_sha256,
        "param_count": param_count,
        "versions": dict(versions),
    }


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write a config into a model folder, atomically.

    Raises:
        OSError: the folder cannot be written.
    """
    atomic.write(folder / CONFIG, (json.dumps(config, indent=1) + "\n").encode())


def require(to: str) -> None:
    """Refuse to begin a folder of a format whose libraries are missing.

    Raises:
        UsageError: the message names the pip line.
    """
    if to == "onnx":
        imports.require("--to onnx", "onnx", *imports.TORCH, "onnx", "onnxscript", "onnxruntime")
    if to == "torch":
        imports.require_torch("--to torch")
    if to == INT8:
        imports.require("int8", "int8", "nncf")
    if to == "openvino" and find_spec("openvino") is None:
        message = "--to openvino needs openvino: pip install openvino"
        raise UsageError(message)


def is_exported(spec: ModelSpec) -> bool:
    """Return whether the spec is of an export whose file runs here."""
    return spec.folder is not None and spec.exported.get("format") in RUNNABLE


def is_int8(spec: ModelSpec) -> bool:
    """Return whether the spec is of a model folder with an int8 graph beside its weights."""
    return spec.folder is not None and spec.exported.get("format") == INT8


def fixed_option(spec: ModelSpec) -> str:
    """Return the first option that asks for another input than the graph's, or ""."""
    home = catalog.find_model(spec.name).data
    options = {"--img-size": "input_size", "--mean": "mean", "--std": "std"}
    return next((option for option, name in options.items() if getattr(spec.data, name) != getattr(home, name)), "")


def check_request(spec: ModelSpec, options: Options, why_torch: str, want: str) -> None:
    """Refuse what an export cannot do. `why_torch` is why torch would have to run it, or "".

    Raises:
        UsageError: other weights, another input, features, or torch.
    """
    problem = ""
    if options.weights is not None or options.random_weights:
        problem = "it has its weights inside"
    elif option := fixed_option(spec):
        problem = f"{option} is fixed in it"
    elif want != "logits":
        problem = "it gives classes only, no features"
    elif why_torch:
        problem = f"it runs on OpenVINO, and {why_torch}"
    if problem:
        message = f"{spec.name} is an exported model: {problem}. Use the model that it was made from."
        raise UsageError(message)


def read_files(spec: ModelSpec) -> Content:
    """Read the files of an export, once: what runs is made of these bytes, even if the files change later.

    Raises:
        ModelError: a file is missing, or is not the one that was exported.
    """
    folder = Path(spec.folder or "")
    known = spec.exported.get("files", {})
    files: dict[str, bytes] = {}
    for name in FILES[spec.exported["format"]]:
        try:
            files[name], digest = weights.read(folder / name)
        except BadCheckpoint:
            digest = ""
        if not digest or digest != known.get(name):
            message = f"{folder / name} is missing, or is not the file that was exported: export it anew."
            raise ModelError(message)
    return Content(files, hashlib.sha256("".join(known[name] for name in files).encode()).hexdigest())
