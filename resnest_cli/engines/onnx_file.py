"""Check the fields of an ONNX file before OpenVINO reads it.

In: the bytes of a file. Out: `ValueError` if the file has its weights in other files, or holds graphs inside of nodes,
functions, or what its reader may not know. Needs no library: the format is protobuf, of which tags and lengths are
enough here. Field numbers are those of onnx.proto.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_LONGEST_VARINT = 10


class _Message(NamedTuple):
    """A kind of message: the fields that hold others, and the fields that are refused, with what they hold."""

    inside: dict[int, str]
    refused: dict[int, str]


_MESSAGES = {
    "model": _Message({7: "graph"}, {20: "training steps", 25: "functions"}),
    "graph": _Message({1: "node", 5: "tensor"}, {15: "sparse weights"}),
    "node": _Message({5: "attribute"}, {7: "ops of another domain"}),
    "attribute": _Message(
        {5: "tensor", 10: "tensor"},
        {6: "graphs inside of nodes", 11: "graphs inside of nodes", 22: "sparse weights", 23: "sparse weights"},
    ),
    "tensor": _Message({}, {13: "weights in other files"}),
}
_LOCATION = 14  # of a tensor: 0 is inside
_OTHER_FILES = _MESSAGES["tensor"].refused[13]


def check(content: bytes) -> None:
    """Refuse a file that is more than one graph with its weights inside.

    Raises:
        ValueError: the message names what it holds.
    """
    _check(memoryview(content), "model")


def _check(content: memoryview, kind: str) -> None:
    message = _MESSAGES[kind]
    for field, value in _fields(content):
        if field in message.refused and value:  # an empty domain is that of ONNX itself
            raise ValueError(message.refused[field])
        if kind == "tensor" and field == _LOCATION and value:
            raise ValueError(_OTHER_FILES)
        if field in message.inside and isinstance(value, memoryview):
            _check(value, message.inside[field])


def _fields(content: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield each field's number, and its number or bytes.

    Raises:
        ValueError: the content is no message.
    """
    place, end = 0, len(content)
    while place < end:
        tag, place = _varint(content, place)
        field, kind = tag >> 3, tag & 7
        size = {_EIGHT: 8, _FOUR: 4}.get(kind, 0)
        value: int | memoryview = 0
        if kind == _VARINT:
            value, place = _varint(content, place)
        elif kind == _BYTES:
            size, place = _varint(content, place)
        elif not size:
            _refuse()
        if place + size > end:
            _refuse()
        if kind == _BYTES:
            value = content[place : place + size]
        place += size
        yield field, value


def _varint(content: memoryview, place: int) -> tuple[int, int]:
    """Return the number at a place, and the place after it."""
    value = 0
    for number, byte in enumerate(content[place : place + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << 7 * number
        if byte < 0x80:  # noqa: PLR2004 - the bit that says "more"
            return value, place + number + 1
    return _refuse()


def _refuse() -> tuple[int, int]:
    message = "damaged fields"
    raise ValueError(message)
