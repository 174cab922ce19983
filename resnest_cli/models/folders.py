"""Folders that `resnest export` and `resnest quantize` wrote: what is in them, and what can be asked of them.

In: a spec whose `exported` is the block of that name in the folder's config. Out: their bytes with one hash, or a
refusal in words. Reads no graph; `engines/foreign.py` does, and `exporting.py` and `quantize.py` write the folders.
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from resnest_cli.errors import BadCheckpoint, ModelError, UsageError
from resnest_cli.models import catalog, weights
from resnest_cli.system import imports

if TYPE_CHECKING:
    from resnest_cli.options import Options
    from resnest_cli.types import ModelSpec

# The format's name -> its files; the first is the one that a runtime opens.
FILES = {
    "onnx": ("model.onnx",),
    "openvino": ("model.xml", "model.bin"),
    "torch": ("model.pt2", "model.safetensors"),
    "int8": ("model.xml", "model.bin"),
}
# A torch program may hold code: its folder has the weights too, and these are run. So has that of an int8 graph, for
# machines and tasks that it is not for.
RUN = ("onnx", "openvino")
INT8 = "int8"


class Content(NamedTuple):
    """The files of an export as they were read: name -> bytes, the one to open first; and one hash of all of them."""

    files: dict[str, bytes]
    sha256: str


def require(to: str) -> None:
    """Refuse to begin a folder of a format whose libraries are missing.

    Raises:
        UsageError: the message names the pip line.
    """
    if to == "onnx":
        imports.require("--to onnx", "onnx", "onnx", "onnxscript", "onnxruntime")
    if to == INT8:
        imports.require("int8", "int8", "nncf")
    if to == "openvino" and find_spec("openvino") is None:
        message = "--to openvino needs openvino: pip install openvino"
        raise UsageError(message)


def is_one(spec: ModelSpec) -> bool:
    """Tell whether the spec is of an export that runs as it is."""
    return spec.folder is not None and spec.exported.get("format") in RUN


def is_int8(spec: ModelSpec) -> bool:
    """Tell whether the spec is of a model folder that has an int8 graph beside its weights."""
    return spec.folder is not None and spec.exported.get("format") == INT8


def fixed(spec: ModelSpec) -> str:
    """Name the first option that asks for another input than that of the export, or nothing."""
    home = catalog.find_model(spec.name).data
    options = {"--img-size": "input_size", "--mean": "mean", "--std": "std"}
    return next((option for option, name in options.items() if getattr(spec.data, name) != getattr(home, name)), "")


def check(spec: ModelSpec, options: Options, why_torch: str, want: str) -> None:
    """Refuse what an export cannot do.

    Raises:
        UsageError: other weights, another input, features, or torch.
    """
    problem = ""
    if options.weights is not None or options.random_weights:
        problem = "it has its weights inside"
    elif option := fixed(spec):
        problem = f"{option} is fixed in it"
    elif want != "logits":
        problem = "it gives classes only, no features"
    elif why_torch:
        problem = f"it runs on OpenVINO, and {why_torch}"
    if problem:
        message = f"{spec.name} is an exported model: {problem}. Use the model that it was made from."
        raise UsageError(message)


def read(spec: ModelSpec) -> Content:
    """Read the files of an export, once: what runs is made of these bytes, whatever becomes of the files.

    Raises:
        ModelError: one is not there, or is not the one that was exported.
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
