"""An export as ONNX or as a program of torch.export. Needs torch.

In: what is exported, and the config of the folder. Out: the file of a format; and a function that runs it on a batch.
"""

from __future__ import annotations

from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save

from resnest_cli.engines.pytorch.network import build
from resnest_cli.engines.pytorch.program import to_program
from resnest_cli.tasks.export.formats import Format, end_names, is_raw, metadata

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from resnest_cli.tasks.export.formats import Original, Run


def _write_onnx(original: Original, folder: Path, config: Mapping[str, Any]) -> None:
    import onnx  # noqa: PLC0415 - of the extra "onnx"

    entry, end = end_names(config)
    network = build(original.spec, original.path, sha256=original.sha256)
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):  # the exporter prints
        converted: Any = torch.onnx.export(
            to_program(network, original.spec, raw=is_raw(config)),
            dynamo=True,
            verbose=False,
            input_names=[entry],
            output_names=[end],
            dynamic_shapes=({0: "batch"},),
        )
    model = converted.model_proto
    onnx.helper.set_model_props(model, metadata(config))
    onnx.save(model, folder / "model.onnx")
    onnx.checker.check_model(str(folder / "model.onnx"), full_check=True)


def _write_torch(original: Original, folder: Path, config: Mapping[str, Any]) -> None:
    network = build(original.spec, original.path, sha256=original.sha256)
    program = to_program(network, original.spec, raw=is_raw(config))
    torch.export.save(program, folder / "model.pt2", extra_files=metadata(config))
    (folder / "model.safetensors").write_bytes(save(network.state_dict(), {"format": "pt"}))


def _load_onnx(folder: Path) -> Run:
    import onnxruntime  # noqa: PLC0415 - of the extra "onnx"

    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    (name,) = (item.name for item in session.get_inputs())
    return lambda batch: np.asarray(session.run(None, {name: batch})[0])


def _load_torch(folder: Path) -> Run:
    module = torch.export.load(folder / "model.pt2").module()  # this process has just written it

    def run(batch: NDArray[Any]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(module(torch.from_numpy(batch)))

    return run


FORMATS = {
    "onnx": Format(_write_onnx, _load_onnx, ("torch", "timm", "onnx", "onnxscript")),
    "torch": Format(_write_torch, _load_torch, ("torch", "timm")),
}
