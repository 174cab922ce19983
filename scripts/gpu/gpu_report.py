"""What the sections of gpu_check.py share: what is asked for, and the report of findings.

In: options of the script. Out: a line per finding, and all of them in a JSON file.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resnest_cli.options import Options

if TYPE_CHECKING:
    from pathlib import Path

FIRST = "resnest50d"  # the model that the targets are set for


@dataclass
class Report:
    """Findings by section and name, written to a file after each; `ok` is false once a finding is wrong."""

    path: Path
    about: dict[str, str]
    found: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    ok: bool = True

    def __post_init__(self) -> None:
        """Read what was found before on this card, with these versions."""
        if self.path.exists():
            before = json.loads(self.path.read_text(encoding="utf-8"))
            self.found = before["found"] if before["about"] == self.about else {}

    def add(self, section: str, name: str, **finding: Any) -> None:  # noqa: ANN401 - numbers and words
        """Print and keep a finding."""
        self.ok = self.ok and finding.get("ok", True)
        self.found.setdefault(section, {})[name] = finding
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps({"about": self.about, "found": self.found}, indent=1), encoding="utf-8")
        part.replace(self.path)
        print(f"{section}: {name}: {', '.join(f'{key} {_short(value)}' for key, value in finding.items())}", flush=True)


@dataclass
class Check:
    """What is measured, how, and until when."""

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
        """Whether there is no time left for another measurement."""
        return time.monotonic() > self.end

    @property
    def on_cuda(self) -> bool:
        """Whether there is a card."""
        return self.device.startswith("cuda")

    def options(self, model: str, **changes: Any) -> Options:  # noqa: ANN401 - fields of Options
        """Return how a model is run."""
        return Options(model, **{"device": self.device, "engine": "torch", "img_size": self.size, **changes})


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
