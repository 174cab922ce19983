"""Bodies of any bytes: each is read, or refused with a status; nothing else is raised."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import multipart

from resnest_cli.serve import bodies, tensors
from resnest_cli.serve.problems import Problem

WHOLE, _ = multipart(("a.png", b"one"), ("", b"two"))
CALL = {
    "inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 7}}],
    "outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}],
}
PIECES = st.sampled_from([b"\r\n", b"--b0undary", b"--", b":", b"\0", b"\xff", b"Content-Disposition: x", b'"'])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["image", "BYTES", "UINT8"]),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["name", "shape", "data", "datatype", "id"]), inner)
    ),
)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Replace a stretch of bytes by pieces."""
    begin, end = sorted(draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
    return whole[:begin] + b"".join(draw(st.lists(PIECES | st.binary(max_size=9), max_size=5))) + whole[end:]


@given(damaged(WHOLE) | st.binary(), st.just(b"b0undary") | st.binary(max_size=300))
def test_multipart_bodies_of_any_bytes(body: bytes, boundary: bytes) -> None:
    with suppress(Problem):
        found = bodies.parts(body, boundary)
        assert all(upload.getvalue() in body and upload.name for upload in found)


@pytest.mark.slow
@given(st.binary(), damaged(json.dumps(CALL).encode()) | JSON.map(lambda value: json.dumps(value).encode()))
def test_requests_to_infer_of_any_bytes(data: bytes, head: bytes) -> None:
    with suppress(Problem):
        assert tensors.read(head + data, str(len(head))).images


TENSOR = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["image", "pixels"]),
        "datatype": st.sampled_from(["BYTES", "UINT8"]),
        "shape": st.lists(st.integers(-1, 3)) | JSON,
        "data": st.lists(st.integers(0, 256)) | JSON,
        "parameters": st.just({}) | st.just({"binary_data_size": 4}) | JSON,
    }
)


@pytest.mark.slow
@given(TENSOR | JSON, JSON, st.binary(max_size=20))
def test_requests_to_infer_of_any_json(inputs: object, parameters: object, data: bytes) -> None:
    call = json.dumps({"inputs": [inputs], "parameters": parameters}).encode()
    with suppress(Problem):
        assert tensors.read(call + data, str(len(call))).images
