"""Files of Hugging Face repositories: found in its cache without a request, fetched into it otherwise.

In: repository (OWNER/NAME, or OWNER/NAME@REVISION) and file name. Out: a path inside the Hugging Face cache, shared
with timm and every other tool, so that nothing is downloaded twice. Does not know what is in the files.

The transfer is our own (`transfer`), into the cache's documented layout and under its own lock: huggingface_hub
compares a file's size with what the hub announces but not its hash, so that a flipped byte is kept for ever under the
hash of the right file; it waits 13 minutes for a silent server; and each try that is killed leaves a part that nobody
takes up.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from resnest_cli.errors import OutputError, UsageError, WeightsUnavailable
from resnest_cli.net import transfer
from resnest_cli.system import atomic, cache, digests, trust
from resnest_cli.system.paths import Kind, look
from resnest_cli.text import redact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resnest_cli.net.transfer import Watch
    from resnest_cli.net.exchange import Trouble

ENDPOINT = "https://huggingface.co"
PROBE_PATIENCE_S = 6.0
NOT_FOUND = 404
_DENIED = {401, 403}
_REPO = re.compile(r"(?:[A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_COMMIT = re.compile("[0-9a-f]{40}")
_SHA256 = re.compile("[0-9a-f]{64}")
_HASH = re.compile(f"[0-9a-f]{{40}}|{_SHA256.pattern}")


class NoSuchFile(WeightsUnavailable):
    """The hub has the repository, or may have, but not this file."""


@dataclass(frozen=True)
class Remote:
    """What a hub says of one file: the repository's commit, and what is to be fetched."""

    commit: str
    wanted: transfer.Wanted


def cached(repo: str, filename: str) -> Path | None:
    """Return the cached copy of a file, or None; no request is made and huggingface_hub is not imported.

    Follows the cache's documented layout: refs/REVISION holds the commit that names the snapshot folder.

    Raises:
        UsageError: the cache may not be read, or there is no home folder for it; what is in it is not known.
    """
    name, revision = _split(repo)
    if ".." in repo:  # a revision of that kind leads out of the cache; `fetch` says that it is none
        return None
    folder = _folder(name)
    try:
        commit = (folder / "refs" / revision).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        commit = revision
    path = folder / "snapshots" / commit / filename
    seen = look(path)
    if seen.kind is Kind.UNKNOWN and _REPO.fullmatch(name):
        message = f"{_variable()}: {cache_folder()} cannot be read: {seen.why} Set HF_HOME to a folder that can."
        raise UsageError(message)
    return path if seen.is_file else None


def fetch(repo: str, filename: str, watch: Watch = transfer.unwatched) -> Path:
    """Return the cached copy of a file, downloading it first if there is none.

    `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_CACHE`, `HF_HUB_OFFLINE`, `HF_TOKEN` and the proxies of the environment are
    honoured.

    Raises:
        WeightsUnavailable: not cached and not to be had; the message names the URL and the cause.
        OutputError: the cache cannot be written.
    """
    return cached(repo, filename) or _download(repo, filename, watch)


def whole(path: Path) -> bool | None:
    """Tell whether a cached file still has the hash it is kept under; None where the cache names none.

    Raises:
        OSError: it cannot be read.
    """
    blob = path.resolve()
    named = blob.parent.name == "blobs" and _HASH.fullmatch(blob.name)
    return digests.matches(blob, blob.name) if named else None


def named_hash(path: Path) -> str:
    """Return the sha256 by which a large file of the user's own cache is named; nothing for any other file.

    The name is believed there only, where none but the user can have given it: elsewhere, a link to a file that is
    named by the hash of others would pass for them.
    """
    blob = Path(os.path.realpath(path))
    if blob.parent.name != "blobs" or not _SHA256.fullmatch(blob.name):
        return ""
    try:
        own = blob.parents[2] == Path(os.path.realpath(cache_folder()))
    except UsageError:  # no home folder to have it in
        return ""
    return blob.name if own and not trust.doubt(blob) else ""


def discard(path: Path) -> None:
    """Remove a cached file, the content with the name."""
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def offline() -> bool:
    """Tell whether `HF_HUB_OFFLINE` forbids requests (or its older name, as for huggingface_hub)."""
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE", "")
    return _is_true(value)


def probe(repo: str, filename: str) -> str:
    """Ask whether a file can be had now, once, and give its URL as it may be shown.

    Raises:
        WeightsUnavailable: it cannot; the message names the URL and the cause.
    """
    return redact.url(_look(repo, filename, PROBE_PATIENCE_S).wanted.url)


def cache_folder() -> Path:
    """Return the Hugging Face cache folder, by huggingface_hub's own order of environment variables.

    Raises:
        UsageError: it is in the home folder, and none is known.
    """
    variable = _variable()
    return _home() / "hub" if variable == "HF_HOME" else cache.expanded(os.environ[variable], variable)


def host() -> str:
    """Return the name of the hub's machine, which is asked for what is not cached."""
    with suppress(ValueError):  # what is no URL will be refused where it is asked
        if name := urlsplit(_endpoint()).hostname:
            return name
    return redact.url(_endpoint())


def _variable() -> str:
    """Name the variable that says where the cache is."""
    return next((name for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE") if os.environ.get(name)), "HF_HOME")


def _download(repo: str, filename: str, watch: Watch) -> Path:
    from resnest_cli.net.exchange import Trouble  # noqa: PLC0415 - requests takes 0.1 s

    remote = _look(repo, filename, transfer.PATIENCE_S)
    name, revision = _split(repo)
    folder = _folder(name)
    blob = folder / "blobs" / remote.wanted.hash
    lock = cache_folder() / ".locks" / folder.name / f"{remote.wanted.hash}.lock"
    try:
        with transfer.alone(lock, blob) as partial:  # huggingface_hub's own; a second process waits, and finds the file
            if not blob.is_file():
                transfer.to_file(remote.wanted, blob, partial, watch)
            transfer.sweep(blob.parent)
            pointer = folder / "snapshots" / remote.commit / filename
            _point(pointer, blob)
            if revision != remote.commit:
                atomic.write(folder / "refs" / revision, remote.commit.encode())
    except Trouble as trouble:
        raise _unavailable(remote.wanted.url, trouble) from trouble
    except OSError as error:
        message = (
            f"{cache_folder()} cannot be written: {error.strerror or error}. "
            "Make room, or set HF_HOME to a folder that can be written."
        )
        raise OutputError(message) from error
    return pointer


def _look(repo: str, filename: str, patience_s: float) -> Remote:
    """Ask the hub where a file is and what its hash is.

    Raises:
        WeightsUnavailable: it cannot be asked, or what answers is no hub.
    """
    from resnest_cli.net.exchange import Patience, Trouble, ask  # noqa: PLC0415

    url = _url(repo, filename)
    if offline():
        message = f"{redact.url(url)} is not in the cache, and HF_HUB_OFFLINE forbids to download it."
        raise WeightsUnavailable(message)
    patience = Patience(patience_s)
    for tries in count(1):
        try:
            with ask("HEAD", url, patience, secret=_authorization(), last=_names_content) as answer:
                if (refusal := answer.refusal()) and not _names_content(answer.headers):
                    raise refusal
                return _remote(url, answer.headers)
        except Trouble as trouble:  # noqa: PERF203 - tries are what this loop is about
            if not transfer.pause(trouble, tries, patience):
                raise _unavailable(url, trouble) from trouble
    raise AssertionError  # the loop has no end


def _remote(url: str, headers: Mapping[str, str]) -> Remote:
    from resnest_cli.net.exchange import number  # noqa: PLC0415

    commit, content = headers.get("X-Repo-Commit", ""), _content_hash(headers)
    size = number(headers.get("X-Linked-Size") or headers.get("Content-Length", ""))
    if not _COMMIT.fullmatch(commit):
        message = (
            f"{redact.url(url)} is not answered by a hub (no X-Repo-Commit): a login page of the network, or a wrong "
            "address?"
        )
        raise WeightsUnavailable(message)
    if not _HASH.fullmatch(content):
        message = f"{redact.url(url)}: the hub names no hash (ETag) of this file, so what arrives could not be checked."
        raise WeightsUnavailable(message)
    return Remote(commit, transfer.Wanted(url, content, size or 0, _authorization()))


def _names_content(headers: Mapping[str, str]) -> bool:
    """Tell whether an answer, maybe a redirect to where large files are, says all that is to be known."""
    return bool(headers.get("X-Repo-Commit")) and bool(headers.get("X-Linked-Etag"))


def _content_hash(headers: Mapping[str, str]) -> str:
    etag = headers.get("X-Linked-Etag") or headers.get("ETag", "")
    return etag.removeprefix("W/").strip('"').lower()


def _url(repo: str, filename: str) -> str:
    name, revision = _split(repo)
    if not _REPO.fullmatch(name) or ".." in repo or "--" in name:
        message = f"{name!r} is no repository name: it looks like OWNER/NAME. `resnest list-models` shows the variants."
        raise WeightsUnavailable(message)
    return f"{_endpoint()}/{name}/resolve/{quote(revision, safe='')}/{quote(filename)}"


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or ENDPOINT


def _point(pointer: Path, blob: Path) -> None:
    """Name the content in its snapshot: by a relative link, or where there are none by moving it there."""
    if pointer.exists():
        return
    pointer.unlink(missing_ok=True)  # a link to what is gone
    pointer.parent.mkdir(parents=True, exist_ok=True)
    try:
        pointer.symlink_to(os.path.relpath(blob, pointer.parent))
    except OSError:
        blob.replace(pointer)


def _authorization() -> str:
    """Return the user's token as a header's value: from `HF_TOKEN`, or where `hf auth login` put it."""
    if _is_true(os.environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "")):
        return ""
    token = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN") or ""
    if not token:
        try:
            place = cache.expanded(os.environ.get("HF_TOKEN_PATH") or str(_home() / "token"), "HF_HOME")
            token = place.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError, UsageError):
            return ""
    token = "".join(token.split())
    return f"Bearer {token}" if token else ""


def _unavailable(url: str, trouble: Trouble) -> WeightsUnavailable:
    kind = NoSuchFile if trouble.status == NOT_FOUND else WeightsUnavailable
    hint = " Is the name right? For a private or gated repository, set HF_TOKEN." if trouble.status in _DENIED else ""
    return kind(f"{redact.url(url)} could not be downloaded: {trouble}.{hint}")


def _split(repo: str) -> tuple[str, str]:
    name, _, revision = repo.partition("@")
    return name, revision or "main"


def _folder(name: str) -> Path:
    return cache_folder() / f"models--{name.replace('/', '--')}"


def _home() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return cache.expanded(os.environ.get("HF_HOME", f"{base}/huggingface"), "HF_HOME")


def _is_true(value: str) -> bool:
    return value.upper() in {"1", "ON", "YES", "TRUE"}
