"""Download what models need ahead of time, and check it: weights, configs of repositories, class names.

In: names of models. Out: one `Item` per file, as it is done; a failure is an item too, so that other models are still
downloaded. Cached files are hashed, and downloaded again if damaged. Does not know who shows the progress.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import indent
from typing import TYPE_CHECKING, Any

from resnest_cli.errors import LabelsError, ResnestError, UsageError
from resnest_cli.models import catalog, hub_cache, labels, weights
from resnest_cli.net import transfer
from resnest_cli.system import digests
from resnest_cli.system.paths import look

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from resnest_cli.net.transfer import Progress
    from resnest_cli.types import ModelSpec

BAD = {"failed", "damaged", "missing"}


@dataclass(frozen=True)
class Item:
    """One file: its model, its state and its path; `note` has the reason, and what to type next.

    `state` is "downloaded", "whole" (its hash is right), "unchecked" (no hash is known), "packaged" (nothing to
    download), or one of `BAD`.
    """

    model: str
    state: str
    path: Path | None = None
    note: str = ""

    @property
    def bytes(self) -> int:
        """The size of the file, 0 if there is none."""
        return self.path.stat().st_size if self.path and look(self.path).is_file else 0

    def row(self) -> dict[str, Any]:
        """Return it as a row of JSON."""
        path = str(self.path) if self.path else None
        return {"model": self.model, "state": self.state, "path": path, "bytes": self.bytes, "note": self.note}

    def words(self) -> str:
        """Return it as a line for people, with the note below."""
        size = f"{self.bytes / 1e6:8.1f} MB" if self.path else ""
        line = f"{self.model:<18}  {self.state:<10}  {size:11}  {self.path or ''}".rstrip()
        return f"{line}\n{indent(self.note, '    ')}" if self.note else line


def models(named: Iterable[str], *, all: bool, verify: bool) -> list[str]:
    """Return the models to fetch or to verify: the named ones; with `all` every variant too; else those in the cache.

    Raises:
        UsageError: nothing is named, and nothing is to be verified.
    """
    names = [*named]
    if not (names or all or verify):
        raise UsageError("name a MODEL, or use --all: `resnest list-models` shows the variants.")
    if names and not all:
        return names
    variants = [spec.name for spec in catalog.list_models() if all or weights.is_cached(spec)]
    return [*names, *(name for name in variants if name not in names)]


def no_progress(_name: str) -> Progress:
    """Report no progress."""
    return transfer.no_progress


def fetch(names: Iterable[str], follow: Callable[[str], Progress] = no_progress) -> Iterator[Item]:
    """Download the weights of each model and, where needed, the ImageNet class names.

    Args:
        names: as for `--model`.
        follow: returns the progress callback of one model's download.
    """
    specs = []
    for name in names:
        spec = _found(name)
        if isinstance(spec, Item):
            yield spec
        else:
            specs.append(spec)
            yield _fetch(spec, follow)
    if any(labels.is_imagenet(spec) for spec in specs):
        yield _fetch_names()


def verify(names: Iterable[str]) -> Iterator[Item]:
    """Hash the cached files of each model, and the cached class names; sends no request."""
    for name in names:
        spec = _found(name)
        if isinstance(spec, Item):
            yield spec
        else:
            yield _packaged(spec) if spec.folder else _verify(name, spec)
    path = labels.imagenet_path()
    if look(path).is_file:
        good = digests.matches(path, labels.IMAGENET_SHA256)
        note = "" if good else "it is not used; the next `resnest download` replaces it"
        yield Item("class names", "whole" if good else "damaged", path, note)


def _found(name: str) -> ModelSpec | Item:
    try:
        return catalog.find_model(name)
    except ResnestError as error:
        return Item(name, "failed", note=error.message)


def _fetch(spec: ModelSpec, follow: Callable[[str], Progress]) -> Item:
    if spec.folder:
        return _packaged(spec)
    try:
        if path := weights.cached(spec):
            item = _checked(spec.name, path)
            if item.state not in BAD:
                return item
            hub_cache.discard(path)
        path = weights.download(spec, follow(spec.name))
    except ResnestError as error:
        return Item(spec.name, "failed", note=error.message)
    return Item(spec.name, "downloaded", path, "" if weights.verify(path) else "no hash of it is known")


def _verify(name: str, spec: ModelSpec) -> Item:
    try:
        return _checked(name, weights.cached(spec))
    except ResnestError as error:
        return Item(name, "failed", note=error.message)


def _packaged(spec: ModelSpec) -> Item:
    return Item(spec.name, "packaged", weights.locate(spec))


def _checked(name: str, path: Path | None) -> Item:
    if path is None:
        return Item(name, "missing", note=f"type: resnest download {name}")
    try:
        good = weights.verify(path)
    except OSError as error:
        return Item(name, "damaged", path, f"it cannot be read ({error.strerror}); type: resnest download {name}")
    if good is None:
        return Item(name, "unchecked", path, "no hash of it is known")
    return Item(name, "whole", path) if good else Item(name, "damaged", path, f"type: resnest download {name}")


def _fetch_names() -> Item:
    try:
        path = labels.imagenet_path()
        was_there = look(path).is_file
        labels.imagenet_names()
        if look(path).is_file:
            return Item("class names", "whole" if was_there else "downloaded", path)
        why = f"{path} cannot be written"
    except (LabelsError, UsageError) as error:
        why = error.message
    return Item("class names", "packaged", note=f"the packaged list is used, because {why}")
