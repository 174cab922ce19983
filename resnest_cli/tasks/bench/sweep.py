"""Run configurations one after another, each in a process of its own; one that fails ends itself and no other.

In: `Options`, one for each configuration. Out: a row (`rows`) as each ends. Imports no framework: where the system
cannot tell a program's own peak of memory, that of a worker begins with ours.
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

KILLED = -9  # what the system says of a process that it had to kill; Windows has no such signal
ROUNDS = 5  # of turns with plain timm
LIMIT_S = 60.0  # past it no further round is begun


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
        UsageError, UnknownModel: a value or a name that cannot be meant.
    """
    combinations = product(models, engines, precisions, batches)
    return [_weighted(replace(options, model=m, engine=e, precision=p, batch=b)) for m, e, p, b in combinations]


def _weighted(options: Options) -> Options:
    """Take random weights, but the own graph of an int8 model: which layers it has in int8 does change the speed."""
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
    """Measure each configuration for about `seconds` and give its row.

    Args:
        every: the configurations.
        seconds: the time budget of each.
        images: a folder, to measure the way from files to answers too.
        exclude: patterns of what to leave out of it, see `photographs.Rule`.
        baseline: run plain eager timm beside each, in turns, for as long again.
    """
    with contextlib.suppress(OSError):  # the workers share what this finds; each says by itself that there is none
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
        """Number of the process."""
        return self._process.pid

    def ask(self, line: str) -> dict[str, Any]:
        """Have it do something and wait for the answer.

        Raises:
            ConfigurationFailed: it said so, or it is no more.
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
        """End the process, whatever it does."""
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
    """Convert and compile once what every run of a model uses, so that no configuration is measured doing that."""
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
            beside = replace(options, batch=found["batch"], device=found["device"], precision=precision)
            with Worker(beside, seconds, engine="timm") as theirs:
                found["baseline"] = _in_turns(ours, theirs, seconds)
    return found


def _in_turns(ours: Worker, theirs: Worker, seconds: float) -> dict[str, Any]:
    """Let both run in turn, so that what else the machine does meets both alike."""
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
