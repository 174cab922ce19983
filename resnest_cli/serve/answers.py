"""From images to answers: all are submitted at once, and awaited until the client leaves.

In: images of one request. Out: their answers in order. What nobody waits for is cancelled. Knows no route.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from resnest_cli.serve.problems import ClientGone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future

    from starlette.requests import Request

Image = TypeVar("Image")
Answer = TypeVar("Answer")


async def of_all(request: Request, images: Iterable[Image], submit: Callable[[Image], Future[Answer]]) -> list[Answer]:
    """Return the answer of each image.

    Raises:
        QueueFull: there is no room for all of them; none is worked on.
        ClientGone: the client has left.
    """
    asked: list[Future[Answer]] = []
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        asked.extend(map(submit, images))
        answers = asyncio.gather(*map(asyncio.wrap_future, asked))
        leaving.add_done_callback(lambda _: answers.cancel())
        return await answers
    except asyncio.CancelledError:
        if leaving.done():
            raise ClientGone from None
        raise
    finally:
        leaving.cancel()
        for future in asked:  # not the loop's: they would be cancelled after the response
            future.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
