"""The OpenVINO engine: runs a converted graph on the CPU, without torch.

In: a `Graph` from the cache, and batches uint8 [N, H, W, 3]. Out: rows float32 [N, F]. Streams, threads and requests
follow from the cores that this process may use and from the job: a single batch gets all cores at once (latency), a
longer job has one stream per core (throughput). Does not know how a graph is made or where it is kept.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from resnest_cli.engines.base import Fetched, memory_errors
from resnest_cli.engines.compiled import compile_graph, hint
from resnest_cli.engines.runtime import VERSION, core, native_precisions, openvino
from resnest_cli.system.machine import usable_cores
from resnest_cli.types import EngineFacts

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from pathlib import Path

    from numpy.typing import NDArray

    from resnest_cli.models.graphs import Graph
    from resnest_cli.types import ModelSpec


def runner(path: Path) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Return a function that runs the graph at `path` on a batch, in fp32."""
    compiled = core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": hint("fp32")})
    return lambda batch: np.array(compiled(batch)[0])


class OpenVinoEngine:
    """An `Engine` on OpenVINO's CPU plugin; see the protocol for its members.

    Args:
        spec: the model.
        graph: what to run.
        precision: "fp32", "bf16" or "int8".
        reason: why this engine was chosen.
        cores: fewer than this process may use, where several engines share a machine.
    """

    name = "openvino"
    device = "cpu"
    best_batch = 1  # larger batches gain nothing on a CPU: convolutions are large enough, and streams run side by side

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
        self._streams = 1
        self.width: int = graph.facts["width"]
        self._of_forks: list[object] = []
        self._begin()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the pixels that `submit` takes."""
        channels, height, width = self.spec.data.input_size
        return height, width, channels

    @property
    def facts(self) -> EngineFacts:
        """What is known of it."""
        return EngineFacts(
            threads=self._cores,
            streams=self._cores,
            param_count=self.graph.facts["param_count"],
            versions={"openvino": VERSION},
            origin=self.graph.facts.get("origin"),
            native=native_precisions(),
        )

    def prepare(self, *, single: bool) -> None:
        """Begin to compile while images are read: it takes a tenth of a second even from the cache."""
        self._check_fork()
        self._streams = 1 if single else self._cores
        self._compile(self._streams)

    @property
    def slots(self) -> int:
        """One batch per stream of a long job, and one that is ready when a stream gets free."""
        return self._cores + 1

    def submit(self, batch: NDArray[np.uint8]) -> Future[NDArray[np.float32]]:
        """Begin a batch, uint8 [N, H, W, 3]; return a future of its rows, float32 [N, F]."""
        self._check_fork()
        if not len(batch):  # OpenVINO refuses an empty one
            return Fetched(lambda: np.empty((0, self.width), np.float32))
        streams = self._streams
        idle = self._idle.setdefault(streams, deque())
        try:
            request = idle.pop()
        except IndexError:
            request = self._compile(streams).result().create_infer_request()
        with memory_errors():
            request.start_async([batch], share_inputs=True)
        return Fetched(partial(self._rows, request, batch, idle))

    def close(self) -> None:
        """Release what was compiled."""
        self._background.shutdown()
        self._idle.clear()
        self._compiled.clear()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._background = ThreadPoolExecutor(1)
        self._compiled: dict[int, Future[openvino.CompiledModel]] = {}
        self._idle: dict[int, deque[openvino.InferRequest]] = {}

    def _check_fork(self) -> None:
        """Compile anew in a fork: the threads of what was compiled before are not there, and a request would hang."""
        if self._process != os.getpid():
            # Kept for good: the end of what was compiled would wait for its threads.
            self._of_forks += [self._compiled, self._idle, self._background]
            self._begin()

    def _rows(
        self,
        request: openvino.InferRequest,
        batch: NDArray[np.uint8],  # noqa: ARG002 - the request shares it: it must live until the request ends
        idle: deque[openvino.InferRequest],
    ) -> NDArray[np.float32]:
        try:
            with memory_errors():
                request.wait()
            return np.array(request.get_output_tensor().data)
        finally:
            idle.append(request)

    def _compile(self, streams: int) -> Future[openvino.CompiledModel]:
        """Begin to compile for a number of streams, unless that was begun before."""
        with self._lock:
            if streams not in self._compiled:
                self._compiled[streams] = self._background.submit(
                    compile_graph, self.graph, self.precision, streams=streams, cores=self._cores
                )
            return self._compiled[streams]
