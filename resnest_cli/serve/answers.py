"""From images to answers: all are submitted at once, and awaited until the client leaves.

In: images of one request. Out: their answers in order. What nobody waits for is cancelled. Knows no route.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from resnest_cli.serve.problems import ClientGone

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
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
    futures: list[asyncio.Future[Answer]] = []
    try:
        futures.extend(asyncio.wrap_future(submit(image)) for image in images)
        return await while_connected(request, asyncio.gather(*futures))
    finally:
        for future in futures:
            future.cancel()


async def while_connected(request: Request, work: Awaitable[Answer]) -> Answer:
    """Return the result of some work; cancel it when the client leaves.

    Raises:
        ClientGone: the client has left.
    """
    doing, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({doing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            return doing.result()
        raise ClientGone
    finally:
        doing.cancel()
        leaving.cancel()
        await asyncio.gather(doing, leaving, return_exceptions=True)  # else asyncio logs what nobody has asked for


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
