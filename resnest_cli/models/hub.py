"""Files of Hugging Face repositories, downloaded into the shared cache unless they are there (`hub_cache`).

In: a repository (OWNER/NAME, or OWNER/NAME@REVISION) and the name of a file in it. Out: a path in the cache. Does not
know what is in the files.

The download is our own (`transfer`), under the cache's own lock. huggingface_hub compares the size of a file with what
the hub announces but not its hash, so a flipped byte stays in the cache under the hash of the right file; it waits 13
minutes for a silent server; and after each killed try it leaves a partial file that is never resumed.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from resnest_cli.errors import OutputError, UsageError, WeightsUnavailable
from resnest_cli.models import hub_cache
from resnest_cli.net import transfer
from resnest_cli.net.deadline import Deadline
from resnest_cli.net.errors import ExchangeError
from resnest_cli.system import atomic, cache
from resnest_cli.text import redact
from resnest_cli.text.numbers import parse_integer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from resnest_cli.net.transfer import Progress

ENDPOINT = "https://huggingface.co"
PROBE_S = 6.0
NOT_FOUND = 404
_DENIED = {401, 403}
_COMMIT = re.compile("[0-9a-f]{40}")


class NoSuchFile(WeightsUnavailable):
    """The repository has no such file, or there is no such repository."""


@dataclass(frozen=True)
class HubFile:
    """What the hub says of one file: the commit of the repository, and what to download."""

    commit: str
    remote: transfer.RemoteFile


def fetch(repo: str, filename: str, progress: Progress = transfer.no_progress) -> Path:
    """Return the cached copy of a file, downloading it first if there is none.

    Honors `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_CACHE`, `HF_HUB_OFFLINE`, `HF_TOKEN` and the proxies of the environment.

    Raises:
        WeightsUnavailable: neither cached nor downloaded; the message names the URL and the cause.
        OutputError: the cache cannot be written.
    """
    return hub_cache.find(repo, filename) or _download(repo, filename, progress)


def probe(repo: str, filename: str) -> str:
    """Ask the hub for a file once, and return its redacted URL.

    Raises:
        WeightsUnavailable: the hub does not offer the file; the message names the URL and the cause.
    """
    return redact.url(_query(repo, filename, PROBE_S).remote.url)


def offline() -> bool:
    """Return whether `HF_HUB_OFFLINE` forbids requests (or its older name, as for huggingface_hub)."""
    return _is_true(os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE", ""))


def host() -> str:
    """Return the host name of the hub."""
    with suppress(ValueError):  # a malformed URL is refused when it is requested
        if name := urlsplit(_endpoint()).hostname:
            return name
    return redact.url(_endpoint())


def _download(repo: str, filename: str, progress: Progress) -> Path:
    found = _query(repo, filename, transfer.STALL_S)
    name, revision = hub_cache.split(repo)
    folder = hub_cache.repo_folder(name)
    blob = folder / "blobs" / found.remote.hash
    lock = hub_cache.folder() / ".locks" / folder.name / f"{found.remote.hash}.lock"  # huggingface_hub's own
    try:
        with transfer.lock(lock, blob) as partial:
            if not blob.is_file():  # else another process has downloaded it meanwhile
                transfer.download(found.remote, blob, partial, progress)
            transfer.remove_stale(blob.parent)
            pointer = folder / "snapshots" / found.commit / filename
            hub_cache.link(pointer, blob)
            if revision != found.commit:
                atomic.write(folder / "refs" / revision, found.commit)
    except ExchangeError as error:
        raise _unavailable(found.remote.url, error) from error
    except OSError as error:
        message = (
            f"{hub_cache.folder()} cannot be written: {error.strerror or error}. "
            "Make room, or set HF_HOME to a folder that can be written."
        )
        raise OutputError(message) from error
    return pointer


def _query(repo: str, filename: str, seconds: float) -> HubFile:
    """Ask the hub where a file is and which hash it has.

    Raises:
        WeightsUnavailable: the hub does not answer, or what answers is no hub.
    """
    from resnest_cli.net.exchange import request  # noqa: PLC0415 - requests takes 0.1 s

    url = _url(repo, filename)
    if offline():
        message = f"{redact.url(url)} is not in the cache, and HF_HUB_OFFLINE forbids to download it."
        raise WeightsUnavailable(message)
    deadline = Deadline(seconds)
    for tries in count(1):
        try:
            with request("HEAD", url, deadline, authorization=_authorization(), is_final=_describes) as response:
                if (error := response.error()) and not _describes(response.headers):
                    raise error
                return _hub_file(url, response.headers)
        except ExchangeError as error:  # noqa: PERF203 - the loop is for retries
            if not transfer.wait_to_retry(error, tries, deadline):
                raise _unavailable(url, error) from error
    raise AssertionError  # the loop has no end


def _hub_file(url: str, headers: Mapping[str, str]) -> HubFile:
    commit, content = headers.get("X-Repo-Commit", ""), _content_hash(headers)
    size = parse_integer(headers.get("X-Linked-Size") or headers.get("Content-Length", ""))
    if not _COMMIT.fullmatch(commit):
        message = (
            f"{redact.url(url)} is not answered by a hub (no X-Repo-Commit): a login page of the network, or a wrong "
            "address?"
        )
        raise WeightsUnavailable(message)
    if not hub_cache.HASH.fullmatch(content):
        message = f"{redact.url(url)}: the hub names no hash (ETag) of this file, so a download cannot be checked."
        raise WeightsUnavailable(message)
    return HubFile(commit, transfer.RemoteFile(url, content, size or 0, _authorization()))


def _describes(headers: Mapping[str, str]) -> bool:
    """Return whether a response, maybe a redirect to where large files are, names the commit and the hash."""
    return bool(headers.get("X-Repo-Commit")) and bool(headers.get("X-Linked-Etag"))


def _content_hash(headers: Mapping[str, str]) -> str:
    etag = headers.get("X-Linked-Etag") or headers.get("ETag", "")
    return etag.removeprefix("W/").strip('"').lower()


def _url(repo: str, filename: str) -> str:
    name, revision = hub_cache.split(repo)
    if not hub_cache.REPO.fullmatch(name) or ".." in repo or "--" in name:
        message = f"{name!r} is no repository name: use OWNER/NAME. `resnest list-models` lists the variants."
        raise WeightsUnavailable(message)
    return f"{_endpoint()}/{name}/resolve/{quote(revision, safe='')}/{quote(filename)}"


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or ENDPOINT


def _authorization() -> str:
    """Return the user's token as the value of a header: from `HF_TOKEN`, or where `hf auth login` wrote it."""
    if _is_true(os.environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "")):
        return ""
    token = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN") or ""
    if not token:
        try:
            path = cache.expand(os.environ.get("HF_TOKEN_PATH") or str(hub_cache.home() / "token"), "HF_HOME")
            token = path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError, UsageError):
            return ""
    token = "".join(token.split())
    return f"Bearer {token}" if token else ""


def _unavailable(url: str, error: ExchangeError) -> WeightsUnavailable:
    kind = NoSuchFile if error.status == NOT_FOUND else WeightsUnavailable
    hint = " Is the name right? For a private or gated repository, set HF_TOKEN." if error.status in _DENIED else ""
    return kind(f"{redact.url(url)} could not be downloaded: {error}.{hint}")


def _is_true(value: str) -> bool:
    return value.upper() in {"1", "ON", "YES", "TRUE"}
