"""What every engine offers, and what all of them share: the size of a batch, and errors for want of memory.

In: nothing. Out: the `Engine` protocol and functions that need no more than it. Does not know which engines there are
(`choose` does), and imports no framework.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from resnest_cli.options import Options
    from resnest_cli.types import ModelSpec

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
        """Height, width and channels of the pixels that `run` takes."""

    @property
    def width(self) -> int:
        """F, the count of numbers in a row that `run` yields."""

    @property
    def best_batch(self) -> int:
        """Images per forward pass that suit the device; `batch_size` uses it for `--batch auto`."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a benchmark records.

        Always: `threads`, `streams` (batches that run at once), `param_count` and `versions` (library -> version).
        If known: `origin`, the sha256 of the weights or of the export that the numbers come from; `native`, the
        precisions that the CPU has instructions for; `peak_memory`, in bytes, of a device with memory of its own.
        """

    def prepare(self, *, single: bool) -> None:
        """Begin to compile in the background, for a job of a single batch or of several, while images are read.

        `run` waits for what it needs, whether this was called or not.
        """

    def run(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        """Yield rows float32 [N, F] for each batch, uint8 [N, H, W, 3], in order.

        F is the number of classes, or of pooled features if the engine was opened for features. The batches are a
        stream, so that an engine can keep several in flight. N may be 0 and may vary.

        Raises:
            MemoryError: the device has no room for a batch of this size.
            DeviceError: the device fails.
        """

    def close(self) -> None:
        """Release what the engine holds."""


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
