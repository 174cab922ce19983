"""What this machine has, and what resnest can use of it. In: nothing. Out: facts by section, each a short text."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from resnest_cli.errors import ResnestError, message_of
from resnest_cli.models import hub, hub_cache, weights
from resnest_cli.system import cache, imports, machine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PACKAGES = (
    *("resnest-cli", "torch", "torchvision", "timm", "openvino", "pillow", "numpy"),
    *("huggingface_hub", "safetensors", "click", "rich"),
)

Section = dict[str, str]


def examine() -> dict[str, Section]:
    """Return the sections versions, cpu, engines, cache and hub. What fails is reported in its place, not raised."""
    return {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "cpu": {
            "name": machine.cpu_name(),
            "usable cores": f"{machine.usable_cores()} of {os.cpu_count()}",
            "instruction sets": ", ".join(machine.instruction_sets()) or "not known here",
        },
        "engines": {"openvino": _report(_openvino), "torch": _report(_torch)},
        "cache": {
            "folder": _report(lambda: _folder(cache.folder())),
            "size": _report(lambda: f"{sum(map(cache.size, cache.items())) / 1e6:.1f} MB"),
            "weights": _report(lambda: _folder(hub_cache.folder())),
            "checkpoints": _report(lambda: _folder(weights.checkpoints())),
        },
        "hub": {"reached": _report(_hub)},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _report(look: Callable[[], str]) -> str:
    """Return what `look` returns, or its error in one line: this command must work on a broken installation."""
    try:
        return look()
    except Exception as error:  # noqa: BLE001
        return f"no: {(message_of(error) or type(error).__name__).splitlines()[0]}"


def _folder(path: Path) -> str:
    """Return a folder's path, and what keeps it from being used."""
    try:
        os.scandir(path).close()
    except FileNotFoundError:
        return f"{path} (not made yet)"
    except OSError as error:
        return f"{path} (cannot be read: {error.strerror})"
    return f"{path}" if os.access(path, os.W_OK) else f"{path} (cannot be written)"


def _openvino() -> str:
    from resnest_cli.engines.runtime import native_precisions  # noqa: PLC0415 - may not be installed

    return f"cpu, native {', '.join(native_precisions())}"


def _torch() -> str:
    if not imports.has_torch():
        return f"not installed: {imports.PIP_TORCH}"
    import timm  # noqa: F401, PLC0415 - does the pair of torch and torchvision fit?

    from resnest_cli.engines.pytorch.engine import devices  # noqa: PLC0415 - seconds

    return ", ".join(devices())


def _hub() -> str:
    begin = time.perf_counter()
    try:
        url = hub.probe("timm/resnest14d.in1k", "config.json")
    except ResnestError as error:
        return f"no: {error.message}"
    return f"{url} answers in {time.perf_counter() - begin:.2f} s"
