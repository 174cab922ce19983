"""What the sections of gpu_check.py share: its options and the report of findings.

In: options of the script. Out: one line per finding on stdout, and all findings in a JSON file.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resnest_cli.options import Options

if TYPE_CHECKING:
    from pathlib import Path

FIRST = "resnest50d"  # the model for which speed targets are set


@dataclass
class Report:
    """Findings by section and name, saved after each finding; `ok` is False once a check failed."""

    path: Path
    about: dict[str, str]
    found: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    ok: bool = True

    def __post_init__(self) -> None:
        """Read earlier findings of the same card and versions."""
        if self.path.exists():
            before = json.loads(self.path.read_text(encoding="utf-8"))
            self.found = before["found"] if before["about"] == self.about else {}

    def add(self, section: str, name: str, **finding: Any) -> None:  # noqa: ANN401 - numbers and words
        """Print and save a finding."""
        self.ok = self.ok and finding.get("ok", True)
        self.found.setdefault(section, {})[name] = finding
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps({"about": self.about, "found": self.found}, indent=1), encoding="utf-8")
        part.replace(self.path)
        print(f"{section}: {name}: {', '.join(f'{key} {_short(value)}' for key, value in finding.items())}", flush=True)


@dataclass
class Check:
    """The options of a run: models, device, precisions, rounds, and the end as a monotonic time."""

    report: Report
    device: str = "cuda"
    models: tuple[str, ...] = (FIRST,)
    precisions: tuple[str, ...] = ("bf16",)
    size: int | None = None
    batches: tuple[int, ...] = (64, 128, 256, 512)
    rounds: int = 5
    seconds: float = 2.0
    candidates: tuple[str, ...] | None = None
    images: str = ""
    files: int = 2000
    end: float = float("inf")

    @property
    def is_late(self) -> bool:
        """Whether the time of the section is over."""
        return time.monotonic() > self.end

    @property
    def on_cuda(self) -> bool:
        """Whether the device is a CUDA device."""
        return self.device.startswith("cuda")

    def options(self, model: str, **changes: Any) -> Options:  # noqa: ANN401 - fields of Options
        """Return the options of a model on this device."""
        return Options(model, **{"device": self.device, "engine": "torch", "img_size": self.size, **changes})


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
