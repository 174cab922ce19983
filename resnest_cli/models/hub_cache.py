"""The Hugging Face cache, shared with timm and every other tool: where a file is kept, and whether it is undamaged.

In: a repository (OWNER/NAME, or OWNER/NAME@REVISION) and the name of a file in it. Out: a path in the cache, or None.
Sends no request and needs no huggingface_hub: the layout is the cache's documented one, where refs/REVISION holds the
commit that names the folder below snapshots/, whose links lead to files below blobs/ that are named by their hash. Does
not know what is in the files.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from resnest_cli.errors import UsageError
from resnest_cli.system import cache, digests, trust
from resnest_cli.system.paths import Kind, look

REPO = re.compile(r"(?:[A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_SHA256 = re.compile("[0-9a-f]{64}")
HASH = re.compile(f"[0-9a-f]{{40}}|{_SHA256.pattern}")  # git's sha1, or a sha256


def folder() -> Path:
    """Return the cache folder, by huggingface_hub's own order of environment variables.

    Raises:
        UsageError: it is in the home folder, and none is known.
    """
    variable = _variable()
    return home() / "hub" if variable == "HF_HOME" else cache.expand(os.environ[variable], variable)


def home() -> Path:
    """Return the folder of all Hugging Face tools, which holds the token too.

    Raises:
        UsageError: see `folder`.
    """
    base = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return cache.expand(os.environ.get("HF_HOME", f"{base}/huggingface"), "HF_HOME")


def split(repo: str) -> tuple[str, str]:
    """Return OWNER/NAME and the revision, "main" where none is named."""
    name, _, revision = repo.partition("@")
    return name, revision or "main"


def repo_folder(name: str) -> Path:
    """Return the folder of the repository OWNER/NAME.

    Raises:
        UsageError: see `folder`.
    """
    return folder() / f"models--{name.replace('/', '--')}"


def find(repo: str, filename: str) -> Path | None:
    """Return the cached copy of a file, or None.

    Raises:
        UsageError: the cache cannot be read, or there is no home folder for it.
    """
    name, revision = split(repo)
    if ".." in repo:  # such a revision leads out of the cache; `hub.fetch` refuses it in words
        return None
    where = repo_folder(name)
    try:
        commit = (where / "refs" / revision).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        commit = revision
    path = where / "snapshots" / commit / filename
    seen = look(path)
    if seen.kind is Kind.UNKNOWN and REPO.fullmatch(name):
        message = f"{_variable()}: {folder()} cannot be read: {seen.why} Set HF_HOME to a folder that can."
        raise UsageError(message)
    return path if seen.is_file else None


def verify(path: Path) -> bool | None:
    """Return whether a cached file still has the hash that names it; None where no hash names it.

    Raises:
        OSError: the file cannot be read.
    """
    blob = path.resolve()
    is_named = blob.parent.name == "blobs" and HASH.fullmatch(blob.name)
    return digests.matches(blob, blob.name) if is_named else None


def trusted_sha256(path: Path) -> str:
    """Return the sha256 that names a large file in the user's own cache; "" for any other file.

    Elsewhere a name is not trusted: a link to a file that somebody named by the hash of another file would pass for
    that file.
    """
    blob = Path(os.path.realpath(path))
    if blob.parent.name != "blobs" or not _SHA256.fullmatch(blob.name):
        return ""
    try:
        own = blob.parents[2] == Path(os.path.realpath(folder()))
    except UsageError:  # no home folder, so no cache
        return ""
    return blob.name if own and not trust.distrust(blob) else ""


def link(pointer: Path, blob: Path) -> None:
    """Link `pointer`, in a snapshot, to the content; where there are no links, move the content there.

    Raises:
        OSError: the cache cannot be written.
    """
    if pointer.exists():
        return
    pointer.unlink(missing_ok=True)  # a dangling link
    pointer.parent.mkdir(parents=True, exist_ok=True)
    try:
        pointer.symlink_to(os.path.relpath(blob, pointer.parent))
    except OSError:
        blob.replace(pointer)


def discard(path: Path) -> None:
    """Remove a cached file, its content and its name."""
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _variable() -> str:
    """Return the environment variable that names the cache folder."""
    return next((name for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE") if os.environ.get(name)), "HF_HOME")
