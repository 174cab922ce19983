"""Which file holds a model's weights. In: a spec and the user's choice. Out: a path, or the ways to get one.

Does not open the file; `network` does, so that an engine with a converted graph needs no torch to get here.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from resnest_cli import hub
from resnest_cli.errors import BadCheckpoint, WeightsUnavailable

if TYPE_CHECKING:
    from os import PathLike

    from resnest_cli.types import ModelSpec

_SHA256 = re.compile("[0-9a-f]{64}")
FILENAMES = ("model.safetensors", "pytorch_model.bin")


def is_cached(spec: ModelSpec) -> bool:
    """Tell whether the weights can be had without a request."""
    return spec.folder is not None or hub.cached(spec.repo, FILENAMES[0]) is not None


def locate(spec: ModelSpec, chosen: str | PathLike[str] | None = None) -> Path:
    """Give the weights file of `spec`: the chosen one, its folder's, the cached one, or a fresh download.

    Raises:
        BadCheckpoint: the chosen file, or the one that should be in the model folder, is not there.
        WeightsUnavailable: not cached and not to be downloaded; the message names the ways out.
    """
    if chosen is not None:
        path = Path(chosen)
        if not path.is_file():
            message = f"--weights {path}: no such file."
            raise BadCheckpoint(message)
        return path
    if spec.folder is not None:
        return _in_folder(spec.folder)
    try:
        return hub.fetch(spec.repo, FILENAMES[0])
    except WeightsUnavailable as error:
        raise WeightsUnavailable(_ways_out(spec, error)) from error


def sha256(path: Path) -> str:
    """Give the hash of a file's content, which names it whatever it is called.

    Raises:
        BadCheckpoint: it cannot be read.
    """
    real = path.resolve()
    if real.parent.name == "blobs" and _SHA256.fullmatch(real.name):
        return real.name  # the Hugging Face cache names its large files by their hash
    digest = hashlib.sha256()
    try:
        with real.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}."
        raise BadCheckpoint(message) from error
    return digest.hexdigest()


def _in_folder(folder: Path) -> Path:
    for name in FILENAMES:
        if (folder / name).is_file():
            return folder / name
    message = f"{folder} has no weights: expected {' or '.join(FILENAMES)} beside its config.json."
    raise BadCheckpoint(message)


def _ways_out(spec: ModelSpec, error: WeightsUnavailable) -> str:
    return (
        f"no weights for {spec.name}: {error}\n"
        "Three ways out:\n"
        f"  download elsewhere   hf download {spec.repo} {FILENAMES[0]}\n"
        "                       and copy that machine's Hugging Face cache here (or point HF_HOME at it)\n"
        f"  use a file you have  --model {spec.architecture} --weights FILE.safetensors\n"
        "  try things offline   --model digits"
    )
