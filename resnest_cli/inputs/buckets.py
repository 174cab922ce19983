"""Read images of object stores: s3://BUCKET/KEY and gs://BUCKET/KEY, by pyarrow (of the extras `parquet` and `ray`).

In: a path as typed, or of a list. Out: sources and bytes.

Only the user's environment and files decide where a request goes and who signs it, as for other tools of these stores:
keys, the role of the machine, `AWS_ENDPOINT_URL` for a private store. A path names a bucket and a key, never an
address, a key pair or a region. So a stranger's list can name what the user may read, as it can name the user's files,
but cannot send a signed request to another host.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from resnest_cli.errors import ImageTooLarge, UnreadableInput, UrlRefused, UsageError
from resnest_cli.text import redact
from resnest_cli.types import Source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from resnest_cli.inputs.selection import Rule

SCHEMES = ("s3://", "gs://")
RETRY_S = 30.0  # for Google's store: its library would retry for a quarter of an hour
_NAME = re.compile(r"(s3|gs)://([a-z0-9][a-z0-9._-]*)(?:/(.*))?", re.DOTALL)
# Keys that the client would take for another object or bucket: it resolves dots, and ends a name at a NUL byte.
_ODD_KEY = re.compile(r"(?:^|/)\.{1,2}(?:/|$)|//|[\0-\x1f\x7f]|^/")


class _Place(NamedTuple):
    """A path, split: `inside` is "BUCKET/KEY", as pyarrow's file systems take it."""

    scheme: str
    bucket: str
    inside: str


def is_bucket(path: str) -> bool:
    """Return whether a path is in an object store."""
    return path.startswith(SCHEMES)


def source(path: str) -> Source:
    """Return the source of an object; its path, which is printed and stored, is redacted."""
    redacted = redact.url(path)
    return Source(redacted, url="" if redacted == path else path)


def why_invalid(path: str) -> str:
    """Return why a path in an object store is invalid, "" if it is valid."""
    try:
        _split(path)
    except UrlRefused as error:
        return error.message
    return ""


def require() -> None:
    """Check that pyarrow is installed.

    Raises:
        UsageError: it is not; the message has the pip command.
    """
    _pyarrow("fs")


def find(path: str, rule: Rule, *, recursive: bool = True) -> Iterator[Source]:
    """Yield the objects below a prefix that `rule` takes, in the order of names; or the object itself.

    Raises:
        UrlRefused: the path is invalid.
        UnreadableInput: the store cannot be reached.
    """
    with _translate_errors():
        store, place = opened(path)
        is_object = not place.endswith("/") and _kind(store, place) != "Directory"
        if is_object:
            yield source(path)
            return
        for name in _walk(store, place.rstrip("/"), path[: len(SCHEMES[0])], rule, recursive=recursive):
            yield source(name)


def read(path: str, max_bytes: int) -> bytes:
    """Return the bytes of an object.

    Raises:
        UrlRefused: the path is invalid.
        UnreadableInput: the object does not exist, or cannot be read.
        ImageTooLarge: more than `max_bytes`.
    """
    with _translate_errors():
        store, place = opened(path)
        with store.open_input_file(place) as file:
            if file.size() > max_bytes:
                raise ImageTooLarge(
                    f"the object has more than {max_bytes:,} bytes, which is the limit; see --max-pixels."
                )
            content: bytes = file.read()
    return content


def opened(path: str) -> tuple[Any, str]:
    """Return the `pyarrow.fs.FileSystem` of a path in an object store, and the path inside it.

    Raises:
        UrlRefused: the path is invalid.
        UsageError: pyarrow is not installed.
        OSError: the store cannot be reached.
    """
    scheme, bucket, place = _split(path)
    if scheme == "gs":
        return _google(), place
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None
    return _amazon(_region(bucket, endpoint), endpoint), place


def _split(path: str) -> _Place:
    """Split a path.

    Raises:
        UrlRefused: the path is invalid.
    """
    named = _NAME.fullmatch(path)
    if not named:
        raise UrlRefused(
            "it names no bucket: use s3://BUCKET/KEY or gs://BUCKET/KEY, BUCKET with small letters, digits, dots and "
            "dashes. Keys, regions and addresses are taken from the environment (AWS_..., GOOGLE_...)."
        )
    scheme, bucket, key = named[1], named[2], named[3] or ""
    if _ODD_KEY.search(key):
        raise UrlRefused("the key has control characters, or an empty part, `.` or `..` between slashes.")
    return _Place(scheme, bucket, path[len(SCHEMES[0]) :])


@lru_cache
def _region(bucket: str, endpoint: str | None) -> str | None:
    """Return the region of a bucket: of the environment for a private store, else by an unsigned request to Amazon.

    Raises:
        OSError: there is no such bucket, or no answer.
    """
    if endpoint:
        return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or None
    region: str = _pyarrow("fs").resolve_s3_region(bucket)
    return region


@lru_cache
def _amazon(region: str | None, endpoint: str | None) -> Any:  # noqa: ANN401 - pyarrow has no types
    return _pyarrow("fs").S3FileSystem(region=region, endpoint_override=endpoint)


@lru_cache
def _google() -> Any:  # noqa: ANN401 - pyarrow has no types
    return _pyarrow("fs").GcsFileSystem(retry_time_limit=timedelta(seconds=RETRY_S))


def _pyarrow(module: str) -> ModuleType:
    try:
        from importlib import import_module  # noqa: PLC0415 - goes with what it is for

        return import_module(f"pyarrow.{module}")
    except ImportError as error:
        message = "object stores and Parquet need pyarrow, which is not installed: pip install 'resnest-cli[parquet]'"
        raise UsageError(message) from error


def _kind(store: Any, place: str) -> str:  # noqa: ANN401 - pyarrow has no types
    name: str = store.get_file_info(place).type.name
    return name


def _walk(store: Any, prefix: str, scheme: str, rule: Rule, *, recursive: bool) -> Iterator[str]:  # noqa: ANN401 - pyarrow has no types
    """Yield the paths below a prefix in the order of names; holds the names of one folder per level."""
    entries = store.get_file_info(_pyarrow("fs").FileSelector(prefix))
    for entry in sorted(entries, key=lambda entry: entry.base_name):
        path = scheme + entry.path
        if entry.type.name == "Directory":
            if recursive and rule.enters(path):
                yield from _walk(store, entry.path, scheme, rule, recursive=recursive)
        elif rule.takes(path):
            yield path


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Raise any error as an `UnreadableInput` of this input; without pyarrow other inputs can still be read."""
    try:
        yield
    except UsageError as error:
        raise UnreadableInput(error.message) from error
    except FileNotFoundError as error:
        raise UnreadableInput("no such object.") from error
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise UnreadableInput(f"the object store says: {''.join(str(error).splitlines()[:1])}") from error
