"""A graph compiled for this CPU, kept beside the graph for the next run.

In: a `Graph`, a precision, streams and cores. Out: OpenVINO's compiled model. Does not run it.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from resnest_cli.engines.base import memory_errors
from resnest_cli.engines.runtime import core, next_to_int8, openvino
from resnest_cli.errors import ModelError
from resnest_cli.models import graphs

if TYPE_CHECKING:
    from resnest_cli.models.graphs import Graph

# OpenVINO's names. fp32 is set explicitly: on a CPU with bf16, OpenVINO's default is bf16.
_PRECISIONS = {"fp32": "f32", "bf16": "bf16"}


def hint(precision: str) -> str:
    """Return OpenVINO's name for a precision; for int8, the precision of the layers that are not quantized."""
    return _PRECISIONS[next_to_int8() if precision == "int8" else precision]


def compile_graph(graph: Graph, precision: str, *, streams: int, cores: int) -> openvino.CompiledModel:
    """Return the graph compiled for so many streams on so many cores, from the cache if it was compiled before.

    Raises:
        ModelError: the graph is damaged.
        MemoryError: there is not enough memory.
    """
    settings = {
        "CACHE_MODE": "OPTIMIZE_SIZE",  # no second copy of the weights; loads as fast
        "INFERENCE_PRECISION_HINT": hint(precision),
        "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT",
        "NUM_STREAMS": str(streams),
        "INFERENCE_NUM_THREADS": cores,
    }
    cpu = zlib.crc32(core().get_property("CPU", "FULL_DEVICE_NAME").encode())
    with graphs.compiling(graph.compiled / f"{precision}-{streams}-of-{cores}-{cpu:08x}") as folder:
        try:
            where = {"CACHE_DIR": str(folder)} if folder else {}
            with memory_errors():
                return core().compile_model(str(graph.path), "CPU", settings | where)
        except RuntimeError as error:
            message = f"{graph.path} cannot be compiled. Make it anew: resnest cache clear."
            raise ModelError(message) from error
