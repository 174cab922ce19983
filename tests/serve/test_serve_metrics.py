"""GET /metrics: what Prometheus reads after known requests."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

from conftest import SAMPLES
from prometheus_client.parser import text_string_to_metric_families
from servers import LIMIT_S, Gated, Served, multipart, serving

SEVEN = (SAMPLES / "seven_0081.png").read_bytes()


def numbers(served: Served) -> dict[str, float]:
    """Return the samples by name and labels, but for times, and buckets that a smaller one holds."""
    said = served.ask("GET", "/metrics")
    assert (said.status, said.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    found = {}
    for family in text_string_to_metric_families(said.body.decode()):
        for name, labels, value, *_ in family.samples:
            if not re.search(r"_created$|_bucket$|seconds_sum$", name):
                found[" ".join([name, *labels.values()])] = value
    return found


def test_requests_images_and_batches_are_counted() -> None:
    engine = Gated()
    with serving(engine, max_batch=4) as served:
        body, kind = multipart(("a", SEVEN), ("b", b"no image"))
        assert served.ask("POST", "/predict", body, {"Content-Type": kind}).status == 200
        assert served.predict(SEVEN[:100]).status == 422
        assert served.ask("GET", "/made/up/by/a/client").status == 404
        found = numbers(served)
    assert found == {
        "resnest_requests_total predict 200": 1,
        "resnest_requests_total predict 422": 1,
        "resnest_requests_total none 404": 1,
        "resnest_images_waiting": 0,
        "resnest_image_failures_total NotAnImage": 1,
        "resnest_image_failures_total TruncatedImage": 1,
        "resnest_decoders_replaced_total": 0,
        "resnest_batch_images_count": 2,  # with the warm-up
        "resnest_batch_images_sum": 2,
        "resnest_stage_seconds_count receive": 2,
        "resnest_stage_seconds_count decode": 4,
        "resnest_stage_seconds_count forward": 2,
        "resnest_stage_seconds_count answer": 4,
    }


def test_what_waits_is_counted_while_it_waits() -> None:
    engine = Gated()
    with serving(engine) as served, ThreadPoolExecutor() as threads:
        engine.shut()
        asked = [threads.submit(served.predict, SEVEN) for _ in range(3)]
        while numbers(served)["resnest_images_waiting"] < 3:
            pass
        engine.gate.set()
        assert [one.result(LIMIT_S).status for one in asked] == [200] * 3
        assert numbers(served)["resnest_images_waiting"] == 0
