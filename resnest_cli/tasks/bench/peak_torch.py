"""The rate of square matrix products in torch, on any of its devices.

In: a device, a precision and a time budget. Out: operations per second.
"""

from __future__ import annotations

import time

import torch

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_PRODUCTS, _LEAST_RUNS = 4, 2  # products in a row, and how often at least
_PATIENCE_S = 20.0  # a CPU without instructions for bf16 or fp16 would take minutes for the largest product


def peak_flops(device: str, precision: str, seconds: float) -> float:
    """Return the rate of the best of several sizes, those that do not take too long."""
    sizes = (512, 1024, 2048) if device == "cpu" else (2048, 4096, 8192)
    dtype, best = _DTYPES.get(precision, torch.float32), 0.0
    for size in sizes:
        if best and _operations(size) * _LEAST_RUNS / best > _PATIENCE_S:
            break
        best = max(best, _rate(torch.ones(size, size, device=device, dtype=dtype), seconds / len(sizes)))
    return best


def _operations(size: int) -> int:
    return 2 * size**3 * _PRODUCTS


def _rate(matrix: torch.Tensor, seconds: float) -> float:
    """Return the rate of products of a square matrix with itself; the best run."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < _LEAST_RUNS or time.perf_counter() < end:
        begin = time.perf_counter()
        product = matrix
        for _ in range(_PRODUCTS):
            product = matrix @ matrix
        product[0, 0].item()  # waits for the device
        times.append(time.perf_counter() - begin)
    return _operations(len(matrix)) / min(times)
