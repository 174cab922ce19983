"""Which file holds a model's weights, and its bytes.

In: a spec, and maybe the file that the user chose. Out: a path, downloaded if need be; bytes with their hash. The
published weights of a variant are on the hub; where the hub cannot be reached, the mirror that the model card names is
downloaded instead, into the folder that torch.hub and timm use. Does not know what is in the file.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from resnest_cli.errors import BadCheckpoint, OutputError, UsageError, WeightsUnavailable
from resnest_cli.models import hub, hub_cache
from resnest_cli.net import transfer
from resnest_cli.net.errors import ExchangeError, Unreachable
from resnest_cli.system import cache, digests, files
from resnest_cli.system.paths import look, reason

if TYPE_CHECKING:
    from os import PathLike

    from resnest_cli.net.transfer import Progress
    from resnest_cli.types import ModelSpec

_LOG = logging.getLogger(__name__)
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.pth$")  # as torch.hub names checkpoints
FILENAMES = ("model.safetensors", "pytorch_model.bin")
RANDOM = "random"  # in place of the hash, for weights made from a seed
MAX_BYTES = 4 << 30  # the largest variant has 0.45 GB; a checkpoint with averages and optimizer state eight times that


class Content(NamedTuple):
    """A weights file that was read once: its bytes, and their hash."""

    data: bytes
    sha256: str


def is_cached(spec: ModelSpec) -> bool | None:
    """Return whether the weights are on this machine; None where the cache cannot be read."""
    try:
        return spec.folder is not None or cached(spec) is not None
    except UsageError:
        return None


def cached(spec: ModelSpec) -> Path | None:
    """Return the downloaded weights of a variant or repository, or None.

    Raises:
        UsageError: the Hugging Face cache cannot be read, see `hub_cache.find`.
    """
    for name in FILENAMES:
        if path := hub_cache.find(spec.repo, name):
            return path
    path = _mirrored(spec)
    return path if path and look(path).is_file else None


def locate(spec: ModelSpec, chosen: str | PathLike[str] | None = None) -> Path:
    """Return the weights file of `spec`: the chosen one, its folder's, the cached one, or a fresh download.

    Raises:
        BadCheckpoint: the chosen file does not exist, or the model folder has no weights.
        WeightsUnavailable: neither cached nor downloaded; the message lists what to do.
        UsageError: the cache cannot be read.
        OutputError: the cache cannot be written.
    """
    if chosen is not None:
        path = Path(chosen)
        if not look(path).is_file:
            message = f"--weights {path}: {_why_no_file(path)}"
            raise BadCheckpoint(message)
        return path
    if spec.folder is not None:
        return _in_folder(spec.folder)
    return cached(spec) or download(spec)


def download(spec: ModelSpec, progress: Progress = transfer.no_progress) -> Path:
    """Download the weights of a variant or repository: from the hub, else from the mirror that the model card names.

    Raises:
        WeightsUnavailable: both failed; the message lists what to do.
        OutputError: the cache cannot be written.
    """
    if not hub.offline():
        size = spec.facts.get("checkpoint_bytes")
        _LOG.info("downloading %s%s from %s", spec.name, f" ({size / 1e6:.0f} MB)" if size else "", hub.host())
    try:
        return _from_hub(spec, progress)
    except WeightsUnavailable as error:
        if hub.offline() or not spec.facts.get("checkpoint_url"):
            raise WeightsUnavailable(_ways_out(spec, error)) from error
        try:
            path = _from_mirror(spec, progress)
        except WeightsUnavailable as second:
            raise WeightsUnavailable(_ways_out(spec, error, second)) from error
        cause = error.__cause__ or error  # logged where the mirror helped; else the error lists what was tried
        _LOG.info("the hub gave no weights (%s): they are from %s", cause, spec.facts["checkpoint_url"])
        return path


def verify(path: Path) -> bool | None:
    """Return whether a downloaded file has its published hash; None where no hash is known.

    Raises:
        OSError: the file cannot be read.
    """
    prefix = _HASH_IN_NAME.search(path.name)
    return digests.matches(path, prefix[1]) if prefix else hub_cache.verify(path)


def _from_hub(spec: ModelSpec, progress: Progress) -> Path:
    """Download the file that the repository has: older repositories of users may have a pickle only."""
    try:
        return hub.fetch(spec.repo, FILENAMES[0], progress)
    except hub.NoSuchFile as error:
        try:
            return hub.fetch(spec.repo, FILENAMES[1], progress)
        except WeightsUnavailable:
            raise error from None


def _mirrored(spec: ModelSpec) -> Path | None:
    """Return where the mirror's checkpoint is kept, if there is a mirror and a folder."""
    url = str(spec.facts.get("checkpoint_url", ""))
    try:
        return checkpoints() / url.rpartition("/")[2] if url else None
    except UsageError:
        return None


def checkpoints() -> Path:
    """Return the folder of torch.hub's cache for checkpoints, which timm uses too.

    Raises:
        UsageError: it is in the home folder, and the user has none.
    """
    base = os.environ.get("TORCH_HOME") or f"{os.environ.get('XDG_CACHE_HOME', '~/.cache')}/torch"
    return cache.expand(base, "TORCH_HOME") / "hub" / "checkpoints"


def _from_mirror(spec: ModelSpec, progress: Progress) -> Path:
    url, target = spec.facts["checkpoint_url"], _mirrored(spec)
    if target is None:
        message = f"there is no folder for {url}: set TORCH_HOME to a folder to write in."
        raise WeightsUnavailable(message)
    try:
        with transfer.lock(target.with_name(f"{target.name}.lock"), target) as partial:
            if not target.is_file():
                remote = transfer.RemoteFile(url, spec.facts["checkpoint_sha256_prefix"])
                transfer.download(remote, target, partial, progress)
    except ExchangeError as error:
        message = f"{url} could not be downloaded: {error}."
        raise WeightsUnavailable(message) from error
    except OSError as error:
        message = f"{target.parent} cannot be written: {error.strerror or error}. Set TORCH_HOME to a folder that can."
        raise OutputError(message) from error
    return target


def sha256(path: Path) -> str:
    """Return the sha256 of a weights file, by which graphs are looked up.

    The user's own Hugging Face cache names its files by it (`hub_cache.trusted_sha256`); any other file is read. `read`
    checks that what is loaded has this hash.

    Raises:
        BadCheckpoint: it cannot be read.
    """
    try:
        return hub_cache.trusted_sha256(path) or digests.sha256(path, MAX_BYTES)
    except OSError as error:
        raise _unreadable(path, error) from error


def read(path: Path, expected: str = "") -> Content:
    """Read a weights file once, with its hash: whatever changes the file later, the loaded bytes have this hash.

    Args:
        path: the file.
        expected: the hash that `sha256` returned; "" for any.

    Raises:
        BadCheckpoint: it cannot be read, or has another hash.
    """
    try:
        data = files.read(path, MAX_BYTES)
    except OSError as error:
        raise _unreadable(path, error) from error
    except MemoryError as error:
        message = f"{path} cannot be read: it is larger than the memory of this machine."
        raise BadCheckpoint(message) from error
    content = Content(data, hashlib.sha256(data).hexdigest())
    if content.sha256 != (expected or content.sha256):
        message = (
            f"{path} does not have the expected sha256 {expected}: it changed while it was read, or is damaged. "
            "Run the command again; `resnest download --verify` checks downloaded files."
        )
        raise BadCheckpoint(message)
    return content


def _unreadable(path: Path, error: OSError) -> BadCheckpoint:
    return BadCheckpoint(f"{path} cannot be read: {reason(error)}")


def _in_folder(folder: Path) -> Path:
    for name in FILENAMES:
        if look(folder / name).is_file:
            return folder / name
    message = f"{folder} has no weights: expected {' or '.join(FILENAMES)} beside its config.json."
    raise BadCheckpoint(message)


def _why_no_file(path: Path) -> str:
    seen = look(path)
    if seen.is_folder:
        return f"a folder. A model folder goes to --model: --model {path}"
    return "not a regular file." if seen.is_there else seen.why


def _ways_out(spec: ModelSpec, *tries: WeightsUnavailable) -> str:
    """Return a message with the likely cause, what to do about it, and what was tried."""
    return (
        f"no weights for {spec.name}: {_likely(tries)}\n"
        "Three ways out:\n"
        "  try things offline   --model digits\n"
        f"  use a file you have  --model {spec.architecture} --weights FILE.safetensors\n"
        f"  download elsewhere   resnest download {spec.name}   (or: hf download {spec.repo} {FILENAMES[0]})\n"
        "                       and copy that machine's Hugging Face cache here; or set HF_ENDPOINT to a mirror\n"
        "What was tried:\n" + "\n".join(f"  {error.message}" for error in tries)
    )


def _likely(tries: tuple[WeightsUnavailable, ...]) -> str:
    if hub.offline():
        return "they are not in the cache, and HF_HUB_OFFLINE forbids to download them."
    if all(isinstance(error.__cause__, Unreachable) for error in tries):
        return "nothing can be reached. No internet, or a proxy that is not set (HTTPS_PROXY)?"
    return "they could not be downloaded."
