"""Files of Hugging Face repositories: found in its cache without a request, fetched into it otherwise.

In: repository (OWNER/NAME, or OWNER/NAME@REVISION) and file name. Out: a path inside the Hugging Face cache, shared
with timm and every other tool, so that nothing is downloaded twice. Does not know what is in the files.
"""

from __future__ import annotations

import os
from pathlib import Path

from resnest_cli.errors import WeightsUnavailable

CONNECT_TIMEOUT_S = 5.0


def cached(repo: str, filename: str) -> Path | None:
    """Give the cached copy of a file, or None; no request is made and huggingface_hub is not imported.

    Follows the cache's documented layout: refs/REVISION holds the commit that names the snapshot folder.
    """
    name, revision = _split(repo)
    folder = cache_folder() / f"models--{name.replace('/', '--')}"
    try:
        commit = (folder / "refs" / revision).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        commit = revision
    path = folder / "snapshots" / commit / filename
    return path if path.is_file() else None


def fetch(repo: str, filename: str) -> Path:
    """Give the cached copy of a file, downloading it first if there is none.

    `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_CACHE`, `HF_HUB_OFFLINE` and `HF_TOKEN` are honoured.

    Raises:
        WeightsUnavailable: not cached and not to be had; the message names the URL and the cause.
    """
    return cached(repo, filename) or _download(repo, filename)


def offline() -> bool:
    """Tell whether `HF_HUB_OFFLINE` forbids requests (or its older name, as for huggingface_hub)."""
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE", "")
    return value.upper() in {"1", "ON", "YES", "TRUE"}


def probe(repo: str, filename: str) -> str:
    """Ask whether a file can be had now, without retries, and give its URL.

    Raises:
        WeightsUnavailable: it cannot; the message names the URL and the cause.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url  # noqa: PLC0415 - 0.25 s

    name, revision = _split(repo)
    try:
        url = hf_hub_url(name, filename, revision=revision)
    except ValueError as error:
        message = f"{name!r} is no repository name, which looks like OWNER/NAME: {_cause(error)}"
        raise WeightsUnavailable(message) from error
    if offline():
        message = f"{url} is not in the cache, and HF_HUB_OFFLINE forbids to download it."
        raise WeightsUnavailable(message)
    try:
        get_hf_file_metadata(url, timeout=CONNECT_TIMEOUT_S)
    except Exception as error:  # the hub's HTTP library raises its own family, which is not ours to name
        raise _unavailable(url, error) from error
    return url


def _download(repo: str, filename: str) -> Path:
    from huggingface_hub import hf_hub_download  # noqa: PLC0415 - 0.25 s

    # Asked first: hf_hub_download alone takes 23 s to tell that a connection is refused, and then hides the cause.
    url = probe(repo, filename)
    name, revision = _split(repo)
    try:
        return Path(hf_hub_download(name, filename, revision=revision))
    except Exception as error:
        raise _unavailable(url, error) from error


def _unavailable(url: str, error: Exception) -> WeightsUnavailable:
    return WeightsUnavailable(f"{url} could not be downloaded: {_cause(error)}")


def _split(repo: str) -> tuple[str, str]:
    name, _, revision = repo.partition("@")
    return name, revision or "main"


def cache_folder() -> Path:
    """Give the Hugging Face cache folder, by huggingface_hub's own order of environment variables."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if path := os.environ.get(variable):
            return _expanded(path)
    base = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return _expanded(os.environ.get("HF_HOME", f"{base}/huggingface")) / "hub"


def _expanded(path: str) -> Path:
    return Path(os.path.expandvars(path)).expanduser()


def _cause(error: Exception) -> str:
    """Give the first two lines: the hub's client says the status in one, and what it means in the other."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]) or type(error).__name__
