"""POST /explain: the heat map of `Classifier.explain`, as PNG."""

from __future__ import annotations

import io
from concurrent.futures import Future
from typing import TYPE_CHECKING

import numpy as np
import pytest
from conftest import SAMPLES
from PIL import Image
from servers import Served, multipart, serving

from resnest_cli import Classifier
from resnest_cli.serve import explaining

if TYPE_CHECKING:
    from collections.abc import Iterator

SEVEN = (SAMPLES / "seven_0081.png").read_bytes()


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(workers=1) as found:
        yield found


@pytest.mark.parametrize(("query", "target"), [("", None), ("?class=three&model=digits", "three"), ("?class=3", 3)])
def test_the_picture_is_that_of_the_library(served: Served, query: str, target: str | int | None) -> None:
    said = served.ask("POST", f"/explain{query}", SEVEN)
    assert (said.status, said.headers["content-type"]) == (200, "image/png")
    with Classifier("digits", workers=0) as model, Image.open(io.BytesIO(said.body)) as picture:
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(model.explain(SEVEN, target).overlay()))


def test_two_classes_have_two_pictures(served: Served) -> None:
    assert served.ask("POST", "/explain?class=three", SEVEN).body != served.ask("POST", "/explain", SEVEN).body


@pytest.mark.parametrize(
    ("query", "body", "status", "words"),
    [
        ("?class=cat", SEVEN, 400, "no class has this name"),
        ("?model=cat", SEVEN, 404, "no such model here"),
        ("?topk=1", SEVEN, 400, "topk: no such parameter; there are class, model."),
        ("", b"", 400, "the request has no image"),
        ("", b"no image", 415, "NotAnImage"),
        ("", SEVEN[:100], 422, "TruncatedImage"),
    ],
)
def test_faults(served: Served, query: str, body: bytes, status: int, words: str) -> None:
    found, detail = served.ask("POST", f"/explain{query}", body).problem
    assert (found, words in detail) == (status, True), detail


def test_one_image_at_a_time(served: Served) -> None:
    body, kind = multipart(("a", SEVEN), ("b", SEVEN))
    said = served.ask("POST", "/explain", body, {"Content-Type": kind})
    assert said.problem == (400, "one image is explained at a time.")


def test_what_waits_is_bounded_in_number_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "ROOM", 1)
    hangs: Future[None] = Future()
    monkeypatch.setattr(explaining.Explaining, "_explain", lambda *_: hangs.result(60))
    with serving(timeout=0.3) as served:
        try:
            assert served.ask("POST", "/explain", SEVEN).problem == (504, "not answered within 0.3 s.")
            assert served.ask("POST", "/explain", SEVEN).problem[0] == 503
        finally:
            hangs.set_result(None)
