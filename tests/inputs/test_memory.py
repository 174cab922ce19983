"""An image in memory has the pixels of its file, whatever it is handed in as; what is none is named in words."""

from __future__ import annotations

import io
import os
import pickle
import tempfile
import zipfile
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from conftest import SAMPLES
from PIL import ExifTags, Image, ImageOps

from resnest_cli.errors import UsageError
from resnest_cli.inputs import memory
from resnest_cli.inputs.decode import images
from resnest_cli.inputs.find import find_sources
from resnest_cli.inputs.loading import Loader
from resnest_cli.types import DataConfig, Failure, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

LOADER = Loader(DataConfig(input_size=(3, 24, 24), interpolation="bilinear"), exif=True, max_pixels=10_000)
SEVEN = SAMPLES / "seven_0081.png"


def noise(*shape: int, dtype: str = "uint8") -> NDArray[Any]:
    return np.random.default_rng(5).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return exif


def saved(image: Image.Image, format: str, **how: Any) -> bytes:  # noqa: ANN401 - each is an option of a Pillow writer
    content = io.BytesIO()
    image.save(content, format, **how)
    return content.getvalue()


RGB = Image.fromarray(noise(30, 40, 3))
PICTURES = {
    "JPEG, to be turned": saved(RGB, "JPEG", exif=turned()),
    "PNG, to be turned": saved(RGB, "PNG", exif=turned()),
    "TIFF, to be turned": saved(RGB, "TIFF", exif=turned()),
    "PNG with alpha": saved(Image.fromarray(noise(30, 40, 4)), "PNG"),
    "PNG with a palette": saved(RGB.quantize(17), "PNG"),
    "PNG with a palette and a transparent color": saved(RGB.quantize(17), "PNG", transparency=3),
    "PNG, gray of 16 bits": saved(Image.fromarray(noise(30, 40, dtype="uint16")), "PNG"),
    "PNG, black and white": saved(RGB.convert("1"), "PNG"),
    "JPEG, gray": saved(RGB.convert("L"), "JPEG"),
    "JPEG, CMYK": saved(RGB.convert("CMYK"), "JPEG"),
    "WebP with alpha": saved(Image.fromarray(noise(30, 40, 4)), "WEBP"),
    "GIF": saved(RGB.quantize(9), "GIF", save_all=True, append_images=[RGB.quantize(2)]),
}


def decoded(image: Image.Image) -> Image.Image:
    image.load()
    return image


# What a program may have in its hands, of the content of a file and its path.
HANDED_IN: dict[str, Callable[[bytes, Path], Any]] = {
    "bytes": lambda content, _: content,
    "bytearray": lambda content, _: bytearray(content),
    "memoryview": lambda content, _: memoryview(content),
    "open file": lambda _, path: path.open("rb"),
    "file in memory": lambda content, _: io.BytesIO(content),
    "picture": lambda _, path: Image.open(path),
    "picture from memory": lambda content, _: Image.open(io.BytesIO(content)),
    "decoded picture": lambda _, path: decoded(Image.open(path)),
    "copied picture": lambda content, _: Image.open(io.BytesIO(content)).copy(),
    "array": lambda content, _: np.asarray(images.decode(content)),
    "tensor": lambda content, _: torch.from_numpy(np.array(images.decode(content))),
}


def source_of(item: Any, number: int = 0, **how: Any) -> Source | Failure:  # noqa: ANN401 - anything, see above
    return memory.source(item, number, **{"max_pixels": 10_000} | how)


def pixels(item: Any) -> NDArray[np.uint8]:  # noqa: ANN401 - anything, see above
    source = source_of(item)
    assert isinstance(source, Source)
    return LOADER(source).values


def refused(item: Any, **how: Any) -> tuple[str, str]:  # noqa: ANN401 - anything, see above
    failure = source_of(item, **how)
    assert isinstance(failure, Failure)
    return failure.type, failure.message


# --- the pixels


@pytest.mark.parametrize("content", PICTURES.values(), ids=PICTURES.keys())
@pytest.mark.parametrize("hand_in", HANDED_IN.values(), ids=HANDED_IN.keys())
def test_an_image_in_memory_has_the_pixels_of_its_file(
    hand_in: Callable[[bytes, Path], Any], content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "image"
    path.write_bytes(content)
    item = hand_in(content, path)
    with ExitStack() as ends:
        if hasattr(item, "close"):
            ends.enter_context(closing(item))
        np.testing.assert_array_equal(pixels(item), LOADER(Source(str(path))).values)


def test_gray_pixels_are_gray() -> None:
    gray = noise(30, 40)
    np.testing.assert_array_equal(pixels(gray), pixels(np.stack([gray] * 3, axis=2)))


def test_an_orientation_is_undone_unless_told_not_to_or_done_already() -> None:
    picture = Image.open(io.BytesIO(PICTURES["JPEG, to be turned"]))
    upright = pixels(ImageOps.exif_transpose(picture))
    np.testing.assert_array_equal(pixels(picture), upright)
    np.testing.assert_array_equal(pixels(picture.convert("RGB")), upright)  # it carries the EXIF block on
    source = source_of(decoded(picture))
    assert isinstance(source, Source)
    lying = Loader(LOADER.data, exif=False, max_pixels=10_000)(source).values
    np.testing.assert_array_equal(lying, pixels(np.asarray(picture)))
    picture.getexif()[ExifTags.Base.Orientation] = 1
    np.testing.assert_array_equal(pixels(picture), lying)


@pytest.mark.parametrize("format", [name for name in images.FORMATS if name != "ICO"])
def test_a_picture_that_is_not_decoded_yet_stands_for_its_file(format: str) -> None:
    content = saved(RGB, format)
    picture = Image.open(io.BytesIO(content))
    source = source_of(picture)
    assert source == Source("#0", content=content)
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(Image.open(io.BytesIO(content))))  # it goes on
    again = source_of(picture)
    assert isinstance(again, Source)
    assert again.content is None
    np.testing.assert_array_equal(LOADER(again).values, pixels(content))


def test_a_picture_that_was_changed_is_as_it_is_now() -> None:
    picture = decoded(Image.open(io.BytesIO(PICTURES["JPEG, gray"])))
    picture.paste(200, (0, 0, *picture.size))
    assert (pixels(picture) == 200).all()


def test_a_frame_is_the_one_that_the_picture_stands_at() -> None:
    film = Image.open(io.BytesIO(PICTURES["GIF"]))
    film.seek(1)
    np.testing.assert_array_equal(pixels(film), pixels(film.convert("RGB")))
    assert film.tell() == 1
    assert (pixels(film) != pixels(PICTURES["GIF"])).any()


def test_what_is_handed_in_stays_as_it_is() -> None:
    pictures = Loader(LOADER.data, exif=True, max_pixels=10_000, thumbnails=True)
    array, picture = noise(300, 30, 3)[:, ::-1], RGB.resize((300, 30))
    for item in (array, picture):
        before = np.array(item)
        source = source_of(item)
        assert isinstance(source, Source)
        first, second = pictures(source), pictures(source)
        assert first.thumbnail == second.thumbnail != ""
        np.testing.assert_array_equal(first.values, second.values)
        np.testing.assert_array_equal(np.array(item), before)


def test_what_becomes_of_an_item_later_changes_nothing() -> None:
    expected = [pixels(np.full((30, 40, 3), value, np.uint8)) for value in (10, 20)]

    def same_array_again() -> Iterator[Any]:
        frame = np.zeros((30, 40, 3), np.uint8)
        for value in (10, 20):
            frame[:] = value
            yield frame

    def closed_behind() -> Iterator[Any]:
        for value in (10, 20):
            with Image.open(io.BytesIO(saved(Image.new("RGB", (40, 30), (value,) * 3), "PNG"))) as picture:
                yield picture

    for items in (same_array_again(), closed_behind()):
        found = list(find_sources(items))
        np.testing.assert_array_equal([LOADER(item).values for item in found if isinstance(item, Source)], expected)


# --- the name


def test_an_image_has_its_own_name_or_its_position(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("in/seven.png", SEVEN.read_bytes())
    odd = io.BytesIO(SEVEN.read_bytes())
    url, dash = io.BytesIO(SEVEN.read_bytes()), io.BytesIO(SEVEN.read_bytes())
    url.name, dash.name = "https://someone:secret@example.org/seven.png", "-"
    with (
        SEVEN.open("rb") as file,
        zipfile.ZipFile(tmp_path / "all.zip") as archive,
        archive.open("in/seven.png") as member,
        tempfile.TemporaryFile() as nameless,
        Image.open(SEVEN) as picture,
    ):
        items: list[Any] = [file, member, nameless, picture, RGB, odd, "lost.png", noise(4, 4), file.read(), url, dash]
        found = list(find_sources(items))
    assert [item.path for item in found] == [
        *(str(SEVEN), "in/seven.png", "#2", str(SEVEN), "#4", "#5", "lost.png", "#7", "#8"),
        *("https://***@example.org/seven.png", "#10"),
    ]
    unnamed = [item for item in found if isinstance(item, Source) and memory.is_nameless(item)]
    assert [item.path for item in unnamed] == ["#2", "#4", "#5", "#7", "#8", "#10"]


def test_a_source_shows_no_image_and_pickles_with_it() -> None:
    for source in (Source("#0", content=b"bytes"), Source("#0", picture=noise(4, 4))):
        assert repr(source) == "Source(path='#0')"
        again = pickle.loads(pickle.dumps(source))  # noqa: S301 - our own
        assert again == source
        np.testing.assert_array_equal(again.picture, source.picture)
    assert not Source("#0").is_in_memory


# --- one or many


def test_a_lone_image_is_one_input_and_a_batch_or_a_list_of_names_is_many() -> None:
    array, tensor = noise(4, 4, 3), torch.zeros(4, 4, 3)
    ones: list[Any] = ["a.png", SEVEN, b"image", bytearray(b"image"), memoryview(b"image"), io.BytesIO(), RGB]
    ones += [array, array[..., 0], tensor, np.zeros(7, np.uint8), np.float32(3), 5, None]
    assert [memory.is_one(item) for item in ones] == [True] * len(ones)
    many: list[Any] = [
        [array],
        (b"a",),
        {"a.png"},
        iter([RGB]),
        array[None],
        tensor[None],
        np.array(["a.png", "b.png"]),
    ]
    assert [memory.is_one(item) for item in many] == [False] * len(many)


@pytest.mark.parametrize("item", [5, None, 3.5, ["a.png"], {"image": b""}, object()])
def test_what_is_no_image_of_any_kind_is_refused_by_type_and_position(item: Any) -> None:  # noqa: ANN401 - anything
    found = find_sources(["lost.png", item])
    next(found)
    words = (
        f"^input 1 is of type {type(item).__name__}: give a path, a URL, or an image: bytes, an open file, "
        r"a PIL image, a uint8 array or tensor \[H, W, 3\]\.$"
    )
    with pytest.raises(UsageError, match=words):
        next(found)


# --- what is wrong


SHAPE = "[H, W, 3] (RGB) or [H, W] (gray) is needed, not "
TYPE = "uint8 0..255 is needed, not "
PERMUTE = "permute(1, 2, 0), which is transpose(1, 2, 0) in numpy."


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (
            np.zeros((3, 4, 3), np.float32),
            f"{TYPE}float32: multiply by 255 if it is 0..1, and convert.",
        ),
        (np.zeros((3, 4), bool), f"{TYPE}bool: multiply by 255, and convert."),
        (np.zeros((3, 4), np.uint16), f"{TYPE}uint16: scale it to 0..255, and convert."),
        (np.zeros((3, 4, 3), np.int64), f"{TYPE}int64: scale it to 0..255, and convert."),
        (
            torch.zeros(3, 5, 6),
            f"{TYPE}float32: multiply by 255 if it is 0..1, and convert. {SHAPE}[3, 5, 6]: {PERMUTE}",
        ),
        (
            torch.zeros(1, 5, 5, dtype=torch.uint8),
            f"{SHAPE}[1, 5, 5]: {PERMUTE}",
        ),
        (
            np.zeros((5, 5, 4), np.uint8),
            f"{SHAPE}[5, 5, 4]: drop alpha, [..., :3], or hand in Image.fromarray(...), which is drawn on white.",
        ),
        (np.zeros((5, 5, 1), np.uint8), f"{SHAPE}[5, 5, 1]: drop the last axis, [..., 0]."),
        (np.zeros((5, 5, 7), np.uint8), f"{SHAPE}[5, 5, 7]."),
        (np.zeros((2, 5, 5, 3), np.uint8), f"{SHAPE}[2, 5, 5, 3]: it is a batch, so hand in its images one by one."),
        (
            np.zeros(99, np.uint8),
            f"{SHAPE}[99]: if it is an encoded image, hand in its bytes, tobytes().",
        ),
        (np.uint8(7), f"{SHAPE}[]."),
        (np.zeros((0, 5, 3), np.uint8), f"{SHAPE}[0, 5, 3]: it has no pixels."),
        (np.zeros((5, 0), np.uint8), f"{SHAPE}[5, 0]: it has no pixels."),
        (
            torch.zeros(5, 5, 3, dtype=torch.bfloat16, requires_grad=True),
            "it does not become a uint8 array (Got unsupported ScalarType BFloat16).",
        ),
    ],
)
def test_an_array_that_is_no_image_is_named_with_what_to_do(array: Any, words: str) -> None:  # noqa: ANN401 - or tensor
    assert refused(array) == ("NotAnImage", words)


def test_too_many_pixels_or_bytes_are_refused() -> None:
    words = "the image has 200 x 100 = 20,000 pixels; --max-pixels sets the limit (10,000)."
    wide = noise(100, 200)
    assert refused(wide) == ("ImageTooLarge", words)
    assert refused(Image.fromarray(wide)) == ("ImageTooLarge", words)
    words = "the file has more than 400 bytes, which is the limit (401); see --max-pixels."
    for item in (bytes(401), memoryview(bytes(401)), io.BytesIO(bytes(401))):
        assert refused(item, max_pixels=100) == ("ImageTooLarge", words)
    assert isinstance(source_of(bytes(400), max_pixels=100), Source)


class Failing(io.RawIOBase):
    """A file that cannot be read."""

    def read(self, _: int = -1) -> bytes:
        raise ConnectionError("the connection was reset")


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("a.png\n")
    as_text = ("UnreadableInput", 'the file is opened as text: open it with the mode "rb".')
    with (tmp_path / "names.txt").open() as text, (tmp_path / "new").open("wb") as new:
        assert refused(text) == as_text
        assert refused(new) == ("UnreadableInput", "the file cannot be read (read).")
    assert refused(io.StringIO("a.png")) == as_text
    assert refused(text) == ("UnreadableInput", "the file is closed: hand it in open, or hand in its path.")
    assert refused(Failing()) == ("UnreadableInput", "the file cannot be read (the connection was reset).")


class Surprising:
    """An array of a kind that nobody foresaw."""

    dtype = "uint8"

    def __array__(self) -> NDArray[Any]:  # noqa: D105 - as above
        raise RuntimeError("it is on a device that is lost")


def test_whatever_an_object_raises_is_its_own_row() -> None:
    assert refused(Surprising()) == (
        "NotAnImage",
        "it does not become a uint8 array (it is on a device that is lost).",
    )


def test_a_file_is_read_from_its_start_or_where_a_stream_stands() -> None:
    written = io.BytesIO()
    RGB.save(written, "PNG")
    assert source_of(written) == Source("#0", content=written.getvalue())
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as out:
        out.write(written.getvalue())
    with os.fdopen(reading, "rb") as stream:
        assert source_of(stream) == Source("#0", content=written.getvalue())


def test_a_picture_that_cannot_be_decoded_says_why() -> None:
    closed = Image.open(SEVEN)
    closed.close()
    message = "the picture was closed before it was decoded: hand it in open, or load() it first."
    assert refused(closed) == ("UnreadableInput", message)
    assert refused(Image.new("RGB", (0, 5))) == ("NotAnImage", "the picture has 0 x 5 pixels.")
    cut = Image.open(io.BytesIO(saved(RGB, "PCX")[:500]))  # of a format that is read from no file here
    kind, message = refused(cut)
    assert kind == "TruncatedImage"
    assert message.startswith("the file ends before the image does (")
