"""Images in object stores: s3://BUCKET/... and gs://BUCKET/..., by pyarrow (of the extras `parquet` and `ray`).

In: what the user typed. Out: sources and bytes. Who may read is found where the tools of these
stores look for it: their environment variables, their files, the role of the machine.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from resnest_cli.errors import ImageTooLarge, UnreadableInput, UsageError
from resnest_cli.types import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from resnest_cli.photographs import Rule

SCHEMES = ("s3://", "gs://")


def is_bucket(path: str) -> bool:
    """Tell whether it names something in an object store."""
    return path.startswith(SCHEMES)


def find(path: str, rule: Rule, *, recursive: bool = True) -> Iterator[Source | Failure]:
    """Find the objects below a prefix that `rule` takes, in the order of names; or the object itself."""
    scheme, _, place = path.partition("://")
    try:
        store = opened(path)
        is_object = not place.endswith("/") and _kind(store, place) != "Directory"
        if is_object:
            yield Source(path)
            return
        for name in _walk(store, place.rstrip("/"), f"{scheme}://", rule, recursive=recursive):
            yield Source(name)
    except OSError as error:
        yield Failure.of(path, UnreadableInput(_reason(error)))


def read(path: str, max_bytes: int) -> bytes:
    """Read an object.

    Raises:
        UnreadableInput: it is not there, or may not be read.
        ImageTooLarge: more than `max_bytes`.
    """
    try:
        with opened(path).open_input_file(path.partition("://")[2]) as file:
            if file.size() > max_bytes:
                raise ImageTooLarge(
                    f"the object has more than {max_bytes:,} bytes, which is the limit; see --max-pixels."
                )
            content: bytes = file.read()
    except OSError as error:
        raise UnreadableInput(_reason(error)) from error
    return content


def opened(path: str) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Return the `pyarrow.fs.FileSystem` of a path in an object store.

    Raises:
        UsageError: pyarrow is not here.
        OSError: the store cannot be reached.
    """
    scheme, _, place = path.partition("://")
    return _store(f"{scheme}://{place.partition('/')[0]}")


@lru_cache
def _store(bucket: str) -> Any:  # noqa: ANN401 - pyarrow has no types
    return _pyarrow("fs").FileSystem.from_uri(bucket)[0]


def _pyarrow(module: str) -> ModuleType:
    try:
        from importlib import import_module  # noqa: PLC0415 - goes with what it is for

        return import_module(f"pyarrow.{module}")
    except ImportError as error:
        message = "object stores and Parquet need pyarrow, which is not here: pip install 'resnest-cli[parquet]'"
        raise UsageError(message) from error


def _kind(store: Any, place: str) -> str:  # noqa: ANN401 - pyarrow has no types
    name: str = store.get_file_info(place).type.name
    return name


def _walk(store: Any, prefix: str, scheme: str, rule: Rule, *, recursive: bool) -> Iterator[str]:  # noqa: ANN401 - pyarrow has no types
    """Walk a prefix in the order of names; holds those of one level at a time."""
    entries = store.get_file_info(_pyarrow("fs").FileSelector(prefix))
    for entry in sorted(entries, key=lambda entry: entry.base_name):
        path = scheme + entry.path
        if entry.type.name == "Directory":
            if recursive and rule.enters(path):
                yield from _walk(store, entry.path, scheme, rule, recursive=recursive)
        elif rule.takes(path):
            yield path


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such object."
    return f"the object store says: {str(error).splitlines()[0]}"
