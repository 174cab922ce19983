"""The formats of an export: how a network becomes a file, and how that file runs.

In: a network, its spec and the config of the folder. Out: the file of a format; and a function that runs it on a batch.
Does not know whether the answers are right.
"""

from __future__ import annotations

import copy
import json
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from resnest_cli.engines.pytorch.program import to_program, ungroup

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from resnest_cli.types import ModelSpec

    Run = Callable[[NDArray[Any]], NDArray[np.float32]]


class Format(NamedTuple):
    """A format.

    Attributes:
        write: writes a network into a folder, with the metadata of its config.
        load: returns a function that runs the file in a folder: a batch in, logits float32 [N, C] out.
        packages: those whose versions decide what is written, beside torch and timm.
    """

    write: Callable[[nn.Module, ModelSpec, Path, Mapping[str, Any]], None]
    load: Callable[[Path], Run]
    packages: tuple[str, ...] = ()


def _metadata(config: Mapping[str, Any]) -> dict[str, str]:
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


def _is_raw(config: Mapping[str, Any]) -> bool:
    """Return whether the export takes pixels uint8, and normalizes inside."""
    return bool(config["export"]["input"]["dtype"] == "uint8")


def _names(config: Mapping[str, Any]) -> tuple[str, str]:
    block = config["export"]
    return block["input"]["name"], block["output"]["name"]


def _write_onnx(network: nn.Module, spec: ModelSpec, folder: Path, config: Mapping[str, Any]) -> None:
    import onnx  # noqa: PLC0415 - of the extra "onnx"

    entry, end = _names(config)
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):  # the exporter prints
        converted: Any = torch.onnx.export(
            to_program(network, spec, raw=_is_raw(config)),
            dynamo=True,
            verbose=False,
            input_names=[entry],
            output_names=[end],
            dynamic_shapes=({0: "batch"},),
        )
    model = converted.model_proto
    onnx.helper.set_model_props(model, _metadata(config))
    onnx.save(model, folder / "model.onnx")
    onnx.checker.check_model(str(folder / "model.onnx"), full_check=True)


def _write_openvino(network: nn.Module, spec: ModelSpec, folder: Path, config: Mapping[str, Any]) -> None:
    from resnest_cli.engines.convert import convert  # noqa: PLC0415 - the other formats need no openvino

    # `ungroup` changes the network, and the file is compared with the unchanged one.
    program = to_program(ungroup(copy.deepcopy(network)), spec, raw=_is_raw(config))
    shape = config["export"]["input"]["shape"][1:]
    convert(program, shape, folder / "model.xml", names=_names(config), metadata=_metadata(config))


def _write_torch(network: nn.Module, spec: ModelSpec, folder: Path, config: Mapping[str, Any]) -> None:
    from safetensors.torch import save  # noqa: PLC0415 - here only

    program = to_program(network, spec, raw=_is_raw(config))
    torch.export.save(program, folder / "model.pt2", extra_files=_metadata(config))
    (folder / "model.safetensors").write_bytes(save(network.state_dict(), {"format": "pt"}))


def _load_onnx(folder: Path) -> Run:
    import onnxruntime  # noqa: PLC0415 - of the extra "onnx"

    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    (name,) = (item.name for item in session.get_inputs())
    return lambda batch: np.asarray(session.run(None, {name: batch})[0])


def _load_openvino(folder: Path) -> Run:
    from resnest_cli.engines.openvino import runner  # noqa: PLC0415 - the other formats need no openvino

    return runner(folder / "model.xml")


def _load_torch(folder: Path) -> Run:
    module = torch.export.load(folder / "model.pt2").module()  # this process has just written it

    def run(batch: NDArray[Any]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(module(torch.from_numpy(batch)))

    return run


FORMATS = {
    "onnx": Format(_write_onnx, _load_onnx, ("onnx", "onnxscript")),
    "openvino": Format(_write_openvino, _load_openvino, ("openvino",)),
    "torch": Format(_write_torch, _load_torch),
}
