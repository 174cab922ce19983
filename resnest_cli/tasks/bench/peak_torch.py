"""The rate of square matrix products in torch, on any of its devices.

In: a device, a precision and a time budget. Out: operations per second.
"""

from __future__ import annotations

import time

import torch

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_PRODUCTS, _LEAST_RUNS = 4, 2  # products in a row, and how often at least


def peak_flops(device: str, precision: str, seconds: float) -> float:
    """Return the rate of the best of several sizes."""
    sizes = (512, 1024, 2048) if device == "cpu" else (2048, 4096, 8192)
    dtype = _DTYPES.get(precision, torch.float32)
    return max(_rate(torch.ones(size, size, device=device, dtype=dtype), seconds / len(sizes)) for size in sizes)


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
    return 2 * len(matrix) ** 3 * _PRODUCTS / min(times)
