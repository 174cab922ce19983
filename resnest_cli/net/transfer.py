"""A URL becomes a file: taken up where it was cut, checked by its hash, whole under its name or not there at all.

In: what is wanted, with its hash, and a path. Out: the file. What has arrived so far lies beside it under `PARTIAL`,
one for each target, and is taken up again, also by the next process. Does not know what the file is for. Callers hold
a lock.
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

from resnest_cli.system import atomic, digests, files, locks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import TypeAlias

    from resnest_cli.net.exchange import Patience, Trouble
    from resnest_cli.system.locks import Acquire

    Watch: TypeAlias = Callable[[int, int], None]  # bytes so far, bytes in all (0 if that is not known)

PARTIAL = ".incomplete"  # as huggingface_hub calls them
PATIENCE_S = 15.0  # for each `LEAST_BYTES`: whoever is slower than 1 KB/s is not worth the wait
SILENCE_S = 18.0  # for all the time in which nothing came, of all tries together
LOCK_S = 25.0  # more than we ourselves hold a lock in silence
TRIES = 4  # in a row that bring nothing much
PAUSE_S = 0.5  # before the second try, and twice as long before each one after it
LEAST_BYTES = 1 << 14
LEAST_PROGRESS = 1 << 20  # what a try must bring not to count
STALE_S = 24 * 3600
_PARTIAL_CONTENT = 206
_NOTHING_MORE = 416  # the part is whole already: its hash decides
_LOG = logging.getLogger(__name__)


def unwatched(_done: int, _total: int) -> None:
    """Follow nothing."""


@dataclass(frozen=True)
class Wanted:
    """What is to be fetched: where it is, its hash (see `digests.matches`), its size in bytes (0 if that is not known).

    `secret` is the value of `Authorization`, for the host of `url` only.
    """

    url: str
    hash: str
    size: int = 0
    secret: str = field(default="", repr=False)


def to_file(wanted: Wanted, target: Path, partial: Path, watch: Watch = unwatched) -> None:
    """Download what is wanted to `target`, whose folder is made; `watch` is called as bytes arrive.

    They are kept in `partial` (see `alone`), and what is there already is taken up.

    Raises:
        web.Trouble: it cannot be had, or is not what it should be; nothing usable is left.
        OSError: the disk; what had arrived is removed, so that it is not a full disk that is left behind.
    """
    from resnest_cli.net.exchange import Trouble  # noqa: PLC0415 - requests takes 0.1 s

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        taken_up = _size(partial) > 0
        for _ in range(2 if taken_up else 1):  # the old part may be what is wrong: once more without it
            _arrive(wanted, partial, watch)
            if digests.matches(partial, wanted.hash):
                atomic.publish(partial, target)
                return
            partial.unlink()
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    message = f"what arrives is damaged: it does not have the hash {wanted.hash}"
    raise Trouble(message)


def pause(trouble: Trouble, tries: int, patience: Patience) -> bool:
    """Wait before another try after `tries` that brought nothing; False, at once, if there is no point in it."""
    seconds = max(trouble.wait_s, PAUSE_S * 2 ** (tries - 1)) if tries else 0.0
    if not trouble.again or tries >= TRIES or seconds >= patience.left():
        return False
    _LOG.info("%s: trying again", trouble)
    time.sleep(seconds)
    return True


@contextlib.contextmanager
def alone(lock: Path, target: Path) -> Iterator[Path]:
    """Keep other processes out, or wait for the one that fetches `target`, as long as it brings anything.

    Gives where the parts are to be kept until they are whole. Where the disk has no locks nobody is kept out, so each
    process has a place of its own, and what it leaves when it is killed is not taken up.

    Raises:
        web.Trouble: it brings nothing any more.
        OSError: the lock cannot be made.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    # 0o664 is huggingface_hub's mode: groups share caches
    with locks.hold(lock, lambda acquire: _wait(acquire, lock, target), mode=0o664) as held:
        own = "" if held else f".{secrets.token_hex(4)}"
        yield target.with_name(f"{target.name}{own}{PARTIAL}")


def _wait(acquire: Acquire, lock: Path, target: Path) -> None:
    from resnest_cli.net.exchange import Patience, Trouble  # noqa: PLC0415

    _LOG.info("waiting for another process that downloads the same")
    patience, before = Patience(LOCK_S), -1
    while patience.left() > 0:
        if acquire(min(1.0, LOCK_S)):
            return
        now = sum(map(_size, target.parent.glob(f"{target.name}*{PARTIAL}")))
        if now != before:
            patience.progress()
        before = now
    message = f"another process holds {lock} and has brought nothing for {LOCK_S:.0f} s"
    raise Trouble(message)


def sweep(folder: Path) -> None:
    """Remove parts of downloads that nobody has taken up for a day, of ours and of other tools'."""
    for partial in folder.glob(f"*{PARTIAL}"):
        if time.time() - partial.stat().st_mtime > STALE_S:
            partial.unlink(missing_ok=True)


def _arrive(wanted: Wanted, partial: Path, watch: Watch) -> None:
    """Fill `partial`, in as many tries as bring it forward."""
    from resnest_cli.net.exchange import Patience, Trouble  # noqa: PLC0415

    size = wanted.size
    if size and _size(partial) > size:
        partial.unlink()
    _check_room(partial, size)
    silence, most, poor = 0.0, _size(partial), 0
    while not (size and _size(partial) == size):
        patience = Patience(
            min(PATIENCE_S, SILENCE_S - silence), f"less than {LEAST_BYTES} bytes came within {{:.0f}} s"
        )
        try:
            _append(wanted, partial, watch, patience)
        except Trouble as trouble:
            # A server that ignores ranges begins at 0 each time: only what was never there before is progress.
            poor = 0 if _size(partial) >= most + LEAST_PROGRESS else poor + 1
            most = max(most, _size(partial))
            silence += patience.seconds - patience.left()
            if silence >= SILENCE_S or not pause(trouble, poor, patience):
                if not most:
                    raise
                message = f"{trouble} ({most} of {size or '?'} bytes had come)"
                raise Trouble(message, status=trouble.status) from trouble
        else:
            return


def _append(wanted: Wanted, partial: Path, watch: Watch, patience: Patience) -> None:
    """Ask for what is missing, and write it as it comes."""
    from resnest_cli.net.exchange import Trouble, ask  # noqa: PLC0415

    done, size = _size(partial), wanted.size
    headers = {"Range": f"bytes={done}-"} if done else {}
    with ask("GET", wanted.url, patience, headers=headers, secret=wanted.secret) as answer:
        if done and answer.status == _NOTHING_MORE and not size:
            return
        if refusal := answer.refusal():
            raise refusal
        if done and not _continues(answer.headers, answer.status, done):
            done = 0
        since, total = 0, size or (done + answer.promised if answer.promised else 0)
        with io.BufferedRandom(files.open_for_update(partial)) as file:
            file.truncate(done)
            file.seek(done)
            for chunk in answer.chunks():
                file.write(chunk)
                done, since = done + len(chunk), since + len(chunk)
                if since >= LEAST_BYTES:
                    patience.progress()
                    since = 0
                watch(done, total)
                if size and done > size:
                    message = f"more arrives than the {size} bytes that were announced"
                    raise Trouble(message)
    if size and done < size:
        message = f"the connection was cut: received {done} bytes, expected {size}"
        raise Trouble(message, again=True)


def _continues(headers: Mapping[str, str], status: int, done: int) -> bool:
    """Tell whether an answer is the rest that was asked for, and not the whole file or another part."""
    return status == _PARTIAL_CONTENT and headers.get("Content-Range", "").startswith(f"bytes {done}-")


def _check_room(partial: Path, size: int) -> None:
    """Fail before the first byte where the disk cannot hold the last."""
    needed = size - _size(partial)
    free = shutil.disk_usage(partial.parent).free
    if needed > free:
        message = f"no space left: {needed / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free"
        raise OSError(message)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
