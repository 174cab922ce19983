"""The rate of matrix products in OpenVINO on the CPU, with one stream per core as in a long job.

In: a precision and a time budget. Out: operations per second.
"""

from __future__ import annotations

import time

import numpy as np

from resnest_cli.engines.compiled import hint
from resnest_cli.engines.runtime import core, openvino
from resnest_cli.system.machine import usable_cores

# Rows and width of the products: those of 1x1 convolutions, and a square one. Of a dozen shapes these came nearest to
# the limit: the first in fp32, the last in bf16 and int8.
_SHAPES = ((784, 512), (3136, 512), (1024, 1024))
_PRODUCTS, _LEAST_RUNS = 16, 2  # products in a row, and how often at least


def peak_flops(precision: str, seconds: float) -> float:
    """Return the rate of the best of several shapes."""
    return max(_rate(*shape, precision, seconds / len(_SHAPES)) for shape in _SHAPES)


def _rate(rows: int, width: int, precision: str, seconds: float) -> float:
    """Return the rate of [rows, width] x [width, width], on every core at once; the best run.

    A single product that is split over the cores reaches a third of this rate in fp32.
    """
    cores = usable_cores()
    settings = {
        "INFERENCE_PRECISION_HINT": hint(precision),
        "NUM_STREAMS": str(cores),
        "INFERENCE_NUM_THREADS": cores,
    }
    compiled = core().compile_model(_products(rows, width, quantized=precision == "int8"), "CPU", settings)
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


def _products(rows: int, width: int, *, quantized: bool) -> openvino.Model:
    """Return a graph of `_PRODUCTS` matrix products, each of the one before it."""
    ops = openvino.opset13
    entry = ops.parameter([rows, width], np.float32)
    stored = _in_bytes if quantized else lambda values: values
    node, matrix = entry, stored(ops.constant(np.eye(width, dtype=np.float32)))
    for _ in range(_PRODUCTS):
        node = ops.matmul(stored(node), matrix, transpose_a=False, transpose_b=False)
    return openvino.Model([node], [entry])


def _in_bytes(values: openvino.Node) -> openvino.Node:
    """Return values rounded to one of 255 steps between -1 and 1, as in a quantized graph."""
    ops = openvino.opset13
    low, high = (ops.constant(np.float32(end)) for end in (-1, 1))
    return ops.fake_quantize(values, low, high, low, high, 255)
