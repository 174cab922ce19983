"""Heat maps for a server: one at a time, in one thread, so that they slow answers by one core at most.

In: images of clients. Out: a future of a picture each. Images are decoded in a process that can be killed. Networks
with the outputs that this needs are opened by the first request for each model.
"""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from resnest_cli.errors import QueueFull
from resnest_cli.pipeline import stream
from resnest_cli.tasks.explain.heatmap import Explainer
from resnest_cli.types import Failure, Stages

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from resnest_cli.inputs.loading import Loaded
    from resnest_cli.serve.bodies import Upload
    from resnest_cli.tasks.predict import Classifier
    from resnest_cli.types import Source

ROOM = 16  # images that wait or are explained: each takes a fraction of a second


class Explaining:
    """Explains images; `close` it."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "resnest explain")
        self._room = threading.BoundedSemaphore(ROOM)
        self._opened: dict[str, tuple[Explainer, Callable[[Source], Loaded]]] = {}
        self._stack = ExitStack()

    def submit(self, model: Classifier, image: Upload, target: int | None) -> Future[bytes | Failure]:
        """Return a future of the PNG file of a heat map for a class, by its index; None: the image's first.

        Raises:
            QueueFull: too many images wait.
        """
        (source,) = model.find_one(image)
        if not self._room.acquire(blocking=False):
            raise QueueFull(f"{ROOM} images wait already to be explained: submit this one later.")
        future = self._thread.submit(self._explain, model, source, target)
        future.add_done_callback(lambda _: self._room.release())
        return future

    def close(self) -> None:
        """End what waits, and the processes that decode."""
        self._thread.shutdown(cancel_futures=True)
        self._stack.close()

    def _explain(self, model: Classifier, source: Source | Failure, target: int | None) -> bytes | Failure:
        if isinstance(source, Failure):
            return source
        explainer, load = self._open(model)
        image = stream.decoded(source, partial(load, source), Stages())
        found = image if isinstance(image, Failure) else explainer.explain_pixels(image.path, image.values, target)
        if isinstance(found, Failure):
            return found
        content = io.BytesIO()
        found.overlay().save(content, "PNG")
        return content.getvalue()

    def _open(self, model: Classifier) -> tuple[Explainer, Callable[[Source], Loaded]]:
        if model.spec.name not in self._opened:
            explainer = self._stack.enter_context(Explainer(model.options))
            self._opened[model.spec.name] = explainer, self._stack.enter_context(explainer.decoders.one())
        return self._opened[model.spec.name]
