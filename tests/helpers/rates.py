"""Replace the measurements of `resnest bench` by fixed ones, the same for each configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from resnest_cli.tasks.bench import sweep

if TYPE_CHECKING:
    from resnest_cli import Options

MEASURED: dict[str, Any] = {
    "device": "cpu",
    "threads": 2,
    "samples_per_sec": 123.4,
    "stream_batches": 6,
    "step_time_ms": {"min": 7.0, "p50": 8.0, "p90": 9.0, "p99": 9.5, "max": 10.0, "mean": 8.1},
    "steps": 5,
    "warmup_steps": 1,
    "load_time_s": 0.25,
    "first_result_s": 0.5,
    "peak_memory_mb": 150.0,
    "peak_flops": 4e11,
    "param_count": 250_000,
    "versions": {"openvino": "2026.1"},
}
# The command in a process of its own.
PROGRAM = f"""
import sys
sys.path.append({str(Path(__file__).parent)!r})
import rates
rates.stand_in()
from resnest_cli.cli import main
main()
"""


def stand_in() -> None:
    """Replace the measurements in this process."""
    sweep._prepare = lambda *_: None  # noqa: SLF001 - what has no name outside
    sweep._measure = _measured  # noqa: SLF001 - as above


def _measured(options: Options, *_: object, **__: object) -> dict[str, Any]:
    engine = "openvino" if options.engine == "auto" else options.engine
    precision = "fp32" if options.precision == "auto" else options.precision
    batch = 1 if options.batch == "auto" else options.batch
    return {**MEASURED, "engine": engine, "precision": precision, "batch": batch}


@pytest.fixture
def _rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the measurements during a test."""
    monkeypatch.setattr(sweep, "_prepare", sweep._prepare)  # noqa: SLF001 - to have it back
    monkeypatch.setattr(sweep, "_measure", sweep._measure)  # noqa: SLF001 - as above
    stand_in()
