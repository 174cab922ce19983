"""The names of the classes. In: a spec, maybe a file of names. Out: per class one name and, for ImageNet, a WordNet id.

The order of choice: the file that the user names, the model's own names, the ImageNet list that the model card names
(if `resnest download` downloaded it; checked by its hash), the packaged list, which has the same words. No prediction
waits for names, and none changes when they arrive. A list of another length is refused: labels never shift.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resnest_cli.errors import LabelsError, UsageError
from resnest_cli.models import hub
from resnest_cli.models.catalog import DATA
from resnest_cli.net.deadline import Deadline
from resnest_cli.net.errors import ExchangeError
from resnest_cli.system import atomic, cache
from resnest_cli.system.paths import reason

if TYPE_CHECKING:
    from os import PathLike

    from resnest_cli.types import ModelSpec

IMAGENET_CLASSES = 1000
IMAGENET_URL = "https://raw.githubusercontent.com/pytorch/hub/master/imagenet_classes.txt"
IMAGENET_SHA256 = "1f386e0d1cb6e28b9c2dac651c3dea6801e98ad1b41a14ce6bb1a093d72069f5"
DEADLINE_S = 6.0  # the list has 10 KB, and the packaged list has the same words
MAX_BYTES = 1 << 16


@dataclass(frozen=True)
class Labels:
    """One entry of `names` and of `wnids` per class, by class index; `source` says where the names are from."""

    names: tuple[str, ...]
    wnids: tuple[str | None, ...]
    source: str


def load(spec: ModelSpec, chosen: str | PathLike[str] | None = None) -> Labels:
    """Return the class names of `spec`, from the file `chosen` if there is one.

    Raises:
        LabelsError: the chosen file cannot be read or has not one name per class.
    """
    none = spec.wnids or (None,) * spec.num_classes
    wnids: tuple[str | None, ...] = _packaged()[0] if is_imagenet(spec) else none
    if chosen is not None:
        return Labels(_read(Path(chosen), spec), wnids, str(chosen))
    if spec.label_names:
        return Labels(spec.label_names, wnids, "the model's own")
    if not is_imagenet(spec):
        return Labels(tuple(f"class {i}" for i in range(spec.num_classes)), wnids, "numbered, as the model names none")
    if fetched := _kept(IMAGENET_SHA256):
        return Labels(fetched, wnids, IMAGENET_URL)
    return Labels(_packaged()[1], wnids, "ImageNet's, packaged with resnest")


def is_imagenet(spec: ModelSpec) -> bool:
    """Return whether the classes are ImageNet's: a thousand, without names of the model's own."""
    return spec.num_classes == IMAGENET_CLASSES and not spec.label_names


def imagenet_names(url: str = IMAGENET_URL, sha256: str = IMAGENET_SHA256) -> tuple[str, ...]:
    """Return the 1000 ImageNet class names in index order, downloaded once and kept in the cache.

    Raises:
        LabelsError: not cached, and `url` cannot be downloaded or has another hash.
    """
    if kept := _kept(sha256):
        return kept
    content = _download(url, sha256)
    with contextlib.suppress(OSError, UsageError):  # without a cache, each time is a download
        atomic.write(imagenet_path(), content)
    return tuple(content.decode().splitlines())


def shared_by_classes() -> dict[str, set[str]]:
    """Return the names that several classes of ImageNet have, each with the WordNet ids of these classes."""
    named: dict[str, set[str]] = {}
    for wnid, name in zip(*_packaged(), strict=True):
        named.setdefault(name, set()).add(wnid)
    return {name: wnids for name, wnids in named.items() if len(wnids) > 1}


def imagenet_path() -> Path:
    """Return the path of the list in the cache."""
    return cache.folder() / "imagenet_classes.txt"


def _kept(sha256: str) -> tuple[str, ...]:
    """Return the names in the cache if they have this hash, else ()."""
    try:
        content = imagenet_path().read_bytes()
    except (OSError, UsageError):
        return ()
    return tuple(content.decode().splitlines()) if hashlib.sha256(content).hexdigest() == sha256 else ()


def _download(url: str, sha256: str) -> bytes:
    if hub.offline():
        message = "HF_HUB_OFFLINE forbids requests"
        raise LabelsError(message)
    from resnest_cli.net.exchange import request  # noqa: PLC0415 - requests takes 0.1 s

    try:
        with request("GET", url, Deadline(DEADLINE_S)) as response:
            content = response.content(MAX_BYTES)
    except ExchangeError as error:
        message = f"{url} could not be downloaded ({error})"
        raise LabelsError(message) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        message = f"{url} is not the expected list (its sha256 differs)"
        raise LabelsError(message)
    return content


def _read(path: Path, spec: ModelSpec) -> tuple[str, ...]:
    try:
        names = tuple(path.read_text(encoding="utf-8-sig").splitlines())
    except UnicodeDecodeError as error:
        message = f"--labels {path} cannot be read: it is not text in UTF-8."
        raise LabelsError(message) from error
    except (OSError, ValueError) as error:
        message = f"--labels {path} cannot be read: {reason(error)}"
        raise LabelsError(message) from error
    if len(names) != spec.num_classes or not all(name.strip() for name in names):
        message = (
            f"--labels {path} must hold one name per line for {spec.num_classes} classes; it has {len(names)} lines."
        )
        raise LabelsError(message)
    return names


def _packaged() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the WordNet ids and the names of ImageNet's classes, from the file that `scripts/data` makes."""
    lines = (DATA / "imagenet.tsv").read_text(encoding="utf-8").splitlines()
    wnids, names = zip(*(line.split("\t") for line in lines), strict=True)
    return wnids, names
