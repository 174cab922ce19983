"""Images to calibrate an int8 model on: drawn from a folder, and the model that is kept in the cache for them.

In: a folder, and maybe options. Out: images to calibrate on and others to judge on, or options for the int8 model.
Loads neither torch nor NNCF where that model is found; `quantize` makes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import random
import time
from collections import defaultdict
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnest_cli.errors import BadCheckpoint, ImageError, UsageError
from resnest_cli.inputs import sources, splits
from resnest_cli.inputs.photographs import LeftOut
from resnest_cli.models import catalog, exports, graphs, weights
from resnest_cli.system import cache, files
from resnest_cli.system.paths import Kind, look
from resnest_cli.text.jsons import parse
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resnest_cli.options import Options
    from resnest_cli.types import ModelSpec, Source

SAMPLES, SEED = 300, 0
HELD_OUT = 500  # images to judge on, at most; at least a third of what there is
LEAST = 30  # images that there must be
SETTLED_S = 2.0  # the coarsest clock of a disk in use (FAT)
MAX_KNOWN = 1 << 30  # bytes; a million images take 200 MB
_ROW = 5  # of what is remembered of a file: its state and its hash

_log = logging.getLogger(__name__)


def choose(
    place: Path, samples: int, seed: int, exclude: Sequence[str] = (), *, say: bool = True
) -> tuple[list[Source], list[Source]]:
    """Draw images to calibrate on, and others to judge on; `exclude` is as for `sources.find`.

    Where folders name sides, the model is calibrated on the train side and judged on val, else test.
    What is left out is logged, unless `say` is False because it has been.

    Raises:
        UsageError: there are too few.
    """
    seen = look(place)
    if not seen.is_folder:
        why = seen.why if seen.kind is Kind.UNKNOWN else "no such folder."
        message = f"--calibrate {place}: {why}"
        raise UsageError(message)
    left_out = LeftOut()
    items = sources.find([str(place)], exclude=exclude, left_out=left_out)
    found = [source for source in items if not isinstance(source, Failure)]
    if len(found) < LEAST:
        others = f" ({left_out.counts()})" if left_out else ""
        needed = f"{LEAST} are needed, and {SAMPLES + HELD_OUT} are better"
        message = f"--calibrate {place}: {len(found)} images{others}; {needed}."
        raise UsageError(message)
    if left_out and say:
        _log.info("%s", left_out.words())
    random.Random(seed).shuffle(found)  # noqa: S311 - not for secrets
    train, apart = _sides(found, place)
    if min(len(train), len(apart)) >= LEAST:
        return train[:samples], apart[:HELD_OUT]
    judged = min(HELD_OUT, max(len(found) - samples, len(found) // 3))
    return found[judged:][:samples], found[:judged]


def _sides(found: list[Source], place: Path) -> tuple[list[Source], list[Source]]:
    """Return the images of the train side, and those of val, else test, by the names of the folders they are in."""
    sides: dict[str, list[Source]] = defaultdict(list)
    for source in found:
        names = Path(os.path.relpath(source.path, place)).parts[:-1]
        sides[next(filter(None, map(splits.side, names)), "")].append(source)
    return sides[splits.TRAIN], sides[splits.VAL] or sides[splits.TEST]


def ensure(options: Options, calibrate: Path, exclude: Sequence[str] = ()) -> Options:
    """Return `options` for the model in int8: found in the cache under what it is made from, or made and kept now.

    Raises:
        UsageError: something else than the CPU and OpenVINO was asked for; there is nothing to calibrate; or as below.
        ModelError and others: as `quantize` does.
    """
    if options.device not in {"auto", "cpu"} or options.engine == "torch":
        message = "--precision int8 runs on the CPU, in OpenVINO: leave out --device and --engine."
        raise UsageError(message)
    options = replace(options, device="cpu")
    spec = catalog.resolve(options)
    from resnest_cli.engines.openvino import has_int8  # noqa: PLC0415 - heavy

    if options.random_weights or exports.is_int8(spec):
        what = "random weights" if options.random_weights else f"{options.model}, which is an int8 model,"
        message = f"--calibrate: {what} cannot be calibrated: leave it out."
        raise UsageError(message)
    if not has_int8():
        return options  # opening it says why not
    path = weights.locate(spec, options.weights)
    sha256 = weights.sha256(path)
    place = cache.writable() / cache.INT8 / _key(spec, sha256, options, calibrate, exclude)
    with graphs.alone(place):
        if not place.exists():
            from resnest_cli.tasks.quantize.quantization import quantize  # noqa: PLC0415 - torch and NNCF, once

            for failure in quantize(options, calibrate, place, exclude=exclude).failures:
                _log.warning("%s: %s: %s", failure.path, failure.type, failure.message)
        _check_origin(place, path, sha256)
    return replace(options, model=str(place), weights=None)


def _check_origin(place: Path, path: Path, sha256: str) -> None:
    """Remove an int8 model that was not made of the weights that it is named by.

    Raises:
        BadCheckpoint: they changed after they were hashed.
    """
    if catalog.find_model(str(place)).exported.get("weights_sha256") != sha256:
        cache.remove(place)
        message = f"{path} changed while it was calibrated, or is damaged: run it again."
        raise BadCheckpoint(message)


def _key(spec: ModelSpec, sha256: str, options: Options, calibrate: Path, exclude: Sequence[str]) -> str:
    """Name an int8 model by what it depends on: the weights, the code, how images are read, and the images."""
    digest = hashlib.sha256(graphs.key(spec, sha256, exports.INT8).encode())
    digest.update(json.dumps([asdict(spec.data), options.upright]).encode())
    known = _Known(calibrate)
    for source in chain(*choose(calibrate, SAMPLES, SEED, exclude, say=False)):
        digest.update(known.sha256(source).encode())
    known.save()
    return f"{spec.architecture}-{digest.hexdigest()[:24]}"


class _Known:
    """The hashes of the files in a folder, remembered for as long as the files stay as they are.

    A file is as it was if its size, its times and its number are: the system itself sets the time of its last change,
    whatever a program makes of the others. What changed a moment ago is not remembered: the next change may come within
    the same tick of the disk's clock.
    """

    def __init__(self, place: Path) -> None:
        name = hashlib.sha256(os.fsencode(os.path.abspath(place))).hexdigest()[:24]  # noqa: PTH100 - as it was typed
        self._file = cache.folder() / cache.INT8 / f"images-{name}.json"
        self._before = _read(self._file)
        self._now: dict[str, list[Any]] = {}

    def sha256(self, source: Source) -> str:
        """Return the hash of a file's content, or that of nothing if it cannot be read."""
        state = _state(source.path)
        *as_it_was, digest = self._before.get(source.path, [None, ""])
        if as_it_was != state:
            digest = hashlib.sha256(_content(source)).hexdigest()
        if state and time.time() - state[0] / 1e9 > SETTLED_S:
            self._now[source.path] = [*state, digest]
        return str(digest)

    def save(self) -> None:
        """Remember, if the cache can."""
        if self._now != self._before:
            with contextlib.suppress(OSError):
                cache.write_atomically(self._file, json.dumps(self._now).encode())


def _state(path: str) -> list[int]:
    """Return the time of a file's last change, in nanoseconds, and what else tells it from others; or nothing."""
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
        return sources.read(source)
    except ImageError:  # it will be named when it is to be decoded
        return b""
