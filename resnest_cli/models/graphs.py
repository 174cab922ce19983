"""Converted networks in the cache: found by what they were made from, put there whole or not at all.

In: a key, made from everything that a graph depends on. Out: a `Graph`, a folder with the network as an OpenVINO graph,
a sidecar that says what is in it, and what OpenVINO compiles from it. Does not know how a graph is made or run.

Checksums (CRC-32, 4 GB/s: as fast as reading) find damage before OpenVINO meets it: it would run flipped weights, and a
compiled form with a flipped byte can keep it busy for ever.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import time
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnest_cli import __version__
from resnest_cli.system import atomic, cache, digests, files, locks, trust
from resnest_cli.text.jsons import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from resnest_cli.system.locks import Acquire
    from resnest_cli.types import ModelSpec

# What decides how a graph is made and what its sidecar says: where one of these changes, graphs are made anew.
MAKERS = (
    *("engines/pytorch/export.py", "engines/pytorch/network.py", "engines/pytorch/int8.py"),
    *("engines/convert.py", "engines/compiled.py", "engines/adopt.py", "engines/foreign.py", "models/graphs.py"),
)
FILES = ("graph.xml", "graph.bin")
_log = logging.getLogger(__name__)
SIDECAR = "graph.json"
MAX_SIDECAR = 64 << 20  # bytes; it has the names of all classes
SEAL = ".crc32"  # the suffix of the checksum beside each compiled form
STALE_S = 24 * 3600  # no conversion takes a day: what is partial and older was killed


@dataclass(frozen=True)
class Graph:
    """One converted network: its folder, and the sidecar's facts."""

    folder: Path
    facts: dict[str, Any]

    @property
    def path(self) -> Path:
        """The graph itself, in OpenVINO's format; its weights lie beside it."""
        return self.folder / FILES[0]

    @property
    def compiled(self) -> Path:
        """The folder for what OpenVINO compiles from the graph: a folder for each way to run it, see `compiling`."""
        return self.folder / "compiled"


def folder() -> Path:
    """Return the folder of all graphs, ours (`cache.trusted`), links followed; it need not exist yet."""
    return Path(os.path.realpath(cache.trusted() / cache.GRAPHS))


def key(spec: ModelSpec, weights_sha256: str, want: str) -> str:
    """Name the graph by everything it depends on: weights, network, preprocessing inside it, and versions."""
    parts = {
        "made by": _maker_sha256(MAKERS),
        "versions": {"resnest-cli": __version__, "openvino": version("openvino")},
        "weights": weights_sha256,
        "want": want,
        "architecture": spec.architecture,
        "model_args": dict(spec.model_args),
        "num_classes": spec.num_classes,
        "inside": [spec.data.input_size, spec.data.mean, spec.data.std],
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return f"{spec.architecture}-{digest[:24]}"


def find(name: str) -> Graph | None:
    """Return the graph of this key, or None if there is none that is whole and our own. Reads it all."""
    place, facts = folder() / name, describe(name)
    try:
        whole = all(digests.crc32(place / file) == facts["checksums"][file] for file in FILES)
    except (OSError, KeyError, TypeError):
        return None
    return Graph(place, facts) if whole and _is_ours(place, (*FILES, SIDECAR)) else None


def describe(name: str) -> dict[str, Any]:
    """Return what the sidecar of this key says, without reading the graph; empty if there is none or it is damaged."""
    try:
        facts = parse(files.read(folder() / name / SIDECAR, MAX_SIDECAR))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def kept() -> list[dict[str, Any]]:
    """Return a row per item of the cache: name, model, what it gives ("want"), bytes and path."""
    rows = []
    for item in cache.items():
        known = describe(item.name)
        row = {"name": item.name, "model": known.get("model", ""), "want": known.get("want", "")}
        rows.append({**row, "bytes": cache.size(item), "path": str(item)})
    return rows


def _is_ours(place: Path, names: Iterable[str]) -> bool:
    """Tell whether none but this user can have written these files of a folder; who else can is said.

    Raises:
        OSError: one is not there.
    """
    if why := trust.distrust(place) or trust.distrust_files(place, names):
        _log.warning("%s: it is not believed, and made anew", why)
    return not why


def ensure(name: str, make: Callable[[], Graph]) -> Graph:
    """Return the graph of this key, made now by `make` unless another process has made it in the meantime.

    Whatever else runs at the same time, one process makes it; the others wait here for it, and have nothing to import.

    Where the cache cannot be written, the graph is kept for this run only (`cache.writable`).

    Raises:
        OSError: no graph can be kept anywhere; and whatever `make` raises.
    """
    cache.writable()
    with lock(folder() / name):
        return find(name) or make()


@contextlib.contextmanager
def lock(place: Path) -> Iterator[None]:
    """Let no other process make what is to be at `place` at the same time; its folder is made.

    Raises:
        OSError: the cache cannot be written.
    """
    trust.make_private(place.parent)
    with locks.hold(place.with_name(f"{place.name}.lock"), _wait):
        yield


def _wait(acquire: Acquire) -> None:
    _log.info("waiting for another process that converts the same")
    acquire(-1)


def store(name: str, write: Callable[[Path], None], facts: dict[str, Any]) -> Graph:
    """Put a graph into the cache: `write` makes `FILES` in the folder it is given, which then gets its name.

    Raises:
        OSError: the cache cannot be written; what was begun is removed.
    """
    trust.make_private(folder())
    _sweep()
    place = folder() / name
    with atomic.scratch(folder()) as scratch:
        partial = scratch / "new"
        trust.make_private(partial)
        write(partial)
        facts = facts | {"checksums": {file: digests.crc32(partial / file) for file in FILES}}
        atomic.write(partial / SIDECAR, json.dumps(facts, indent=1).encode())
        trust.keep_private(partial)
        if found := find(name):  # where there are no locks, another process may have been quicker
            return found
        atomic.replace_folder(place, partial)
    return Graph(place, facts)


@contextlib.contextmanager
def compiling(place: Path) -> Iterator[Path | None]:
    """Yield a folder for OpenVINO to take from what it has compiled, or to keep it in; None where nothing can be kept.

    That is `place` if all in it is whole. Else it is a new folder, which becomes `place` when the block has ended well:
    OpenVINO writes in place and reads while another process writes, and then fails, or gives wrong numbers.
    """
    if _is_sealed(place):
        yield place
        return
    with contextlib.ExitStack() as ends:
        try:
            trust.make_private(place.parent)
            partial = ends.enter_context(atomic.scratch(place.parent)) / "new"
            trust.make_private(partial)
        except OSError:
            yield None
            return
        yield partial
        with contextlib.suppress(OSError):  # then it is compiled anew the next time
            _seal(partial)
            if not _is_sealed(place):  # another process may have been quicker
                atomic.replace_folder(place, partial)


def _seal(compiled: Path) -> None:
    for form in compiled.glob("*.blob"):
        atomic.write(form.with_name(form.name + SEAL), str(digests.crc32(form)).encode())
    trust.keep_private(compiled)


def _is_sealed(compiled: Path) -> bool:
    """Tell whether there are compiled forms, each with its checksum beside it, which none but this user wrote."""
    compiled = Path(os.path.realpath(compiled))  # a folder that is being made has a name for us only (`files.pin`)
    try:
        forms = [*compiled.glob("*.blob")]
        whole = bool(forms) and all(
            form.with_name(form.name + SEAL).read_bytes() == str(digests.crc32(form)).encode() for form in forms
        )
        return whole and _is_ours(compiled, [name for form in forms for name in (form.name, form.name + SEAL)])
    except OSError:
        return False


@lru_cache
def _maker_sha256(makers: tuple[str, ...]) -> str:
    """Hash the code that makes graphs, so that no change of it can be forgotten here."""
    here = Path(__file__).parents[1]
    return hashlib.sha256(b"".join((here / name).read_bytes() for name in makers)).hexdigest()


def _sweep() -> None:
    """Remove what killed conversions and compilations left."""
    for partial in chain(folder().glob(f"{atomic.PREFIX}*"), folder().glob(f"*/compiled/{atomic.PREFIX}*")):
        with contextlib.suppress(OSError):  # its owner has finished, or somebody else sweeps
            if time.time() - partial.stat().st_mtime > STALE_S:
                shutil.rmtree(partial, ignore_errors=True)
