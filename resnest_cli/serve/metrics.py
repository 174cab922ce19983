"""What a server counts and times, for Prometheus.

In: requests, images and batches as they pass. Out: Prometheus's text. Labels are names of ours: no client can make one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.requests import Request

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The numbers of one server.

    Attributes:
        requests: how many, by route and status.
        waiting: images that have been admitted and have no answer yet.
        failures: images without an answer, by the type of the error.
        replaced: processes that decoded an image, and crashed or were killed over it.
        batch: images per forward pass.
        stages: seconds: a body to arrive, an image to be decoded, a batch to be run, an image to be answered.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        of = self._registry
        self.requests = Counter("resnest_requests", "Requests by route and status.", ["route", "status"], registry=of)
        self.waiting = Gauge("resnest_images_waiting", "Images without an answer yet.", registry=of)
        self.failures = Counter("resnest_image_failures", "Images that failed, by error.", ["type"], registry=of)
        self.replaced = Counter("resnest_decoders_replaced", "Decoders that an image has ended.", registry=of)
        self.batch = Histogram("resnest_batch_images", "Images per forward pass.", buckets=IMAGES, registry=of)
        self.stages = Histogram("resnest_stage_seconds", "Time per stage.", ["stage"], buckets=SECONDS, registry=of)

    async def page(self, _: Request) -> Response:
        """Answer all numbers."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)
