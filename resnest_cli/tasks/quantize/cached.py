"""The int8 model of `--precision int8 --calibrate DIR`: found in the cache, or made once and kept there.

In: options, and a folder of images. Out: options that name the int8 model. Its name in the cache is a hash of what it
depends on: weights, code, preprocessing, and the images. Loads torch and NNCF only to make a model.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnest_cli.errors import BadCheckpoint, ImageError, UsageError
from resnest_cli.inputs.read import read_source
from resnest_cli.models import catalog, folders, graphs, weights
from resnest_cli.system import atomic, cache, files
from resnest_cli.tasks.quantize.calibration import draw
from resnest_cli.tasks.quantize.options import QuantizeOptions
from resnest_cli.text.json_input import parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resnest_cli.options import Options
    from resnest_cli.types import ModelSpec, Source

SETTLED_S = 2.0  # the coarsest clock of a file system in use (FAT)
MAX_KNOWN = 1 << 30  # bytes of a file of hashes; a million images take 200 MB
_ROW = 5  # values per file: four of its state, and its hash

_log = logging.getLogger(__name__)


def ensure(options: Options, calibrate: Path, exclude: Sequence[str] = ()) -> Options:
    """Return `options` for the int8 model, which is made first unless the cache has it.

    Args:
        options: the model, its weights and preprocessing.
        calibrate: a folder of images to calibrate on.
        exclude: patterns of what to leave out of it, see `selection.Rule`.

    Raises:
        UsageError: `options` name another precision, a device or engine that int8 does not run on, or a model that
            cannot be calibrated.
        BadCheckpoint: the weights changed meanwhile.
        ModelError and others: see `quantize`.
    """
    if options.precision != folders.INT8:
        raise UsageError("--calibrate is for --precision int8: add that.")
    options = _on_cpu(options)
    spec = catalog.resolve(options)
    from resnest_cli.engines.runtime import has_int8  # noqa: PLC0415 - heavy

    if options.random_weights or folders.is_int8(spec):
        what = "random weights" if options.random_weights else f"{options.model}, which is an int8 model,"
        message = f"--calibrate: {what} cannot be calibrated: leave it out."
        raise UsageError(message)
    if not has_int8():
        return options  # opening the engine raises the error
    path = weights.locate(spec, options.weights)
    sha256 = weights.sha256(path)
    folder = cache.writable() / cache.INT8 / _key(spec, sha256, options, calibrate, exclude)
    with graphs.lock(folder):
        if not folder.exists():
            _make(options, calibrate, folder, exclude)
        _check_origin(folder, path, sha256)
    return replace(options, model=str(folder), weights=None)


def _on_cpu(options: Options) -> Options:
    if options.device not in {"auto", "cpu"} or options.engine == "torch":
        message = "--precision int8 runs on the CPU, in OpenVINO: leave out --device and --engine."
        raise UsageError(message)
    return replace(options, device="cpu")


def _make(options: Options, calibrate: Path, folder: Path, exclude: Sequence[str]) -> None:
    from resnest_cli.tasks.quantize.quantization import quantize  # noqa: PLC0415 - torch and NNCF: seconds

    for failure in quantize(options, calibrate, folder, exclude=exclude).failures:
        _log.warning("%s: %s: %s", failure.path, failure.type, failure.message)


def _check_origin(folder: Path, path: Path, sha256: str) -> None:
    """Remove an int8 model that was made of other weights than its name says.

    Raises:
        BadCheckpoint: the weights changed after they were hashed.
    """
    if catalog.find_model(str(folder)).exported.get("weights_sha256") != sha256:
        cache.remove(folder)
        message = f"{path} changed while it was calibrated, or is damaged: run it again."
        raise BadCheckpoint(message)


def _key(spec: ModelSpec, sha256: str, options: Options, calibrate: Path, exclude: Sequence[str]) -> str:
    """Return the name of an int8 model: a hash of the weights, the code, the preprocessing, and the images."""
    digest = hashlib.sha256(graphs.key(spec, sha256, folders.INT8).encode())
    digest.update(json.dumps([asdict(spec.data), options.upright]).encode())
    hashes = _Hashes(calibrate)
    for source in chain(*draw(calibrate, QuantizeOptions.samples, QuantizeOptions.seed, exclude, log=False)):
        digest.update(hashes.sha256(source).encode())
    hashes.save()
    return f"{spec.architecture}-{digest.hexdigest()[:24]}"


class _Hashes:
    """The hashes of the files in a folder, kept in the cache for as long as the files do not change.

    A file is unchanged if its size, its times and its inode are: no program can set the time of the last change of
    state (ctime). A file that changed a moment ago is hashed again next time: another change may come within the same
    tick of the disk's clock.
    """

    def __init__(self, folder: Path) -> None:
        name = hashlib.sha256(os.fsencode(os.path.abspath(folder))).hexdigest()[:24]  # noqa: PTH100 - links stay as typed
        self._file = cache.folder() / cache.INT8 / f"images-{name}.json"
        self._before = _read(self._file)
        self._now: dict[str, list[Any]] = {}

    def sha256(self, source: Source) -> str:
        """Return the hash of a file's content; of an unreadable file, the hash of nothing."""
        state = _state(source.path)
        *known, digest = self._before.get(source.path, [None, ""])
        if known != state:
            digest = hashlib.sha256(_content(source)).hexdigest()
        if state and time.time() - state[0] / 1e9 > SETTLED_S:
            self._now[source.path] = [*state, digest]
        return str(digest)

    def save(self) -> None:
        """Write the hashes to the cache, if it can be written."""
        if self._now != self._before:
            with contextlib.suppress(OSError):
                atomic.write(self._file, json.dumps(self._now).encode())


def _state(path: str) -> list[int]:
    """Return ctime and mtime in nanoseconds, size, and inode; nothing of a missing file."""
    try:
        found = Path(path).stat()
    except OSError:
        return []
    return [found.st_ctime_ns, found.st_mtime_ns, found.st_size, found.st_ino]


def _read(file: Path) -> dict[str, list[Any]]:
    try:
        known = parse(files.read(file, MAX_KNOWN))
    except (OSError, ValueError):
        return {}
    fits = isinstance(known, dict) and all(isinstance(row, list) and len(row) == _ROW for row in known.values())
    return known if fits else {}


def _content(source: Source) -> bytes:
    try:
        return read_source(source)
    except ImageError:  # named later, by what decodes it
        return b""
