"""Whether a second image follows the first, told from the structure of what real encoders write."""

from __future__ import annotations

import io
from itertools import product

import numpy as np
import pytest
from PIL import Image

from resnest_cli.inputs.decode import png
from resnest_cli.inputs.second_image import another_follows

PIXELS = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)


def encoded(kind: str, **how: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(PIXELS).save(out, kind, **how)
    return out.getvalue()


JPEGS = [
    encoded("JPEG"),
    encoded("JPEG", progressive=True, quality=98),
    encoded("JPEG", restart_marker_blocks=1),
    encoded("JPEG", exif=Image.Exif().tobytes(), comment=b"\xff\xd9 is no end here \xff\xd8\xff"),
]
FRAMES = encoded("GIF", save_all=True, append_images=[Image.fromarray(PIXELS[::-1]), Image.new("RGB", (9, 9))])
IMAGES = [
    *(*JPEGS, encoded("PNG"), encoded("GIF"), FRAMES),
    *(encoded("WEBP"), encoded("WEBP", lossless=True), encoded("BMP")),
]
OTHERS = [encoded("TIFF"), encoded("PPM")]


def test_two_images_in_a_row_are_seen() -> None:
    for first, second in product(IMAGES, [*IMAGES, OTHERS[0]]):
        assert another_follows(first + second)
        assert another_follows(first + second + first)


def test_one_image_is_one_whatever_follows_it() -> None:
    film = b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 40  # a motion photo
    trailer = b"\0\0\1\n\x0e\0\0\0Image_UTC_Data1700000000000SEFH" + JPEGS[0]  # Samsung's, which has JPEGs inside
    for image, rest in product([*IMAGES, *OTHERS], [b"", b"\0" * 9, b"\n", film, trailer, b"\xff\xd9"]):
        assert not another_follows(image + rest)
    for image in IMAGES:
        for end in (5, 20, len(image) // 2, len(image) - 1):
            assert not another_follows(image[:end])


def segment(content: bytes) -> bytes:
    return b"\xff\xe2" + (len(content) + 2).to_bytes(2, "big") + content


@pytest.mark.parametrize(
    "header",
    [
        b"MPF\0II*\0\x08\0\0\0",
        b"http://ns.adobe.com/xap/1.0/\0<x xmlns:c='http://ns.google.com/photos/1.0/container/'/>",
        b"http://ns.adobe.com/xap/1.0/\0<x xmlns:h='http://ns.adobe.com/hdr-gain-map/1.0/'/>",
    ],
)
def test_pictures_that_phones_put_behind_the_first_belong_to_it(header: bytes) -> None:
    for image in JPEGS:
        assert not another_follows(image[:2] + segment(header) + image[2:] + JPEGS[0])


def test_what_pillow_writes_as_a_file_of_several_pictures_is_one() -> None:
    out = io.BytesIO()
    Image.fromarray(PIXELS).save(out, "MPO", save_all=True, append_images=[Image.fromarray(PIXELS[::-1].copy())])
    assert not another_follows(out.getvalue())


def test_lengths_that_lie_end_in_no() -> None:
    for image in IMAGES:
        for at in range(2, min(len(image), 60)):
            another_follows(image[:at] + b"\xff\xff\xff\xff" + image[at + 4 :] + IMAGES[0])
            another_follows(image[:at] + b"\0\0\0\0" + image[at + 4 :] + IMAGES[0])


def test_chunks_of_a_png_end_where_its_copy_failed() -> None:
    whole = encoded("PNG")
    assert [name for name, _, _ in png.chunks(whole)] == [b"IHDR", b"IDAT", b"IEND"]
    assert [whole[begin + 4 : begin + 8] for _, begin, _ in png.chunks(whole)] == [b"IHDR", b"IDAT", b"IEND"]
    *_, (_, _, end) = png.chunks(whole)
    assert end == len(whole)
    for at in (8, 33):  # each dozen of zeros looks like a chunk without content
        assert len([*png.chunks(whole[:at] + bytes(12_000))]) == (0 if at == 8 else 1)
