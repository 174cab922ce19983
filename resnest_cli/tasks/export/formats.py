"""What a format of an export is, and what each of them writes of the model.

In: the config of an export's folder. Out: the metadata of its file. Does not know the formats themselves.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from resnest_cli.types import ModelSpec

    Run = Callable[[NDArray[Any]], NDArray[np.float32]]


class Original(NamedTuple):
    """What is exported: a model, its checkpoint (None: seeded random weights) and the checkpoint's sha256."""

    spec: ModelSpec
    path: Path | None
    sha256: str


class Format(NamedTuple):
    """A format.

    Attributes:
        write: writes a model into a folder, with the metadata of its config.
        load: returns a function that runs the file in a folder: a batch in, logits float32 [N, C] out.
        packages: those whose versions decide what is written.
    """

    write: Callable[[Original, Path, Mapping[str, Any]], None]
    load: Callable[[Path], Run]
    packages: tuple[str, ...]


def metadata(config: Mapping[str, Any]) -> dict[str, str]:
    """Return what the file itself says: name -> JSON."""
    block = config["export"]
    said = {
        "model": block["model"],
        "labels": config["label_names"],
        "wnids": config.get("wnids"),
        "preprocessing": config["pretrained_cfg"],
        "input": block["input"],
        "output": block["output"],
        "weights_sha256": block["weights_sha256"],
        "versions": block["versions"],
    }
    return {key: json.dumps(value) for key, value in said.items()}


def is_raw(config: Mapping[str, Any]) -> bool:
    """Return whether the export takes pixels uint8, and normalizes inside."""
    return bool(config["export"]["input"]["dtype"] == "uint8")


def end_names(config: Mapping[str, Any]) -> tuple[str, str]:
    """Return the names of the input and the output."""
    block = config["export"]
    return block["input"]["name"], block["output"]["name"]
