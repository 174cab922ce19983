"""Outputs of long jobs: rows are on disk as they are made, and a job that was stopped in any way can be continued.

In: rows in the order of the inputs. Out: a file under its final name; for formats that need their end only when it is
complete. Until then three files may lie beside FILE: FILE.part (rows so far, as JSON lines, where FILE itself cannot
hold half a job), FILE.resume.json (what made them) and FILE.lock (free again when the process is gone). Does not know
what a row means, but for its path, and whether it has an error.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import stat
import sys
from dataclasses import asdict
from importlib.metadata import version
from typing import IO, TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from resnest_cli import cache, exports, weights
from resnest_cli.engines import RANDOM
from resnest_cli.errors import OutputError
from resnest_cli.journal import Journal
from resnest_cli.writers import open_output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from resnest_cli.engines import Engine
    from resnest_cli.labels import Labels
    from resnest_cli.options import Options
    from resnest_cli.types import Failure, ModelSpec, Source
    from resnest_cli.writers import About, Lines, Row, Writer

log = logging.getLogger(__name__)

SIDECAR = ".resume.json"  # beside FILE until it is finished: what made its rows


def identity(spec: ModelSpec, options: Options, engine: Engine) -> dict[str, Any]:
    """Say what decides a row's numbers: model, weights (their sha256), preprocessing, engine and precision."""
    return {
        "model": spec.name,
        "weights": origin(spec, options, engine),
        "preprocessing": {**asdict(spec.data), "exif": options.upright},
        "engine": engine.name,
        "precision": engine.precision,
    }


def origin(spec: ModelSpec, options: Options, engine: Engine) -> str:
    """Give the sha256 of the file that the numbers come from: the weights, or the graph that runs in their place."""
    if options.random_weights:
        return RANDOM
    if exports.is_one(spec) or (exports.is_int8(spec) and engine.precision == exports.INT8):
        return exports.sha256(spec)
    return weights.sha256(weights.locate(spec, options.weights))


def versions(engine: Engine) -> dict[str, str]:
    """Say what made the rows: the versions of this program, of Python and of the engine."""
    return {"resnest-cli": version("resnest-cli"), "python": sys.version.split()[0], **engine.facts["versions"]}


def digest(labels: Labels) -> str:
    """Give one hash of all class names and WordNet ids."""
    return hashlib.sha256(json.dumps([labels.names, labels.wnids]).encode()).hexdigest()


class Output:
    """A file of rows in the making; a context manager. First `begin`, then `rest` and `append`, at last `finish`.

    Args:
        path: the file that is to be.
        lines: the format in which rows are kept while they come.
        compose: makes the final file of them in the end; None where the lines are that file.
        overwrite: replace what is there.
        resume: continue the job that left what is there; begin where there is nothing.

    Raises:
        OutputError: it exists, is being written by another process, or cannot be written.

    Attributes:
        done: rows of earlier runs that are kept.
    """

    def __init__(
        self, path: Path, lines: Lines, compose: Writer | None, *, overwrite: bool = False, resume: bool = False
    ) -> None:
        self.path = path
        self.done = 0
        self._lines = lines
        self._compose = compose
        self._overwrite = overwrite
        self._resume = resume
        self._sidecar = beside(path, SIDECAR)
        self._unfinished = False  # FILE and its sidecar are there for --resume
        self._fresh = False
        self._ends = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Take the lock and open the file, so that what cannot work fails before anything else is done."""
        if self.path.name == "" or os.path.isdir(self.path):  # noqa: PTH112 - this one never raises
            message = f"{self.path} is a folder: give the name of a file in it."
            raise OutputError(message)
        with contextlib.ExitStack() as ends, told(self.path):
            ends.enter_context(_locked(self.path))
            self._unfinished = self._sidecar.exists()
            self._check()
            where = beside(self.path, ".part") if self._compose else self.path
            self._fresh = not where.exists()
            self._journal = Journal(where, self._lines)
            ends.callback(self._journal.close)
            self._ends = ends.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let go. A job that is not finished keeps its rows; one that did not begin leaves no trace."""
        with told(self.path), self._ends:
            if self._fresh and not self._unfinished:
                self._journal.path.unlink(missing_ok=True)
            elif self._unfinished and self._journal.size:
                log.info("%s holds the rows so far: the same command with --resume continues", self._journal.path)

    def begin(self, about: About, fingerprint: Mapping[str, Any], batch: int) -> None:
        """Start, or find what is done.

        Args:
            about: what the writer needs to know.
            fingerprint: what rows depend on, by the name a person has for it; JSON values.
            batch: images a forward pass.

        Raises:
            OutputError: the rows that are there were made in another way; the message says in what.
        """
        self._about = about
        with told(self.path):
            if self._resume and self._unfinished:
                compare(self.path, self._sidecar, self._sidecar.read_bytes(), fingerprint)
                self.done = self._journal.recover(about.topk, batch)
                return
            self._journal.cut(0)  # first, so that no sidecar ever stands beside rows of another job
            cache.write_atomically(self._sidecar, json.dumps(fingerprint, indent=1).encode())
            self._unfinished = True
            self._journal.start(about.topk)

    def rest(self, found: Iterable[Source | Failure], seen: Callable[[str | None], None]) -> Iterator[Source | Failure]:
        """Skip the inputs whose rows are there; `seen` gets the error type of each (None: it has an answer).

        Raises:
            OutputError: the rows are of other inputs than these.
        """
        found = iter(found)
        for number, row in enumerate(self._journal.rows(), 1):
            item = next(found, None)
            if item is None or item.path != row["path"]:
                now = f"now {item.path!r}" if item else "nothing now"
                message = (
                    f"{self.path} was begun with another input set: row {number} is of {row['path']!r}, where there is "
                    f"{now}. Give the same inputs, or add --overwrite in place of --resume to start anew."
                )
                raise OutputError(message)
            seen(row["error"]["type"] if "error" in row else None)
        return found

    def write(self, rows: Iterable[Row]) -> None:
        """Append every row."""
        for row in rows:
            with told(self.path):
                self._journal.append(row)

    def finish(self) -> None:
        """Give the complete file its name, and remove what lies beside it.

        Raises:
            OutputError: it cannot be written; what was done stays, and can be resumed.
        """
        with told(self.path):
            self._journal.sync()
            if self._compose:
                with whole(self.path) as out:
                    self._compose(self._journal.rows(), out, self._about)
                self._journal.path.unlink()
            self._sidecar.unlink()
            self._unfinished = self._fresh = False

    def _check(self) -> None:
        """Refuse to harm what is there."""
        if self._overwrite:
            return
        if self._unfinished and not self._resume:
            message = f"{self.path} was begun and not finished: add --resume to continue, or --overwrite to start anew."
            raise OutputError(message)
        if self.path.exists() and not self._unfinished:
            hint = " It is not a job to resume: it is finished, or not of this program." if self._resume else ""
            message = f"{self.path} exists; add --overwrite to replace it.{hint}"
            raise OutputError(message)


class Stream:
    """The same for what is no file to come back to: standard output, a device, a pipe. Nothing can be resumed."""

    done = 0

    def __init__(self, out: IO[bytes], write: Writer) -> None:
        self._out = out
        self._write = write

    def begin(self, about: About, fingerprint: Mapping[str, Any], batch: int) -> None:  # noqa: ARG002 - as `Output` has it
        """Take note of what the writer needs to know."""
        self._about = about

    def rest(
        self,
        found: Iterable[Source | Failure],
        seen: Callable[[str | None], None],  # noqa: ARG002 - as `Output` has it
    ) -> Iterable[Source | Failure]:
        """Skip nothing."""
        return found

    def write(self, rows: Iterable[Row]) -> None:
        """Write every row as it comes."""
        self._write(rows, self._out, self._about)

    def finish(self) -> None:
        """Leave it as it is."""


@contextlib.contextmanager
def stream(path: Path | None, write: Writer, *, overwrite: bool) -> Iterator[Stream]:
    """Open `path`, or standard output if None, for rows that nothing comes back to.

    Raises:
        OutputError: see `open_output`.
    """
    with open_output(path, overwrite=overwrite) as out:
        yield Stream(out, write)


def compare(path: Path | str, sidecar: Path | str, before: bytes, fingerprint: Mapping[str, Any]) -> None:
    """Refuse to go on with rows at `path` that were made otherwise; `sidecar` says `before`, how they were begun.

    Raises:
        OutputError: the two differ, or the older one is damaged.
    """
    try:
        then, now = _flat(json.loads(before)), _flat(json.loads(json.dumps(fingerprint)))
        changes = [f"{name} {then[name]}, now {now[name]}" for name in now if then[name] != now[name]]
    except (ValueError, KeyError, AttributeError) as error:
        message = f"{sidecar} is damaged: add --overwrite in place of --resume to start anew."
        raise OutputError(message) from error
    if changes:
        message = (
            f"{path} was begun with other settings: {'; '.join(changes)}. "
            "Use the same again, or --overwrite in place of --resume to start anew."
        )
        raise OutputError(message)


def _flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Lift the entries of nested mappings, so that a difference is named by the one thing that differs."""
    groups = [value if isinstance(value, dict) else {name: value} for name, value in facts.items()]
    return {name: value for group in groups for name, value in group.items()}


def is_device(path: Path) -> bool:
    """Tell whether it is there and can be written to, but holds nothing to come back to: a device, a pipe."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def beside(path: Path, suffix: str) -> Path:
    """Name a file beside another."""
    return path.parent / (path.name + suffix)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that gets its name when the block ends well, and is removed if it does not.

    Raises:
        OSError: it cannot be written.
    """
    made = beside(path, ".tmp")
    try:
        with made.open("wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        made.replace(path)
    except BaseException:
        made.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what the system refuses into an `OutputError` that names the file."""
    try:
        yield
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror or error}."
        raise OutputError(message) from error


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of `path`, which the system frees when the process is gone."""
    where = beside(path, ".lock")
    where.open("ab").close()  # FileLock would make missing folders, and take what cannot be written for a held lock
    lock = FileLock(where)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        message = f"{path} is being written by another process: wait for it, or give another -o."
        raise OutputError(message) from error
    try:
        yield
    finally:
        where.unlink(missing_ok=True)  # while it is held: who waits for it looks again
        lock.release()
