"""Download a URL to a file: resumed where it was cut, checked by its hash, then renamed to its name.

In: a remote file with its hash, and a path. Out: the file. The bytes so far lie beside it in a file that ends in
`PARTIAL`, one per target; the next try resumes it, also in another process. Callers hold a `lock`. Does not know what
the file is for.
"""

from __future__ import annotations

import contextlib
import io
import logging
import secrets
import shutil
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from resnest_cli.net.deadline import Deadline
from resnest_cli.net.errors import ExchangeError
from resnest_cli.system import atomic, digests, files, locks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import TypeAlias

    from resnest_cli.system.locks import Acquire

    Progress: TypeAlias = Callable[[int, int], None]  # bytes so far, bytes in all (0 if that is not known)

PARTIAL = ".incomplete"  # huggingface_hub's suffix
STALL_S = 15.0  # abort a try below `STALL_BYTES` per so many seconds: 16 KiB per 15 s
TOTAL_STALL_S = 18.0  # abort after so much time without bytes, over all tries
LOCK_STALL_S = 25.0  # abort waiting for a process that downloads nothing; it itself aborts earlier
MAX_FRUITLESS_TRIES = 4  # in a row with less than `MIN_PROGRESS` each
FIRST_PAUSE_S = 0.5  # before the second try, doubled before each further try
STALL_BYTES = 1 << 14
MIN_PROGRESS = 1 << 20  # bytes
STALE_S = 24 * 3600
_PARTIAL_CONTENT = 206
_RANGE_NOT_SATISFIABLE = 416  # the partial file is complete already: its hash decides
_log = logging.getLogger(__name__)


def no_progress(_done: int, _total: int) -> None:
    """Report no progress."""


@dataclass(frozen=True)
class RemoteFile:
    """A file to download: its URL, its hash (see `digests.matches`), its size in bytes (0 if unknown).

    `authorization` is the value of that header, for the host of `url` only.
    """

    url: str
    hash: str
    size: int = 0
    authorization: str = field(default="", repr=False)


def download(remote: RemoteFile, target: Path, partial: Path, progress: Progress = no_progress) -> None:
    """Download a file to `target`, whose folder is made; `progress` is called as bytes arrive.

    `partial` (see `lock`) keeps the bytes until then; what it holds already is resumed.

    Raises:
        ExchangeError: the file cannot be downloaded, or does not have its hash.
        OSError: the disk fails or is full; `partial` is removed, which frees the disk.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        resumed = _size(partial) > 0
        for _ in range(2 if resumed else 1):  # the old bytes may be what is damaged: retry without them
            _fill(remote, partial, progress)
            if digests.matches(partial, remote.hash):
                atomic.publish(partial, target)
                return
            partial.unlink()
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    message = f"what arrived is damaged: it does not have the hash {remote.hash}"
    raise ExchangeError(message)


def wait_to_retry(error: ExchangeError, tries: int, deadline: Deadline) -> bool:
    """Wait before the next try, after `tries` without progress; return False at once if no further try is allowed."""
    seconds = max(error.wait_s, FIRST_PAUSE_S * 2 ** (tries - 1)) if tries else 0.0
    if not error.retry or tries >= MAX_FRUITLESS_TRIES or seconds >= deadline.remaining():
        return False
    _log.info("%s: retrying", error)
    time.sleep(seconds)
    return True


@contextlib.contextmanager
def lock(path: Path, target: Path) -> Iterator[Path]:
    """Hold the lock file `path` while `target` is downloaded; yield the partial file for `download`.

    Waits for another process that downloads `target`, as long as its bytes arrive. Where the disk has no locks, each
    process has a partial file of its own, which is not resumed if the process is killed.

    Raises:
        ExchangeError: the other process downloads nothing any more.
        OSError: the lock cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # 0o664 is huggingface_hub's mode: groups share caches
    with locks.hold(path, lambda acquire: _wait(acquire, path, target), mode=0o664) as held:
        own = "" if held else f".{secrets.token_hex(4)}"
        yield target.with_name(f"{target.name}{own}{PARTIAL}")


def _wait(acquire: Acquire, lock_file: Path, target: Path) -> None:
    _log.info("waiting for another process that downloads the same file")
    deadline, before = Deadline(LOCK_STALL_S), -1
    while deadline.remaining() > 0:
        if acquire(min(1.0, LOCK_STALL_S)):
            return
        now = sum(map(_size, target.parent.glob(f"{target.name}*{PARTIAL}")))
        if now != before:
            deadline.restart()
        before = now
    message = f"another process holds {lock_file} and has downloaded nothing for {LOCK_STALL_S:.0f} s"
    raise ExchangeError(message)


def remove_stale(folder: Path) -> None:
    """Remove partial files of a day ago and before, ours and other tools'."""
    for partial in folder.glob(f"*{PARTIAL}"):
        if time.time() - partial.stat().st_mtime > STALE_S:
            partial.unlink(missing_ok=True)


def _fill(remote: RemoteFile, partial: Path, progress: Progress) -> None:
    """Fill `partial`, in as many tries as make progress."""
    size = remote.size
    if size and _size(partial) > size:
        partial.unlink()
    _check_room(partial, size)
    stalled, most, fruitless = 0.0, _size(partial), 0
    while not (size and _size(partial) == size):
        deadline = Deadline(
            min(STALL_S, TOTAL_STALL_S - stalled), f"less than {STALL_BYTES} bytes arrived within {{:.0f}} s"
        )
        try:
            _append(remote, partial, progress, deadline)
        except ExchangeError as error:
            # A server that ignores ranges begins at 0 each time: only bytes beyond the most so far are progress.
            fruitless = 0 if _size(partial) >= most + MIN_PROGRESS else fruitless + 1
            most = max(most, _size(partial))
            stalled += deadline.seconds - deadline.remaining()
            if stalled >= TOTAL_STALL_S or not wait_to_retry(error, fruitless, deadline):
                if not most:
                    raise
                message = f"{error} ({most} of {size or '?'} bytes had arrived)"
                raise ExchangeError(message, status=error.status) from error
        else:
            return


def _append(remote: RemoteFile, partial: Path, progress: Progress, deadline: Deadline) -> None:
    """Request the missing bytes, and write them as they arrive."""
    from resnest_cli.net.exchange import request  # noqa: PLC0415 - requests takes 0.1 s

    done, size = _size(partial), remote.size
    headers = {"Range": f"bytes={done}-"} if done else {}
    with request("GET", remote.url, deadline, headers=headers, authorization=remote.authorization) as response:
        if done and response.status == _RANGE_NOT_SATISFIABLE and not size:
            return
        if error := response.error():
            raise error
        if done and not _continues(response.headers, response.status, done):
            done = 0
        since, total = 0, size or (done + response.content_length if response.content_length else 0)
        with io.BufferedRandom(files.open_for_update(partial)) as file:
            file.truncate(done)
            file.seek(done)
            for chunk in response.chunks():
                file.write(chunk)
                done, since = done + len(chunk), since + len(chunk)
                if since >= STALL_BYTES:
                    deadline.restart()
                    since = 0
                progress(done, total)
                if size and done > size:
                    message = f"more than the {size} announced bytes arrive"
                    raise ExchangeError(message)
    if size and done < size:
        message = f"the connection was cut: received {done} bytes, expected {size}"
        raise ExchangeError(message, retry=True)


def _continues(headers: Mapping[str, str], status: int, done: int) -> bool:
    """Return whether a response is the rest that was requested, and not the whole file or another part."""
    return status == _PARTIAL_CONTENT and headers.get("Content-Range", "").startswith(f"bytes {done}-")


def _check_room(partial: Path, size: int) -> None:
    """Raise `OSError` if the disk cannot hold the file."""
    needed = size - _size(partial)
    free = shutil.disk_usage(partial.parent).free
    if needed > free:
        message = f"no space left: {needed / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free"
        raise OSError(message)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
