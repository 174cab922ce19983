"""OpenVINO, imported without its telemetry, and what it says of this CPU.

In: nothing. Out: the module `openvino` for all other modules here, its version, a writer of its files, and the
precisions that the CPU has instructions for. Does not know graphs or engines.
"""

from __future__ import annotations

import os
import threading
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from resnest_cli.errors import DeviceError
from resnest_cli.system import machine
from resnest_cli.system.imports import without

if TYPE_CHECKING:
    from pathlib import Path

# Importing OpenVINO's converter sends telemetry and is a third of the import time. Nothing here converts.
try:
    with without("openvino.tools.ovc"):
        import openvino
except ImportError as error:  # installed, but it does not load: half installed, an old C library, no memory
    words = f"openvino cannot be loaded: {error}. Install it anew (pip install --force-reinstall openvino), or use "
    raise DeviceError(f"{words}--engine torch.") from error

__all__ = ["VERSION", "core", "has_int8", "native_precisions", "next_to_int8", "openvino", "require_native", "save"]
# OpenVINO makes its tables of numpy's types when they are first used. Two threads that do it at the same time wait for
# one another, and hold Python's lock (openvino 2026.4): so it is done here, by the one that imports this module.
openvino.Tensor(np.zeros(1, np.uint8), shared_memory=True).element_type.to_dtype()
_lock = threading.Lock()
VERSION = openvino.__version__.split("-")[0]  # without the build number


def core() -> openvino.Core:
    """Return OpenVINO's core, one for the whole process.

    Each core gives the thread that makes it a stack for signal handlers, and takes it away with itself. Where two end
    in the order in which they began, the stack that is left is gone, and the next signal crashes Python: Ctrl-C,
    SIGTERM or the end of a child (openvino 2026.4). So there is one, which never ends; in a fork another.
    """
    with _lock:
        return _core(os.getpid())


@cache
def _core(process: int) -> openvino.Core:
    del process
    return openvino.Core()


def native_precisions() -> list[str]:
    """Return the number formats that this CPU has instructions for, as OpenVINO names them."""
    known: list[str] = core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return sorted({"FP32", "BF16", "FP16", "INT8"} & set(known))


def has_int8() -> bool:
    """Return whether this CPU has dot products of bytes. OpenVINO claims INT8 for every CPU; without them it is slower.

    Where the system does not list the CPU's instructions, OpenVINO's claim is taken.
    """
    known = machine.instruction_sets()
    return bool(machine.INT8 & set(known)) if known else "INT8" in native_precisions()


def next_to_int8() -> str:
    """Return the fastest precision besides int8: layers that are not quantized compute in it."""
    return "bf16" if "BF16" in native_precisions() else "fp32"


def require_native(precision: str) -> None:
    """Refuse a precision that this CPU would only emulate.

    Raises:
        DeviceError: bf16, without instructions for it.
    """
    if precision == "bf16" and "BF16" not in native_precisions():
        raise DeviceError("--precision bf16: this CPU has no instructions for bf16. Use fp32, or --engine torch.")


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
