"""The routes of the Open Inference Protocol v2, which clients of Triton and KServe speak.

In: requests that the guard has let in. Out: what a server is and has, and probabilities. `tensors` has the format.
"""

from __future__ import annotations

import asyncio
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from resnest_cli import __version__
from resnest_cli.serve import answers, models, tensors
from resnest_cli.serve.problems import Problem
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from numpy.typing import NDArray
    from starlette.requests import Request

    from resnest_cli.pipeline.stream import Row
    from resnest_cli.serve.bodies import Bodies
    from resnest_cli.serve.models import Models
    from resnest_cli.tasks.predict import Classifier
    from resnest_cli.tasks.ranking import Ranking

    Probabilities = NDArray[np.float32] | Failure


class Inference:
    """The protocol's routes.

    Args:
        opened: the models.
        bodies: reads requests.
        timeout: seconds for an answer.
        is_ready: whether the server takes requests.
    """

    def __init__(self, opened: Models, bodies: Bodies, timeout: float, is_ready: Callable[[], bool]) -> None:
        self._models, self._bodies, self._timeout, self._is_ready = opened, bodies, timeout, is_ready

    @property
    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route("/v2", self.server),
            Route("/v2/health/live", self.live),
            Route("/v2/health/ready", self.ready),
            Route("/v2/models/{model}", self.model),
            Route("/v2/models/{model}/ready", self.ready),
            Route("/v2/models/{model}/infer", self.infer, methods=["POST"]),
        ]

    async def server(self, _: Request) -> Response:
        """Say what this server is."""
        return JSONResponse({"name": "resnest", "version": __version__, "extensions": ["binary_tensor_data"]})

    async def live(self, _: Request) -> Response:
        """Say that the process runs."""
        return JSONResponse({"live": True})

    async def ready(self, request: Request) -> Response:
        """Say whether requests are taken: all models are open before the server listens."""
        if "model" in request.path_params:
            self._pick(request)
        if not self._is_ready():
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "the server is about to end.")
        return JSONResponse({"ready": True})

    async def model(self, request: Request) -> Response:
        """Say what a model takes and gives; a request has one of the inputs."""
        model = self._pick(request)
        return JSONResponse(
            {
                "name": model.spec.name,
                "versions": [],
                "platform": f"resnest_{model.engine.name}",
                "inputs": [_tensor(tensors.IMAGE, "BYTES", -1), _tensor(tensors.PIXELS, "UINT8", -1, -1, -1, 3)],
                "outputs": [_tensor(tensors.PROBABILITIES, "FP32", -1, model.spec.num_classes)],
            }
        )

    async def infer(self, request: Request) -> Response:
        """Answer the probabilities of each image."""
        model = self._pick(request)
        body = await self._bodies.read(request)
        call = await asyncio.to_thread(tensors.read, body, request.headers.get(tensors.LENGTH_HEADER))
        request.state.images = len(call.images)
        finish = partial(_probabilities, model.ranking(1, 0.0))

        def submit(image: Any) -> Future[Probabilities]:  # noqa: ANN401 - an upload or pixels
            (source,) = model.find_one(image)
            return model.trunk.submit(source, finish, timeout=self._timeout, block=False)

        rows = []
        for row in await answers.of_all(request, call.images, submit):
            if isinstance(row, Failure):
                raise Problem.of_failure(row)
            rows.append(row)
        content, headers = tensors.write(model.spec.name, call, np.stack(rows))
        return Response(content, headers=headers)

    def _pick(self, request: Request) -> Classifier:
        return models.pick(self._models, request.path_params["model"])


def _probabilities(ranking: Ranking, item: Row | Failure) -> Probabilities:
    """Return the probabilities of a row of logits, float32 [C]; a failure stays one."""
    return item if isinstance(item, Failure) else ranking.probabilities(item.values)


def _tensor(name: str, datatype: str, *shape: int) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(shape)}
