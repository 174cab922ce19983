"""The routes of a server: what is asked, with which parameters, and what is answered.

In: requests that the guard has let in. Out: responses, or `Problem`s. The rows are those of `predict`.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from resnest_cli import __version__
from resnest_cli.errors import DeadlineExceeded, ResnestError
from resnest_cli.options import DEFAULT_TOPK
from resnest_cli.outputs.rows import to_json, to_row
from resnest_cli.serve import answers, bodies, models, page
from resnest_cli.serve.inference import Inference
from resnest_cli.serve.problems import CLIENT_GONE, ClientGone, Problem
from resnest_cli.tasks.explain.heatmap import class_index
from resnest_cli.text.json_input import shorten
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.datastructures import QueryParams
    from starlette.requests import Request

    from resnest_cli.serve.explaining import Explaining
    from resnest_cli.serve.metrics import Metrics
    from resnest_cli.serve.models import Models
    from resnest_cli.serve.options import ServeOptions

JSON = "application/json"
Number = TypeVar("Number", int, float)


def make(
    opened: Models, settings: ServeOptions, metrics: Metrics, explaining: Explaining, is_ready: Callable[[], bool]
) -> Starlette:
    """Return the application that serves these models; `is_ready` says whether it takes requests."""
    reader = bodies.Bodies(settings.max_bytes, settings.timeout, metrics.stages.labels("receive"))
    pages = Pages(opened, reader, explaining, settings.timeout)
    routes = [
        *page.routes(),
        Route("/models", pages.models),
        Route("/predict", pages.predict, methods=["POST"]),
        Route("/explain", pages.explain, methods=["POST"]),
        Route("/metrics", metrics.page),
        *Inference(opened, reader, settings.timeout, is_ready).routes,
    ]
    kinds = (HTTPException, Problem, ResnestError, Exception)  # the last one is raised again, for the log
    return Starlette(routes=routes, exception_handlers=dict.fromkeys(kinds, respond) | {ClientGone: end})


async def respond(_: Request, error: Exception) -> Response:
    """Return the problem document of an error."""
    return Problem.of(error).response()


async def end(*_: object) -> Response:
    """Return a response that nobody reads, for the log."""
    return Response(status_code=CLIENT_GONE)


class Pages:
    """What is answered without a protocol of others."""

    def __init__(self, opened: Models, reader: bodies.Bodies, explaining: Explaining, timeout: float) -> None:
        self._models, self._bodies, self._explaining, self._timeout = opened, reader, explaining, timeout

    async def models(self, _: Request) -> Response:
        """Say which models there are."""
        found = [{"name": name, "classes": model.spec.num_classes} for name, model in self._models.items()]
        return JSONResponse({"version": __version__, "models": found})

    async def predict(self, request: Request) -> Response:
        """Answer the row of an image, or the rows of several in an array."""
        query = parameters(request.query_params, "topk", "threshold", "model")
        model = models.pick(self._models, query.get("model"))
        topk, threshold = number(query, "topk", int, DEFAULT_TOPK), number(query, "threshold", float, 0.0)
        model.ranking(topk, threshold)  # before the body is read: what cannot be meant is refused
        images = await bodies.uploads(request, self._bodies)
        request.state.images = len(images)
        records = await answers.of_all(
            request,
            images,
            lambda image: model.submit(image, topk=topk, threshold=threshold, timeout=self._timeout, block=False),
        )
        rows = [to_json(to_row(record)) for record in records]
        if len(records) > 1:
            return Response(b"[\n" + b",\n".join(rows) + b"\n]\n", media_type=JSON)
        if isinstance(records[0], Failure):
            raise Problem.of_failure(records[0])
        return Response(rows[0] + b"\n", media_type=JSON)

    async def explain(self, request: Request) -> Response:
        """Answer the heat map of one image, as PNG: what the network saw, in gray, colored by the evidence."""
        query = parameters(request.query_params, "class", "model")
        model = models.pick(self._models, query.get("model"))
        target = class_index(model.labels, query["class"]) if "class" in query else None
        images = await bodies.uploads(request, self._bodies)
        request.state.images = len(images)
        if len(images) > 1:
            raise Problem(HTTPStatus.BAD_REQUEST, "one image is explained at a time.")
        work = answers.of_all(request, images, lambda image: self._explaining.submit(model, image, target))
        try:
            (picture,) = await asyncio.wait_for(work, self._timeout)
        except asyncio.TimeoutError:
            raise DeadlineExceeded(f"not answered within {self._timeout:g} s.") from None
        if isinstance(picture, Failure):
            raise Problem.of_failure(picture)
        return Response(picture, media_type="image/png")


def parameters(given: QueryParams, *known: str) -> dict[str, str]:
    """Return the parameters of a query.

    Raises:
        Problem: one is unknown, or there twice.
    """
    for name, _ in given.multi_items():
        if name not in known:
            raise Problem(HTTPStatus.BAD_REQUEST, f"{shorten(name)}: no such parameter; there are {', '.join(known)}.")
        if len(given.getlist(name)) > 1:
            raise Problem(HTTPStatus.BAD_REQUEST, f"{name}: it is there twice.")
    return dict(given)


def number(query: dict[str, str], name: str, kind: type[Number], default: Number) -> Number:
    """Return a number of a query.

    Raises:
        Problem: it is none.
    """
    try:
        return kind(query.get(name, default))
    except ValueError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, f"{name}={shorten(query[name])}: it is not a number.") from error
