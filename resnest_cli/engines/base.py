"""What every engine offers, and what all of them share: the size of a batch, and errors for want of memory.

In: nothing. Out: the `Engine` protocol and functions that need no more than it. Does not know which engines there are
(`choose` does), and imports no framework.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from resnest_cli.options import Options
    from resnest_cli.types import ModelSpec

Answer = TypeVar("Answer")
# How torch, OpenVINO, oneDNN and C++ word it; none of them raises a type of its own on every device.
_NO_MEMORY = (
    *("out of memory", "not enough memory", "bad_alloc", "alloc_failed"),
    *("can't allocate", "allocate memory", "could not allocate", "unable to allocate"),
)


class Engine(Protocol):
    """What runs a network. `name`, `device` and `precision` are as in `Options`; `reason` says why they were chosen."""

    name: str
    device: str
    precision: str
    reason: str
    spec: ModelSpec

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the pixels that `submit` takes."""

    @property
    def width(self) -> int:
        """F, the count of numbers in a row."""

    @property
    def best_batch(self) -> int:
        """Images per forward pass that suit the device; `batch_size` uses it for `--batch auto`."""

    def prepare(self, *, single: bool) -> None:
        """Say that a single batch comes next, or several; what that needs is compiled in the background meanwhile.

        Without it, `submit` runs every batch like a single one.
        """

    @property
    def slots(self) -> int:
        """How many batches may be under way at once: fewer leave the device idle, more only wait."""

    def submit(self, batch: NDArray[np.uint8]) -> Future[NDArray[np.float32]]:
        """Begin a batch, uint8 [N, H, W, 3]; return a future of its rows, float32 [N, F].

        F is the number of classes, or of pooled features if the engine was opened for features. N may be 0 and may
        vary. The batch must not change before its rows are there. Several threads may submit.

        Raises:
            MemoryError: the device has no room for a batch of this size; here, or when the rows are asked for.
            DeviceError: the device fails; likewise.
        """

    def close(self) -> None:
        """Release what the engine holds."""


class Fetched(Future[Answer]):
    """A future whose answer is fetched when it is first asked for.

    Args:
        fetch: waits for the answer, and returns it.
    """

    def __init__(self, fetch: Callable[[], Answer]) -> None:
        super().__init__()
        self._fetch: Callable[[], Answer] | None = fetch
        self._first = threading.Lock()

    def result(self, timeout: float | None = None) -> Answer:
        """Return the answer; see `Future.result`. The first one who asks waits without a limit."""
        with self._first:
            fetch, self._fetch = self._fetch, None
            if fetch:
                try:
                    self.set_result(fetch())
                except BaseException as error:
                    self.set_exception(copy(error))  # without the frames, which hold the memory of a failed batch
                    raise
        return super().result(timeout)


def batch_size(options: Options, engine: Engine) -> int:
    """Return the images per forward pass: those that the user asked for, or for "auto" those that suit the device."""
    return options.batch if isinstance(options.batch, int) else engine.best_batch


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turn a `RuntimeError` that says that memory is short into a `MemoryError` with its first two sentences.

    Raises:
        MemoryError: the library had not enough memory. What torch adds on how it could be tuned is left out.
    """
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise MemoryError(". ".join(str(error).splitlines()[0].split(". ")[:2])) from error
        raise


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory was short, by its type or else by its words."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(sign in words for sign in _NO_MEMORY)
