"""Run configurations one after another, each in a process of its own, so that a failure ends one of them only.

In: `Options`, one per configuration. Out: a row (`rows`) as each ends. Imports no framework: on systems that count the
peak of memory from the process that started a program, a worker's peak begins with the memory of this process.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from dataclasses import asdict, replace
from itertools import product
from statistics import median
from subprocess import PIPE
from typing import TYPE_CHECKING, Any

from resnest_cli.errors import ResnestError
from resnest_cli.models import catalog, folders
from resnest_cli.system import cache, processes
from resnest_cli.tasks.bench.rows import row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from resnest_cli.options import Options

KILLED = -9  # the exit status of a process that the system killed; Windows has no such signal
ROUNDS = 5  # turns of both, ours and plain timm
LIMIT_S = 60.0  # after it no further round begins


class ConfigurationFailed(ResnestError):
    """A worker could not do what it was asked; `kind` is the name of its error."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def configurations(
    options: Options,
    models: Iterable[str],
    engines: Iterable[str],
    precisions: Iterable[str],
    batches: Iterable[int | str],
) -> list[Options]:
    """Return `options` with every combination; the last varies fastest.

    Raises:
        UsageError, UnknownModel: a value or a name that is not possible.
    """
    combinations = product(models, engines, precisions, batches)
    return [_weighted(replace(options, model=m, engine=e, precision=p, batch=b)) for m, e, p, b in combinations]


def _weighted(options: Options) -> Options:
    """Return options with random weights; with its own graph for an int8 model, whose int8 layers set the speed."""
    own = folders.is_int8(catalog.resolve(options)) and options.precision in {"auto", folders.INT8}
    return replace(options, random_weights=not own, weights=None)


def sweep(
    every: Iterable[Options],
    seconds: float,
    *,
    images: str | None = None,
    exclude: Sequence[str] = (),
    baseline: bool = False,
) -> Iterator[dict[str, Any]]:
    """Measure each configuration for about `seconds`; yield its row.

    Args:
        every: the configurations.
        seconds: the time budget per configuration.
        images: a folder, to measure from files to answers too.
        exclude: patterns of what to leave out of the folder, see `selection.Rule`.
        baseline: run plain eager timm beside each, in turns, which takes as long again.
    """
    with contextlib.suppress(OSError):  # workers share the folder that this finds; without one each worker logs it
        cache.writable()
    prepared: set[Options] = set()
    for options in every:
        try:
            _prepare(options, prepared)
            found = _measure(options, seconds, images, exclude, baseline=baseline)
        except ConfigurationFailed as error:
            found = {"error": {"type": error.kind, "message": str(error)}}
        yield row(options, found)


class Worker:
    """A process that has one configuration open, see `resnest_cli.tasks.bench.worker`."""

    def __init__(
        self,
        options: Options,
        seconds: float,
        images: str | None = None,
        exclude: Sequence[str] = (),
        engine: str = "",
    ) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
        self._process = processes.start(
            "resnest_cli.tasks.bench.worker", "main", stdin=PIPE, stdout=PIPE, stderr=self._log, encoding="utf-8"
        )
        job = {
            "options": asdict(options),
            "seconds": seconds,
            "images": images,
            "exclude": [*exclude],
            "engine": engine,
        }
        try:
            self.ask(json.dumps(job))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the process."""
        self.close()

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def ask(self, line: str) -> dict[str, Any]:
        """Send a command to the worker; return its answer.

        Raises:
            ConfigurationFailed: the worker answered with an error, or has ended.
        """
        assert self._process.stdin is not None  # noqa: S101 - they are pipes
        assert self._process.stdout is not None  # noqa: S101
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline() or "null")
        except BrokenPipeError:
            answer = None
        if answer is None:
            raise self._why_gone()
        if "error" in answer:
            raise ConfigurationFailed(answer["error"]["type"], answer["error"]["message"])
        found: dict[str, Any] = answer["ok"]
        return found

    def close(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def _why_gone(self) -> ConfigurationFailed:
        code = self._process.wait()
        if code == KILLED:
            return ConfigurationFailed(
                "OutOfMemory", "the system killed it (signal 9), most likely for want of memory."
            )
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip().splitlines()
        return ConfigurationFailed("Crashed", f"its process ended with code {code}: {said[-1] if said else 'no words'}")


def _prepare(options: Options, prepared: set[Options]) -> None:
    """Convert and compile once what every run of a model uses, so that no measurement includes it."""
    alike = replace(options, batch=1)
    if options.engine != "torch" and alike not in prepared:
        with Worker(alike, 0) as worker:
            worker.ask("prepare")
        prepared.add(alike)


def _measure(
    options: Options, seconds: float, images: str | None, exclude: Sequence[str], *, baseline: bool
) -> dict[str, Any]:
    with Worker(options, seconds, images, exclude) as ours:
        found = ours.ask("measure")
        if baseline:
            precision = "fp32" if found["precision"] == folders.INT8 else found["precision"]  # timm has no int8
            plain = replace(options, batch=found["batch"], device=found["device"], precision=precision)
            with Worker(plain, seconds, engine="timm") as theirs:
                found["baseline"] = _in_turns(ours, theirs, seconds)
    return found


def _in_turns(ours: Worker, theirs: Worker, seconds: float) -> dict[str, Any]:
    """Run both in turns, so that other load on the machine slows both alike."""
    rates: list[tuple[float, float]] = []
    begin = time.perf_counter()
    while len(rates) < ROUNDS and (not rates or time.perf_counter() - begin < max(LIMIT_S, seconds)):
        turn = f"turn {seconds / ROUNDS / 2}"
        rates.append((ours.ask(turn)["samples_per_sec"], theirs.ask(turn)["samples_per_sec"]))
    return {
        "name": "plain eager timm",
        "samples_per_sec": median(their for _, their in rates),
        "ratio": median(our / their for our, their in rates),
        "rounds": len(rates),
    }
