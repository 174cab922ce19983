"""Converted networks in the cache, each under a key of everything that it was made from, written atomically.

In: a key. Out: a `Graph`, a folder with the network as an OpenVINO graph, a sidecar with facts about it, and what
OpenVINO compiles from it. Does not know how a graph is made or run.

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
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnest_cli import __version__
from resnest_cli.system import atomic, cache, digests, files, locks, trust
from resnest_cli.text.json_input import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from resnest_cli.system.locks import Acquire
    from resnest_cli.types import ModelSpec

# Of what is kept: raise it with each change of what engines/build.py makes. tests/engines/test_build.py tells when.
FORMAT = 1
COLUMNS = ("name", "model", "gives", "MB")
FILES = ("graph.xml", "graph.bin")
_log = logging.getLogger(__name__)
SIDECAR = "graph.json"
MAX_SIDECAR = 1 << 20  # bytes
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
    """Return the key of a graph: a hash of its weights, network, preprocessing, and the versions that make it."""
    parts = {
        "format": FORMAT,
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
    """Return the graph of this key, or None if there is none that is undamaged and this user's own. Reads it all."""
    place, facts = folder() / name, describe(name)
    try:
        whole = all(digests.crc32(place / file) == facts["checksums"][file] for file in FILES)
    except (OSError, KeyError, TypeError):
        return None
    return Graph(place, facts) if whole and _is_ours(place, (*FILES, SIDECAR)) else None


def describe(name: str) -> dict[str, Any]:
    """Return the facts in the sidecar of this key, without reading the graph; {} if it is missing or damaged."""
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


def in_cells(rows: Iterable[dict[str, Any]]) -> list[list[str]]:
    """Return rows of `kept` as cells of a table with `COLUMNS`, and a last row with the sum."""
    sizes = [(row, row["bytes"] / 1e6) for row in rows]
    cells = [[row["name"], row["model"], row["want"], f"{size:.1f}"] for row, size in sizes]
    return [*cells, ["", "", "in all", f"{sum(size for _, size in sizes):.1f}"]]


def _is_ours(place: Path, names: Iterable[str]) -> bool:
    """Return whether only this user can have written these files of a folder; if not, log who else can.

    Raises:
        OSError: one is not there.
    """
    if why := trust.distrust(place) or trust.distrust_files(place, names):
        _log.warning("%s: not trusted, so a new one is made", why)
    return not why


def ensure(name: str, make: Callable[[], Graph]) -> Graph:
    """Return the graph of this key, made now by `make` unless another process makes it at the same time.

    One process makes it; the others wait here, before they import what makes graphs. If the cache cannot be written,
    the graph is kept for this run only (`cache.writable`).

    Raises:
        OSError: no graph can be kept anywhere; and whatever `make` raises.
    """
    cache.writable()
    with lock(folder() / name):
        return find(name) or make()


@contextlib.contextmanager
def lock(place: Path) -> Iterator[None]:
    """Hold the lock of `place`, so that only one process writes there; make its folder.

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
    """Put a graph into the cache, atomically: `write` makes `FILES` in the folder that it is given.

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
        try:
            _replace(place, partial)
        except OSError:  # ... until the last moment
            if found := find(name):
                return found
            raise
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
                _replace(place, partial)


def _seal(compiled: Path) -> None:
    for form in compiled.glob("*.blob"):
        atomic.write(form.with_name(form.name + SEAL), str(digests.crc32(form)).encode())
    trust.keep_private(compiled)


def _is_sealed(compiled: Path) -> bool:
    """Return whether there are compiled forms with right checksums, which only this user can have written."""
    compiled = Path(os.path.realpath(compiled))  # a folder that is being made has a name for us only (`files.pin`)
    try:
        forms = [*compiled.glob("*.blob")]
        whole = bool(forms) and all(
            form.with_name(form.name + SEAL).read_bytes() == str(digests.crc32(form)).encode() for form in forms
        )
        return whole and _is_ours(compiled, [name for form in forms for name in (form.name, form.name + SEAL)])
    except OSError:
        return False


def _replace(place: Path, new: Path) -> None:
    """Rename the folder `new` to `place`; what has that name is damaged, and is removed as far as it can be.

    It is not moved aside as by `atomic.folder`: it is of no use, and overlayfs, the disk of containers, renames no
    folder of a lower layer.

    Raises:
        OSError: the folder cannot be renamed, or another process was quicker.
    """
    with contextlib.suppress(OSError):
        place.unlink() if place.is_symlink() else shutil.rmtree(place, ignore_errors=True)
    new.rename(place)


def _sweep() -> None:
    """Remove what killed conversions and compilations left."""
    for partial in chain(folder().glob(f"{atomic.PREFIX}*"), folder().glob(f"*/compiled/{atomic.PREFIX}*")):
        with contextlib.suppress(OSError):  # its owner has finished, or somebody else sweeps
            if time.time() - partial.stat().st_mtime > STALE_S:
                shutil.rmtree(partial, ignore_errors=True)
