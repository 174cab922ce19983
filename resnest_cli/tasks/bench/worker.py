"""One configuration in a process of its own: its memory is measured alone, and its crash ends nothing else.

In: a line of JSON on standard input, {"options": ..., "seconds": ..., "images": ..., "engine": "" or "timm"}; then
lines with a command: "prepare", "measure" or "turn SECONDS". Out: a line of JSON per command, {"ok": ...}
or {"error": {"type", "message"}}. `sweep` talks to it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnest_cli.engines import window
from resnest_cli.engines.base import batch_size, is_out_of_memory
from resnest_cli.engines.choose import open_engine
from resnest_cli.errors import ResnestError
from resnest_cli.models import catalog
from resnest_cli.options import Options
from resnest_cli.tasks.bench import measure
from resnest_cli.tasks.bench.peak import peak_flops
from resnest_cli.types import EngineFacts

if TYPE_CHECKING:
    from collections.abc import Callable

    from resnest_cli.engines.base import Engine

PLAIN_TIMM = "timm"


class Job:
    """The configuration of the first line of standard input, opened."""

    def __init__(
        self, options: dict[str, Any], seconds: float, images: str | None, exclude: list[str], engine: str
    ) -> None:
        self.options = Options(**options)
        self.seconds = seconds
        self.images = images
        self.exclude = exclude
        self.begin = time.perf_counter()
        self.engine = _open(self.options, plain=engine == PLAIN_TIMM)
        self.load_time = time.perf_counter() - self.begin
        self.pixels = measure.pixels_for(self.engine, batch_size(self.options, self.engine))
        self.step = 0.0

    def prepare(self) -> dict[str, Any]:
        """Run empty batches, so that the engine converts and compiles what it keeps in the cache."""
        for batches in (1, 2):
            list(window.rows(self.engine, [self.pixels[:0]] * batches))
        return {}

    def turn(self, seconds: float) -> dict[str, Any]:
        """Measure a stream for a while."""
        self.step = self.step or measure.run_steps(self.engine, self.pixels, 0).timed[-1]
        return {"samples_per_sec": measure.run_stream(self.engine, self.pixels, seconds, self.step).rate}

    def measure(self) -> dict[str, Any]:
        """Measure everything; the hardware's limit before and after the stream, since clock rates change."""
        steps = measure.run_steps(self.engine, self.pixels, self.seconds)
        self.step = min(steps.timed)
        limit = self._limit()
        stream = measure.run_stream(self.engine, self.pixels, self.seconds * measure.STREAM_SHARE, self.step)
        found: dict[str, Any] = {
            "batch": len(self.pixels),
            "samples_per_sec": stream.rate,
            "stream_batches": stream.batches,
            "step_time_ms": measure.summarize(steps.timed),
            "steps": len(steps.timed),
            "warmup_steps": steps.warmups,
            "load_time_s": self.load_time,
            "first_result_s": self.load_time + steps.first,
            "peak_memory_mb": (EngineFacts.of(self.engine).peak_memory or _peak_rss()) / 1e6,
        }
        if self.images:
            seconds = self.seconds * measure.STREAM_SHARE
            files = measure.run_files(
                self.engine, self.options, self.images, exclude=self.exclude, seconds=seconds, forward=stream.rate
            )
            found["files"] = asdict(files)
        return {**_facts(self.engine), **found, "peak_flops": max(limit, self._limit())}

    def _limit(self) -> float:
        return peak_flops(self.engine, self.seconds * measure.PEAK_SHARE / 2)


def main() -> None:
    """Answer each line of standard input."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print on stdout, which is for answers
    lines = iter(sys.stdin)
    first = next(lines, "")
    job: Job | None = None

    def opened() -> dict[str, Any]:
        nonlocal job
        job = Job(**json.loads(first))
        return {}

    def answer(do: Callable[[], dict[str, Any]]) -> None:
        out.write(json.dumps(_guarded(do)) + "\n")
        out.flush()

    answer(opened)
    for line in lines:
        name, *words = line.split()
        answer(partial(getattr(job, name), *map(float, words)))


def _open(options: Options, *, plain: bool) -> Engine:
    spec = catalog.resolve(options)
    if not plain:
        return open_engine(spec, options)
    from resnest_cli.engines.pytorch.plain import PlainTimm  # noqa: PLC0415 - torch, only where it is asked for

    return PlainTimm(spec, options.device, options.precision)


def _facts(engine: Engine) -> dict[str, Any]:
    known = EngineFacts.of(engine)
    return {
        "engine": engine.name,
        "device": engine.device,
        "precision": engine.precision,
        "param_count": known.param_count,
        "threads": known.threads,
        "versions": known.versions,
    }


def _guarded(do: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the result of `do`, or its error, as an answer."""
    try:
        return {"ok": do()}
    except ResnestError as error:
        return {"error": {"type": type(error).__name__, "message": error.message}}
    except Exception as error:  # noqa: BLE001 - whatever a framework raises ends this configuration only
        text = str(error)
        kind = "OutOfMemory" if is_out_of_memory(error) else type(error).__name__
        lines = [line for line in text.splitlines() if line.strip()]
        return {"error": {"type": kind, "message": lines[-1] if lines else kind}}


def _peak_rss() -> int:
    """Return the most bytes of memory that this process ever had."""
    try:  # of this program alone: getrusage counts the peak of the process that started it too
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError):
        import resource  # noqa: PLC0415 - not on Windows

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
