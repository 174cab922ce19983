"""From a torch program to OpenVINO's files.

In: a program of `torch.export`, or a graph in memory. Out: a graph as .xml with its weights in a .bin beside it. Does
not import torch, and does not know where the files are kept.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from resnest_cli.engines.runtime import openvino

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import torch


def convert(
    program: torch.export.ExportedProgram,
    shape: Sequence[int],
    path: Path,
    *,
    names: tuple[str, str] | None = None,
    metadata: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write a torch program as a graph that takes batches [N, *shape] of any size N.

    Args:
        program: what to convert.
        shape: the shape of one image.
        path: the .xml file to write; the weights are written beside it.
        names: names for the input and the output.
        metadata: texts to keep in the file, under "resnest" in its runtime information.

    Raises:
        OSError: the file cannot be written.
    """
    graph = openvino.convert_model(program)
    graph.reshape([-1, *shape])
    if names:
        graph.inputs[0].node.set_friendly_name(names[0])
        for port, name in zip((graph.inputs[0], graph.outputs[0]), names, strict=True):
            port.set_names({name})
    for key, value in metadata.items():
        graph.set_rt_info(value, ["resnest", key])
    save(graph, path)


def save(graph: openvino.Model, path: Path) -> None:
    """Write a graph to `path`, .xml, and its weights beside it.

    Raises:
        OSError: the file cannot be written.
    """
    try:
        openvino.save_model(graph, str(path), compress_to_fp16=False)
    except RuntimeError as error:
        message = f"{path} cannot be written"
        raise OSError(message) from error
