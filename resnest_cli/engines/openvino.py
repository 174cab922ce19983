"""The OpenVINO engine: a converted graph on the CPU, without torch.

In: a `Graph` from the cache. Out: rows of uint8 batches. Streams, threads and requests are chosen from the cores that
this process may use and from the job: a single batch gets all of them at once (latency), a longer job has one image on
each core (throughput). What OpenVINO compiles is cached beside the graph.
"""

from __future__ import annotations

import time
import zlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from resnest_cli.engines.base import memory_errors
from resnest_cli.errors import DeviceError, ModelError
from resnest_cli.models import graphs
from resnest_cli.system import machine
from resnest_cli.system.imports import without
from resnest_cli.system.machine import usable_cores

# What converts models reports home when it is imported, and is a third of the import: that waits for a conversion.
try:
    with without("openvino.tools.ovc"):
        import openvino
        from openvino import opset13 as ops
except ImportError as error:  # it is there, but the system cannot load it: half installed, an old C library, no memory
    words = f"openvino cannot be loaded: {error}. Install it anew (pip install --force-reinstall openvino), or use "
    raise DeviceError(f"{words}--engine torch.") from error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

    from resnest_cli.models.graphs import Graph
    from resnest_cli.types import ModelSpec

# fp32 is set explicitly: where bf16 is native, OpenVINO takes it by itself.
VERSION = openvino.__version__.split("-")[0]  # without the build it is from
_PRECISIONS = {"fp32": "f32", "bf16": "bf16"}
# Rows and width of the matrix products that measure the hardware: those of 1x1 convolutions, and a square one. Of a
# dozen shapes these came nearest to the limit: the first in fp32, the last in bf16 and int8.
_MATMULS = ((784, 512), (3136, 512), (1024, 1024))
_PRODUCTS, _LEAST_RUNS = 16, 2


def _convert_model(*args: Any, **kwargs: Any) -> openvino.Model:  # noqa: ANN401 - as openvino has it
    with without("openvino_telemetry"):  # it has a stub of its own for this
        from openvino.tools.ovc import convert_model  # noqa: PLC0415 - see above
    openvino.convert_model = convert_model
    return convert_model(*args, **kwargs)


if not hasattr(openvino, "convert_model"):
    openvino.convert_model = _convert_model  # also for others in this process


def convert(
    program: torch.export.ExportedProgram,
    shape: Sequence[int],
    path: Path,
    *,
    names: tuple[str, str] | None = None,
    metadata: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Convert a torch program that takes any number of `shape`; write the graph to `path`, its weights beside it.

    Args:
        program: what to convert.
        shape: that of one image.
        path: where to write, .xml.
        names: what to call its input and its output.
        metadata: what the file is to say, kept under "resnest" in its runtime information.

    Raises:
        OSError: it cannot be written.
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
        OSError: it cannot be written.
    """
    try:
        openvino.save_model(graph, str(path), compress_to_fp16=False)
    except RuntimeError as error:
        message = f"{path} cannot be written"
        raise OSError(message) from error


def runner(path: Path) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Return a function that runs the graph at `path` on a batch, in fp32."""
    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": _PRECISIONS["fp32"]})
    return lambda batch: np.array(compiled(batch)[0])


def native_precisions() -> list[str]:
    """List the number formats that this CPU computes by itself, as OpenVINO names them."""
    known: list[str] = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return sorted({"FP32", "BF16", "FP16", "INT8"} & set(known))


def has_int8() -> bool:
    """Tell whether this CPU adds up products of bytes; OpenVINO says of every CPU that it does, only slower."""
    known = machine.instruction_sets()
    return bool(machine.INT8 & set(known)) if known else "INT8" in native_precisions()


def next_to_int8() -> str:
    """Return the fastest precision that this CPU has besides int8: what layers compute in that are not quantised."""
    return "bf16" if "BF16" in native_precisions() else "fp32"


def require_native(precision: str) -> None:
    """Refuse what this CPU could only imitate.

    Raises:
        DeviceError: bf16, which it does not compute by itself.
    """
    if precision == "bf16" and "BF16" not in native_precisions():
        raise DeviceError("--precision bf16: this CPU computes no bf16 by itself. Use fp32, or --engine torch.")


def _hint(precision: str) -> str:
    return _PRECISIONS[next_to_int8() if precision == "int8" else precision]


def _matmul_flops(rows: int, width: int, precision: str, seconds: float) -> float:
    """Return the operations a second of [rows, width] x [width, width], many times over on every core; the best run.

    The product of several at once is what the hardware can do: a single one that is cut over the cores comes to a third
    of it in fp32.
    """
    entry = ops.parameter([rows, width], np.float32)
    as_stored = _in_bytes if precision == "int8" else lambda values: values
    node, matrix = entry, as_stored(ops.constant(np.eye(width, dtype=np.float32)))
    for _ in range(_PRODUCTS):
        node = ops.matmul(as_stored(node), matrix, transpose_a=False, transpose_b=False)
    cores = usable_cores()
    settings = {
        "INFERENCE_PRECISION_HINT": _hint(precision),
        "NUM_STREAMS": str(cores),
        "INFERENCE_NUM_THREADS": cores,
    }
    compiled = openvino.Core().compile_model(openvino.Model([node], [entry]), "CPU", settings)
    queue = openvino.AsyncInferQueue(compiled, cores)
    values = np.ones((rows, width), np.float32)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < _LEAST_RUNS or time.perf_counter() < end:
        begin = time.perf_counter()
        for _ in range(cores):
            queue.start_async([values])
        queue.wait_all()
        times.append(time.perf_counter() - begin)
    return 2 * rows * width**2 * _PRODUCTS * cores / min(times)


def _in_bytes(values: openvino.Node) -> openvino.Node:
    """Have values stored in one of 255 steps between -1 and 1, as in a quantised graph."""
    low, high = (ops.constant(np.float32(end)) for end in (-1, 1))
    return ops.fake_quantize(values, low, high, low, high, 255)


class _Flight(NamedTuple):
    """A request that runs, and its input, which it shares and which must live until then."""

    request: openvino.InferRequest
    batch: NDArray[np.uint8]


class OpenVinoEngine:
    """An `Engine` on OpenVINO's CPU plugin; see the protocol for what its members mean.

    `graph` is what it runs; `cores` are fewer than this process may use where several engines share a machine.
    """

    name = "openvino"
    device = "cpu"
    best_batch = 1  # more gains nothing on a CPU: the convolutions are large enough, and the streams are many

    def __init__(
        self,
        spec: ModelSpec,
        graph: Graph,
        *,
        precision: str = "fp32",
        reason: str = "asked for",
        cores: int | None = None,
    ) -> None:
        self.spec = spec
        self.precision = precision
        self.reason = reason
        self.graph = graph
        self._cores = cores or usable_cores()
        self._core = openvino.Core()
        self._compiled: dict[int, Future[openvino.CompiledModel]] = {}
        self._background = ThreadPoolExecutor(1)
        self.width: int = graph.facts["width"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the pixels that `run` takes."""
        channels, height, width = self.spec.data.input_size
        return height, width, channels

    @property
    def facts(self) -> dict[str, Any]:
        """What a benchmark records: threads, streams, param_count, native precisions, versions."""
        return {
            "threads": self._cores,
            "streams": self._cores,
            "param_count": self.graph.facts["param_count"],
            "native": native_precisions(),
            "origin": self.graph.facts.get("origin"),
            "versions": {"openvino": VERSION},
        }

    def prepare(self, *, single: bool) -> None:
        """Begin to compile, while images are read: it takes a tenth of a second even from the cache."""
        self._compile(1 if single else self._cores)

    def run(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        """Turn each batch, uint8 [N, H, W, 3], into rows float32 [N, F], in order, with several in flight."""
        batches = iter(batches)
        first = list(islice(batches, 2))
        streams = 1 if len(first) < 2 else self._cores  # noqa: PLR2004 - a second batch makes it a long job
        idle: list[openvino.InferRequest] = []
        flight: deque[_Flight] = deque()
        for batch in chain(first, batches):
            flight.append(self._start(batch, streams, idle))
            if len(flight) > streams:  # one more than can run: the next is ready when a stream gets free
                yield self._finish(flight.popleft(), idle)
        while flight:
            yield self._finish(flight.popleft(), idle)

    def peak_flops(self, seconds: float) -> float:
        """Measure matrix products in OpenVINO, one stream on each core as in a long job; the best of several shapes."""
        return max(_matmul_flops(*shape, self.precision, seconds / len(_MATMULS)) for shape in _MATMULS)

    def close(self) -> None:
        """Let go of what was compiled."""
        self._background.shutdown()
        self._compiled.clear()

    def _start(self, batch: NDArray[np.uint8], streams: int, idle: list[openvino.InferRequest]) -> _Flight:
        request = idle.pop() if idle else self._compile(streams).result().create_infer_request()
        if len(batch):  # OpenVINO refuses an empty one
            with memory_errors():
                request.start_async([batch], share_inputs=True)
        return _Flight(request, batch)

    def _finish(self, flight: _Flight, idle: list[openvino.InferRequest]) -> NDArray[np.float32]:
        idle.append(flight.request)
        if not len(flight.batch):
            return np.empty((0, self.width), np.float32)
        with memory_errors():
            flight.request.wait()
        return np.array(flight.request.get_output_tensor().data)

    def _compile(self, streams: int) -> Future[openvino.CompiledModel]:
        """Have it compiled for a number of streams, unless that was begun before."""
        if streams not in self._compiled:
            self._compiled[streams] = self._background.submit(self._compile_now, streams)
        return self._compiled[streams]

    def _compile_now(self, streams: int) -> openvino.CompiledModel:
        """Compile, or take what an earlier run compiled.

        Raises:
            ModelError: the graph is damaged.
        """
        settings = {
            "CACHE_MODE": "OPTIMIZE_SIZE",  # without a second copy of the weights; loads as fast
            "INFERENCE_PRECISION_HINT": _hint(self.precision),
            "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT",
            "NUM_STREAMS": str(streams),
            "INFERENCE_NUM_THREADS": self._cores,
        }
        cpu = zlib.crc32(self._core.get_property("CPU", "FULL_DEVICE_NAME").encode())
        kept = self.graph.compiled / f"{self.precision}-{streams}-of-{self._cores}-{cpu:08x}"
        with graphs.compiling(kept) as folder:
            try:
                where = {"CACHE_DIR": str(folder)} if folder else {}
                with memory_errors():
                    return self._core.compile_model(str(self.graph.path), "CPU", settings | where)
            except RuntimeError as error:
                message = f"{self.graph.path} cannot be compiled: make it anew after `resnest cache clear`."
                raise ModelError(message) from error
