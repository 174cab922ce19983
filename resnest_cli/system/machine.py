"""What this machine has, by the standard library: cores, instruction sets, signs of a GPU.

In: nothing but the machine. Out: numbers and names. Imports no framework, so it finds signs of a GPU only.
"""

from __future__ import annotations

import contextlib
import math
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from resnest_cli.system import files, imports

# Instruction sets that speed up a convolution, as the Linux kernel names them in /proc/cpuinfo.
INSTRUCTION_SETS = (
    *("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"),
    *("asimddp", "bf16", "i8mm", "sve"),
)
INT8 = {"avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm"}  # with dot products of bytes
_CGROUPS = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Return how many cores this process may use, by its affinity and the CPU quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _quota())))


def may_have_accelerator() -> bool:
    """Return whether there is a sign of a device that torch could use; then ask torch."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if sys.platform == "win32":
        return has_nvidia() or _torch_is_for("xpu")
    amd = Path("/dev/kfd").exists() and _torch_is_for("rocm")
    intel = Path("/dev/dri").exists() and _torch_is_for("xpu")
    return has_nvidia() or amd or intel


def has_nvidia() -> bool:
    """Return whether there is a sign of an NVIDIA GPU that this process may use (on Linux and Windows)."""
    if sys.platform == "win32":
        return Path(os.environ.get("SYSTEMROOT", "C:/Windows"), "System32", "nvcuda.dll").exists()
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in {"", "-1"}
    return not hidden and (any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists())


def mention_idle_gpu() -> None:
    """Warn, once in a process, of an NVIDIA GPU that stays idle because torch is not installed."""
    if has_nvidia() and not imports.has_torch():
        files.warn_once(f"the NVIDIA GPU stays idle, as torch is not installed: {imports.PIP_TORCH}")


def return_freed_memory() -> None:
    """Return to the system what memory Python has freed, where the C library would keep it (glibc).

    Measured after the graph of resnest50d was built: 144 MB of 174 MB, all of it arrays that are gone.
    """
    import ctypes  # noqa: PLC0415 - other commands need none

    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def cpu_name() -> str:
    """Return the name of the CPU."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def instruction_sets() -> tuple[str, ...]:
    """Return the `INSTRUCTION_SETS` of this CPU (on Linux; empty on other systems)."""
    flags = set((_cpuinfo("flags") or _cpuinfo("Features")).split())
    return tuple(name for name in INSTRUCTION_SETS if name in flags)


def _quota() -> float:
    """Return how many cores the control groups of this process allow, infinity without a limit."""
    return min((_quota_of(folder) for folder in _groups()), default=math.inf)


def _groups() -> list[Path]:
    """Return the control group (version 2) of this process and its parents."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    own = [_CGROUPS / line.removeprefix("0::/") for line in lines if line.startswith("0::/")]
    return [group for path in own for group in (path, *path.parents) if group.is_relative_to(_CGROUPS)]


def _quota_of(group: Path) -> float:
    try:
        quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
        return math.inf if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return math.inf


def _torch_is_for(kind: str) -> bool:
    """Return whether the installed torch is a build for this kind of device; builds of PyPI are for CUDA."""
    try:
        return kind in version("torch")
    except PackageNotFoundError:
        return False


def _cpuinfo(field: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")
