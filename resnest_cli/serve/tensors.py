"""The tensors of the Open Inference Protocol v2: its JSON, and its extension for binary data.

In: the bodies of requests to infer. Out: images, and the bodies of answers. Each value is checked, since others have
written it. Knows neither models nor routes. https://github.com/kserve/open-inference-protocol has the protocol;
Triton's extension_binary_data.md the binary data: JSON, then the bytes of each tensor in turn.
"""

from __future__ import annotations

import base64
import json
import math
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import numpy as np

from resnest_cli.serve.bodies import MAX_PARTS, Upload
from resnest_cli.serve.problems import Problem
from resnest_cli.text.json_input import Entries, parse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Images = list[Upload] | list[NDArray[np.uint8]]

LENGTH_HEADER = "Inference-Header-Content-Length"  # bytes of the JSON
IMAGE, PIXELS, PROBABILITIES = "image", "pixels", "probabilities"
MAX_EDGE = 1 << 20
_PIXELS_AXES, _LENGTH = 4, 4  # of [N, H, W, 3]; bytes before an element of BYTES


@dataclass(frozen=True)
class Call:
    """A request to infer: its images, its id, and whether the answer is binary."""

    images: Images
    id: str
    is_binary: bool


def read(body: bytes, json_length: str | None) -> Call:
    """Return what a body asks for.

    Args:
        body: JSON, and binary data if there are any.
        json_length: bytes of the JSON, as the header says; None: all.

    Raises:
        Problem: the body is not of the protocol, or asks for what there is not.
    """
    try:
        cut = len(body) if json_length is None else int(json_length)
        if not 0 <= cut <= len(body):
            raise ValueError(f"{LENGTH_HEADER} is {cut}, and the body has {len(body)} bytes")  # noqa: TRY301 - all are one problem
        given = Entries(parse(body[:cut]))
        return Call(_images(given, memoryview(body)[cut:]), _id(given), _is_binary(given))
    except ValueError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, f"the request to infer is malformed: {error}.") from error


def write(model: str, call: Call, rows: NDArray[np.float32]) -> tuple[bytes, dict[str, str]]:
    """Return the body that answers with probabilities, float32 [N, C], and its headers."""
    output: dict[str, Any] = {"name": PROBABILITIES, "datatype": "FP32", "shape": list(rows.shape)}
    answer = {"model_name": model} | ({"id": call.id} if call.id else {}) | {"outputs": [output]}
    if not call.is_binary:
        output["data"] = [float(str(value)) for value in rows.flat]  # the shortest form that reads back exactly
        return json.dumps(answer).encode(), {"Content-Type": "application/json"}
    data = rows.astype("<f4").tobytes()
    output["parameters"] = {"binary_data_size": len(data)}
    head = json.dumps(answer).encode()
    return head + data, {"Content-Type": "application/octet-stream", LENGTH_HEADER: str(len(head))}


def _id(given: Entries) -> str:
    return given.text("id") if "id" in given.values else ""


def _is_binary(given: Entries) -> bool:
    """Return whether the one output is asked for as binary data: by itself, or with all outputs."""
    wanted = _objects(given, "outputs") if given.values.get("outputs") else []
    for output in wanted:
        if output.text("name") != PROBABILITIES:
            message = f"there is no output {output.text('name')!r}, only {PROBABILITIES!r}"
            raise ValueError(message)
        if "binary_data" in output.inside("parameters").values:
            return output.inside("parameters").flag("binary_data")
    parameters = given.inside("parameters")
    return "binary_data_output" in parameters.values and parameters.flag("binary_data_output")


def _images(given: Entries, binary: memoryview) -> Images:
    inputs = _objects(given, "inputs")
    if len(inputs) != 1:
        message = f"give one input: {IMAGE!r} or {PIXELS!r}"
        raise ValueError(message)
    tensor = inputs[0]
    kind = (tensor.text("name"), tensor.text("datatype"))
    if kind not in {(IMAGE, "BYTES"), (PIXELS, "UINT8")}:
        message = f"the inputs are {IMAGE!r} of BYTES and {PIXELS!r} of UINT8, not {kind[0]!r} of {kind[1]}"
        raise ValueError(message)
    shape, data = _shape(tensor), _binary(tensor, binary)
    if kind[1] == "UINT8":
        return _pixels(shape, tensor, data)
    return _encoded(math.prod(shape), tensor, data)


def _shape(tensor: Entries) -> tuple[int, ...]:
    """Return a shape: of at most `MAX_PARTS` images."""
    given = tensor.values.get("shape")
    axes = len(given) if isinstance(given, list) else 0
    shape = tensor.integers("shape", axes, 1, MAX_EDGE)
    if not 1 <= axes <= _PIXELS_AXES or shape[0] > MAX_PARTS:
        message = f"shape: give one to four axes, and at most {MAX_PARTS} images"
        raise ValueError(message)
    return shape


def _binary(tensor: Entries, binary: memoryview) -> bytes | None:
    """Return the binary data of a tensor; None if its data are in the JSON."""
    parameters = tensor.inside("parameters")
    if "binary_data_size" not in parameters.values:
        return None
    size = parameters.integer("binary_data_size", 0, 1 << 40)
    if size != len(binary):
        message = f"binary_data_size is {size}, and {len(binary)} bytes follow the JSON"
        raise ValueError(message)
    return bytes(binary)


def _pixels(shape: tuple[int, ...], tensor: Entries, data: bytes | None) -> list[NDArray[np.uint8]]:
    if len(shape) != _PIXELS_AXES or shape[-1] != 3:  # noqa: PLR2004 - red, green, blue
        message = f"{PIXELS} has the shape [N, height, width, 3], not {list(shape)}"
        raise ValueError(message)
    values = _numbers(tensor) if data is None else np.frombuffer(data, np.uint8)
    if values.size != math.prod(shape):
        message = f"{PIXELS} has {values.size} values, and its shape {math.prod(shape)}"
        raise ValueError(message)
    return list(values.reshape(shape))


def _numbers(tensor: Entries) -> NDArray[np.uint8]:
    """Return the numbers of a list, nested or flat."""
    try:
        found = np.asarray(tensor.values.get("data"))
    except ValueError:  # lists of several lengths
        found = np.asarray(None)
    if found.dtype.kind != "i" or found.min() < 0 or found.max() > 255:  # noqa: PLR2004 - of a byte
        message = "data: give a list of whole numbers from 0 to 255"
        raise ValueError(message)
    return found.astype(np.uint8)


def _encoded(count: int, tensor: Entries, data: bytes | None) -> list[Upload]:
    contents = _decoded(tensor) if data is None else _elements(data)
    if len(contents) != count:
        message = f"{IMAGE} has {len(contents)} elements, and its shape {count}"
        raise ValueError(message)
    return [Upload(f"#{number}", content) for number, content in enumerate(contents)]


def _decoded(tensor: Entries) -> list[bytes]:
    """Return images that JSON has as texts in base64."""
    given = tensor.values.get("data")
    if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
        message = "data: give a list of images as base64"
        raise ValueError(message)
    return [base64.b64decode(text, validate=True) for text in given]


def _elements(data: bytes) -> list[bytes]:
    """Return the elements of BYTES: each with its length before it, four bytes, the lowest first."""
    found: list[bytes] = []
    at = 0
    while at < len(data):
        end = at + _LENGTH + int.from_bytes(data[at : at + _LENGTH], "little")
        if end > len(data) or len(found) == MAX_PARTS:
            message = f"{IMAGE} has an element that ends after its data, or more than {MAX_PARTS}"
            raise ValueError(message)
        found.append(data[at + _LENGTH : end])
        at = end
    return found


def _objects(given: Entries, key: str) -> list[Entries]:
    values = given.values.get(key)
    if not isinstance(values, list):
        message = f"{key} is no list"
        raise ValueError(message)  # noqa: TRY004 - as all that a client may write
    return [Entries(value, f"{key}[{number}]") for number, value in enumerate(values)]
