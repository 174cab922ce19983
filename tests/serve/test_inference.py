"""The Open Inference Protocol v2: what its clients read, send and get."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from calibrated import doubting
from conftest import SAMPLES
from odd_files import bare_png
from PIL import Image
from servers import Answer, Served, serving

from resnest_cli import Classifier, FakeEngine
from resnest_cli.outputs.rows import to_row
from resnest_cli.serve.app import make
from resnest_cli.serve.explaining import Explaining
from resnest_cli.serve.metrics import Metrics
from resnest_cli.serve.options import ServeOptions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from starlette.types import ASGIApp, Message

PATHS = sorted(SAMPLES.iterdir())[:3]
IMAGES = [path.read_bytes() for path in PATHS]
INFER = "/v2/models/digits/infer"
LENGTH = "Inference-Header-Content-Length"


@pytest.fixture(scope="module")
def fake() -> Iterator[Served]:
    with serving(FakeEngine()) as found:
        yield found


@pytest.fixture(scope="module")
def expected() -> NDArray[np.float32]:
    """Return the probabilities that `predict` gives, by class."""
    rows = np.zeros((len(IMAGES), 10), np.float32)
    with Classifier("digits", workers=0, batch=1) as model:
        for row, record in zip(rows, model.predict(PATHS, topk=10), strict=True):
            for answer in record.predictions:
                row[answer.index] = answer.probability
    return rows


def test_a_calibrated_model_infers_what_it_predicts(held_out_digits: list[Any], tmp_path: Path) -> None:
    options: dict[str, Any] = {"calibration": doubting(held_out_digits, tmp_path), "coverage": 0.95}
    with serving(options=options) as served, Classifier("digits", workers=0, batch=1, **options) as classifier:
        (record,) = classifier.predict([IMAGES[0]], topk=10)
        row = served.ask("POST", "/predict?topk=10", IMAGES[0]).json
        data = [base64.b64encode(IMAGES[0]).decode()]
        call = {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": data}]}
        inferred = served.ask("POST", INFER, json.dumps(call).encode()).json["outputs"][0]["data"]
    assert row == to_row(record) | {"path": "#0"}
    assert row["set"]
    by_class = sorted(record.predictions, key=lambda answer: answer.index)
    assert np.array_equal(np.array(inferred, np.float32), np.array([a.probability for a in by_class], np.float32))


def elements(images: list[bytes]) -> bytes:
    return b"".join(len(image).to_bytes(4, "little") + image for image in images)


def tensor(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - as JSON has it
    return {"name": "image", "datatype": "BYTES", "shape": [1], **changes}


def infer(served: Served, head: dict[str, Any] | bytes, data: bytes | None = None) -> Answer:
    words = head if isinstance(head, bytes) else json.dumps(head).encode()
    headers = {} if data is None else {LENGTH: str(len(words))}
    return served.ask("POST", INFER, words + (data or b""), headers)


def read_json(said: Answer) -> NDArray[np.float32]:
    assert (said.status, said.headers["content-type"]) == (200, "application/json")
    (output,) = said.json["outputs"]
    assert (output["name"], output["datatype"]) == ("probabilities", "FP32")
    return np.asarray(output["data"], np.float32).reshape(output["shape"])


def read_binary(said: Answer) -> NDArray[np.float32]:
    assert (said.status, said.headers["content-type"]) == (200, "application/octet-stream")
    cut = int(said.headers[LENGTH])
    (output,) = json.loads(said.body[:cut])["outputs"]
    assert output["parameters"]["binary_data_size"] == len(said.body) - cut
    return np.frombuffer(said.body[cut:], "<f4").reshape(output["shape"])


def test_what_the_server_and_its_model_are(served: Served) -> None:
    assert served.ask("GET", "/v2").json["extensions"] == ["binary_tensor_data"]
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/digits/ready"):
        assert served.ask("GET", path).status == 200
    assert served.ask("GET", "/v2/models/digits").json == {
        "name": "digits",
        "versions": [],
        "platform": "resnest_openvino",
        "inputs": [
            {"name": "image", "datatype": "BYTES", "shape": [-1]},
            {"name": "pixels", "datatype": "UINT8", "shape": [-1, -1, -1, 3]},
        ],
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}],
    }
    for path in ("/v2/models/cat", "/v2/models/cat/ready"):
        assert served.ask("GET", path).problem == (404, "cat: no such model here; there are digits.")


def test_encoded_images_get_the_probabilities_of_predict(served: Served, expected: NDArray[np.float32]) -> None:
    texts = [base64.b64encode(image).decode() for image in IMAGES]
    said = infer(served, {"id": "7", "inputs": [tensor(shape=[3], data=texts)]})
    np.testing.assert_array_equal(read_json(said), expected)
    assert (said.json["id"], said.json["model_name"]) == ("7", "digits")
    data = elements(IMAGES)
    head = {
        "inputs": [tensor(shape=[3, 1], parameters={"binary_data_size": len(data)})],
        "parameters": {"binary_data_output": True},
    }
    np.testing.assert_array_equal(read_binary(infer(served, head, data)), expected)


def test_pixels_get_the_probabilities_of_predict(served: Served, expected: NDArray[np.float32]) -> None:
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in PATHS])
    given = {"name": "pixels", "datatype": "UINT8", "shape": list(pixels.shape)}
    for data in (pixels.tolist(), pixels.ravel().tolist()):
        np.testing.assert_array_equal(read_json(infer(served, {"inputs": [given | {"data": data}]})), expected)
    head = {
        "inputs": [given | {"parameters": {"binary_data_size": pixels.nbytes}}],
        "outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}],
    }
    np.testing.assert_array_equal(read_binary(infer(served, head, pixels.tobytes())), expected)


B64 = base64.b64encode(IMAGES[0]).decode()
WHOLE = elements(IMAGES[:1])
PIXELS = {"name": "pixels", "datatype": "UINT8", "shape": [1, 2, 2, 3]}


@pytest.mark.parametrize(
    ("head", "data", "words"),
    [
        (b"", None, "Expecting value"),
        (b"\xff", None, "it is not text in UTF-8"),
        (b"[" * 100_000, None, "it is nested too deeply"),
        (b"[]", None, "it is no object: a list"),
        (b'{"inputs": 1}', None, "inputs is no list"),
        (b'{"inputs": [1]}', None, "inputs[0] is no object: 1"),
        ({"inputs": []}, None, "give one input: 'image' or 'pixels'"),
        (
            {"inputs": [tensor(name="x")]},
            None,
            "the inputs are 'image' of BYTES and 'pixels' of UINT8, not 'x'",
        ),
        ({"inputs": [tensor(shape=[257])]}, None, "shape: give one to four axes, and at most 256 images"),
        ({"inputs": [tensor(shape=[])]}, None, "shape: give one to four axes, and at most 256 images"),
        (
            {"inputs": [tensor(shape=[-1])]},
            None,
            "inputs[0].shape.0 is -1: it must be a whole number from 1",
        ),
        ({"inputs": [tensor(data=[1])]}, None, "data: give a list of images as base64"),
        ({"inputs": [tensor(data=["?"])]}, None, "Only base64 data"),
        ({"inputs": [tensor(shape=[2], data=[B64])]}, None, "image has 1 elements, and its shape 2"),
        ({"inputs": [tensor(data=[B64])], "outputs": [{"name": "x"}]}, None, "there is no output 'x'"),
        ({"inputs": [PIXELS | {"data": [1, 2]}]}, None, "pixels has 2 values, and its shape 12"),
        ({"inputs": [PIXELS | {"data": [[1], [2, 3]]}]}, None, "data: give a list of whole numbers from 0 to 255"),
        ({"inputs": [PIXELS | {"data": [256] * 12}]}, None, "data: give a list of whole numbers from 0 to 255"),
        ({"inputs": [PIXELS | {"data": []}]}, None, "data: give a list of whole numbers from 0 to 255"),
        ({"inputs": [PIXELS | {"shape": [2, 2, 3]}]}, None, "pixels has the shape [N, height, width, 3]"),
        (
            {"inputs": [tensor(parameters={"binary_data_size": 9})]},
            WHOLE,
            f"binary_data_size is 9, and {len(WHOLE)} bytes follow the JSON",
        ),
        (
            {"inputs": [tensor(parameters={"binary_data_size": 6})]},
            b"\xff\xff\xff\xff..",
            "image has an element that ends after its data",
        ),
        (
            {"inputs": [tensor(shape=[1], parameters={"binary_data_size": 4 * 300})]},
            bytes(4 * 300),
            "image has an element that ends after its data, or more than 256",
        ),
    ],
)
def test_malformed_requests(fake: Served, head: dict[str, Any] | bytes, data: bytes | None, words: str) -> None:
    status, detail = infer(fake, head, data).problem
    begin = f"the request to infer is malformed: {words}"
    assert (status, detail[: len(begin)]) == (400, begin)


@pytest.mark.parametrize("length", ["-1", "x", "1000"])
def test_wrong_lengths_of_the_json(fake: Served, length: str) -> None:
    assert fake.ask("POST", INFER, b"{}", {LENGTH: length}).problem[0] == 400


@pytest.mark.parametrize(
    ("image", "status"), [(b"no image", 415), (IMAGES[0][:100], 422), (bare_png(65536, 65536), 413), (b"", 415)]
)
def test_an_image_that_fails_fails_its_request(fake: Served, image: bytes, status: int) -> None:
    data = elements([IMAGES[0], image])
    head = {"inputs": [tensor(shape=[2], parameters={"binary_data_size": len(data)})]}
    assert infer(fake, head, data).problem[0] == status


@pytest.mark.parametrize(("is_ready", "status"), [(True, 200), (False, 503)])
def test_a_server_that_ends_lives_and_is_not_ready(is_ready: bool, status: int) -> None:  # noqa: FBT001 - of a table
    with Classifier("digits", engine=FakeEngine(), workers=0) as model:
        routes = make({"digits": model}, ServeOptions(), Metrics(), Explaining(), lambda: is_ready)
        assert [get(routes, f"/v2/health/{what}") for what in ("live", "ready")] == [200, status]


def get(routes: ASGIApp, path: str) -> int:
    """Return the status of an answer without a connection: one that ends takes none."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    async def ask() -> None:
        await routes(scope, receive, send)

    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}
    asyncio.run(ask())
    return int(sent[0]["status"])
