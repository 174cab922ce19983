"""The ordered window: batches under way on an engine, and their rows in order. Once, for all engines.

In: an engine and a stream of batches. Out: rows. Knows nothing of images.
"""

from __future__ import annotations

from collections import deque
from itertools import chain, islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future

    import numpy as np
    from numpy.typing import NDArray

    from resnest_cli.engines.base import Engine


def rows(engine: Engine, batches: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
    """Yield rows float32 [N, F] for each batch, uint8 [N, H, W, 3], in order; a second batch makes it a long job.

    The batches are a stream: they are taken as the engine has slots for them.

    Raises:
        MemoryError, DeviceError: as `Engine.submit`, and as its rows.
    """
    batches = iter(batches)
    first = list(islice(batches, 2))
    engine.prepare(single=len(first) < 2)  # noqa: PLR2004 - as above
    running: deque[Future[NDArray[np.float32]]] = deque()
    for batch in chain(first, batches):
        running.append(engine.submit(batch))
        if len(running) >= engine.slots:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()
