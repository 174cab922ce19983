"""Images with other numbers than 0..255 show what is in them: none black, inverted, or with a hidden color."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from conftest import SAMPLES
from odd_files import DEFLATE, LZW, NONE, PACKBITS, ZSTANDARD, chunk, png, tiff
from PIL import Image, TiffImagePlugin

from resnest_cli.errors import BrokenImage, ImageTooLarge, NotAnImage, TruncatedImage
from resnest_cli.inputs.decode import deep, images
from resnest_cli.inputs.decode import tiff as reader
from resnest_cli.inputs.decode.scaling import to_8_bits

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Resnest
    from numpy.typing import NDArray

RAMP = np.linspace(0, 1, 64 * 64).reshape(64, 64)
SHADES = RAMP * 255


def shown(content: bytes) -> NDArray[np.float64]:
    return np.asarray(images.decode(content)).astype(float)


def gray(content: bytes) -> NDArray[np.float64]:
    pixels = shown(content)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


def with_first_rows(values: NDArray[Any], value: float) -> NDArray[Any]:
    changed = values.copy()
    changed[:4] = value
    return changed


def with_first_pixel(values: NDArray[Any], value: float) -> NDArray[Any]:
    changed = values.copy()
    changed[0, 0] = value
    return changed


# --- what is black and white


@pytest.mark.parametrize(
    "values",
    [
        with_first_pixel(RAMP, 1.0001).astype("f4"),
        with_first_pixel(RAMP * 255, 255.5).astype("f4"),
        with_first_pixel(RAMP * 65535, 66000).astype("f4"),
        RAMP.astype("f2"),
        RAMP.astype("f8"),
        (273 + RAMP * 40).astype("f4"),
        (15 + RAMP * 20).astype("f4"),
        (RAMP * 3000).astype("f4"),
        (RAMP * 1.3).astype("f4"),
        (RAMP * 2 - 1).astype("f4"),
        (1e8 + RAMP).astype("f8"),
        (RAMP * 4095).astype("u2"),
        (RAMP * 1023).astype("u2"),
        with_first_pixel(RAMP * 4095, 65535).astype("u2"),
        (7000 + RAMP * 2000).astype("u2"),
        (RAMP * 65535).astype(">u2"),
        (RAMP * 16383).astype("u2"),
        (RAMP * 2000 - 1000).astype("i2"),
        (RAMP * 32767).astype("i2"),
        (RAMP * 127).astype("i1"),
        (RAMP * 255 - 128).astype("i1"),
        (RAMP * (2**32 - 1)).astype("u4"),
        (RAMP * 25500).astype("i4"),
        (RAMP * 2e9 - 1e9).astype("i4"),
        (RAMP * 2e18).astype("u8"),
    ],
    ids=lambda values: f"{values.dtype}:{values.min():.6g}..{values.max():.6g}",
)
def test_a_ramp_of_any_numbers_is_shown_as_one(values: NDArray[Any]) -> None:
    difference = np.abs(gray(tiff(values)) - SHADES)
    assert np.median(difference) <= 2
    assert np.sort(difference.ravel())[-2] <= 4  # but for the one pixel; 4: the bytes of int8 are as coarse as two


@pytest.mark.parametrize(
    ("values", "tags"),
    [
        (with_first_rows(RAMP, np.nan).astype("f4"), {}),
        (with_first_rows(RAMP, np.inf).astype("f4"), {}),
        (with_first_rows(RAMP, -np.inf).astype("f4"), {}),
        (with_first_rows(RAMP, -9999).astype("f4"), {}),
        (with_first_rows(RAMP, 3.4028235e38).astype("f4"), {}),
        (with_first_rows(RAMP, -3.4028235e38).astype("f4"), {}),
        (with_first_rows(RAMP, 1e20).astype("f4"), {}),
        (with_first_rows(RAMP * 4095, -32768).astype("i2"), {}),
        (with_first_rows(RAMP, -777).astype("f4"), {42113: b"-777\0"}),
        (with_first_rows(RAMP * 4095, 65535).astype("u2"), {42113: b"65535 \0"}),
    ],
)
def test_numbers_that_stand_for_no_data_are_black_and_decide_nothing(
    values: NDArray[Any], tags: dict[int, tuple[int, ...] | bytes]
) -> None:
    pixels = gray(tiff(values, tags=tags))
    assert pixels[:4].max() == 0
    known = np.abs(pixels[4:] - SHADES[4:])
    stretched = np.abs(pixels[4:] - (SHADES[4:] - SHADES[4, 0]) / (255 - SHADES[4, 0]) * 255)
    assert min(known.max(), stretched.max()) <= 2


@pytest.mark.parametrize("value", [np.nan, -9999.0, 3.4028235e38])
def test_an_image_without_any_data_is_an_error_not_a_black_picture(value: float) -> None:
    with pytest.raises(BrokenImage, match=r"holds no data: all its values are NaN, or stand for missing ones\.$"):
        images.decode(tiff(np.full((8, 8), value, "f4")))


def test_a_full_16_bit_picture_is_scaled_by_65535_to_the_last_bit() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (50, 70)).astype("u2")
    for picture in (values, values // 3):
        expected = (picture.astype(np.float32) * np.float32(255 / 65535) + np.float32(0.5)).astype(np.uint8)
        np.testing.assert_array_equal(to_8_bits(picture), expected)


@pytest.mark.parametrize("white", [65535, 30000, 18000])
def test_a_dark_16_bit_picture_stays_dark(white: int) -> None:
    pixels = to_8_bits((RAMP * white).astype("u2"))
    assert np.abs(pixels - SHADES * white / 65535).max() <= 1


@pytest.mark.parametrize("spikes", [1, 2, 9])
def test_a_few_wild_numbers_leave_the_picture_to_be_seen(spikes: int) -> None:
    values = (np.linspace(0, 40, 32 * 32)).astype("f4")
    values[-spikes:] = 9e5
    pixels = to_8_bits(values.reshape(32, 32)).ravel()
    assert np.abs(pixels[:-spikes] - np.linspace(0, 255, 32 * 32)[:-spikes]).max() <= 6
    assert (pixels[-spikes:] == 255).all()


def test_one_color_has_the_scale_of_its_type() -> None:
    assert to_8_bits(np.full((8, 8), 257 * 5, "u2")).max() == 5
    assert to_8_bits(np.zeros((8, 8), "f4")).max() == 0
    assert to_8_bits(np.full((8, 8), 0.5, "f4")).max() == 128
    assert to_8_bits(np.full((8, 8), 1000.0, "f4")).max() == 4  # of 65535


def test_a_thin_line_on_an_empty_page_is_not_taken_for_an_outlier() -> None:
    values = np.zeros((100, 100), "u2")
    values[50, :5] = 65535
    assert to_8_bits(values).max() == 255


# --- colors


@pytest.mark.parametrize("alpha", [False, True])
def test_full_16_bit_colors_are_those_of_pillow_to_the_last_bit(alpha: bool) -> None:  # noqa: FBT001 - a parameter
    values = np.random.default_rng(0).integers(0, 65536, (50, 70, 4 if alpha else 3)).astype("u2")
    if alpha:
        values[..., 3] = 65535
    for content in (png(values, 6 if alpha else 2), tiff(values, photometric=2, tags={338: (2,)} if alpha else None)):
        np.testing.assert_array_equal(shown(content), values[..., :3] >> 8)


COLORS = np.dstack([RAMP, RAMP[::-1], RAMP.T])


@pytest.mark.parametrize(
    "content",
    [
        png((COLORS * 4095).astype("u2"), 2),
        png(np.dstack([(COLORS * 4095).astype("u2"), np.full((64, 64), 65535, "u2")]), 6),
        tiff((COLORS * 4095).astype("u2"), photometric=2),
        tiff((COLORS * 4095).astype(">u2"), photometric=2, packing=LZW, predictor=2),
        tiff((COLORS * 255).astype("u1"), photometric=2, planar=True),
        tiff((COLORS * 4095).astype("i2"), photometric=2),
        tiff(COLORS.astype("f4"), photometric=2),
        tiff(COLORS.astype("f8"), photometric=2, planar=True),
        tiff(np.dstack([COLORS, RAMP, RAMP]).astype("f4"), tags={338: (0, 0)}),
        tiff((np.dstack([COLORS] * 3)[..., :8] * 255).astype("u1"), photometric=2, tags={338: (0,) * 5}),
    ],
)
def test_deep_colors_are_shown_by_the_first_three_bands(content: bytes) -> None:
    assert np.abs(shown(content) - COLORS * 255).max() <= 2


@pytest.mark.parametrize("values", [(np.dstack([RAMP, RAMP.T]) * 65535).astype("u2"), np.dstack([RAMP, RAMP.T])])
def test_of_two_bands_the_first_is_shown(values: NDArray[Any]) -> None:
    assert np.abs(gray(tiff(values, tags={338: (0,)})) - SHADES).max() <= 1


@pytest.mark.parametrize("extra", [(1,), (2,), (0,), (0, 0, 0)])
@pytest.mark.parametrize("dtype", ["u1", ">u2"])
def test_cmyk_with_further_bands_is_read(extra: tuple[int, ...], dtype: str) -> None:
    inks = np.zeros((64, 64, 4 + len(extra)))
    inks[..., :4] = np.dstack([RAMP, RAMP.T, RAMP[::-1], RAMP * 0]) * 255
    inks[..., 4] = 255  # as alpha it hides nothing
    values = inks.astype("u1").astype(dtype) * (257 if "2" in dtype else 1)
    plain = Image.frombytes("CMYK", (64, 64), inks[..., :4].astype("u1").tobytes())
    seen = shown(tiff(values, photometric=5, packing=LZW, tags={338: extra}))
    assert np.abs(seen - np.asarray(plain.convert("RGB"))).max() <= 1


def test_transparent_inks_are_white() -> None:
    inks = np.full((8, 8, 5), 255, "u1")
    inks[:4, :, 4] = 0
    assert np.unique(gray(tiff(inks, photometric=5, tags={338: (2,)}))[:4]).tolist() == [255]
    assert np.unique(gray(tiff(inks, photometric=5, tags={338: (2,)}))[4:]).tolist() == [0]


def test_12_bits_of_gray_with_alpha_are_read_in_full() -> None:
    values = np.dstack([RAMP * 4095, np.full((64, 64), 65535)]).astype("u2")
    assert np.abs(gray(png(values, 4)) - SHADES).max() <= 1


@pytest.mark.parametrize("values", [RAMP, RAMP * 255, RAMP * 65535, RAMP * 1000])
@pytest.mark.parametrize("dtype", ["u1", "u2", ">u2", "f4", "f8"])
def test_where_zero_is_white_the_picture_is_turned_over(values: NDArray[Any], dtype: str) -> None:
    if values.max() <= np.iinfo(dtype).max if "u" in dtype else True:
        whole = values * 255 if "u" in dtype and values.max() == 1 else values
        expected = 255 - gray(tiff(whole.astype(dtype)))
        assert np.abs(gray(tiff(whole.astype(dtype), photometric=0)) - expected).max() <= 1


# --- transparency

HIDDEN = 0x1F05
INK = np.where(RAMP.T > 0.5, 0x0003, HIDDEN)  # black on the right of a color that stands for nothing
ON_WHITE = np.where(RAMP.T > 0.5, 0, 255)


def transparent(*key: int) -> bytes:
    return chunk(b"tRNS", struct.pack(f">{len(key)}H", *key))


@pytest.mark.parametrize(
    "content",
    [
        png(INK.astype("u2"), 0, transparent(HIDDEN)),
        png(np.dstack([INK] * 3).astype("u2"), 2, transparent(HIDDEN, HIDDEN, HIDDEN)),
        png((INK >> 8).astype("u1"), 0, transparent(HIDDEN >> 8)),
        png(np.dstack([INK >> 8] * 3).astype("u1"), 2, transparent(*[HIDDEN >> 8] * 3)),
        png(np.dstack([INK, np.where(INK == HIDDEN, 0, 65535)]).astype("u2"), 4),
        png(np.dstack([INK, INK, INK, np.where(INK == HIDDEN, 0, 65535)]).astype("u2"), 6),
        png(np.where(INK == HIDDEN, 0x55, 0).astype("u1")[:, ::4], 0, transparent(1), bits=2),
        png(np.where(INK == HIDDEN, 0x77, 0).astype("u1")[:, ::2], 0, transparent(7), bits=4),
        png(np.packbits(INK == HIDDEN, axis=1), 0, transparent(1), bits=1),
        tiff(np.dstack([INK, np.where(INK == HIDDEN, 0, 65535)]).astype("u2"), tags={338: (2,)}),
        tiff(np.dstack([INK / 65535, np.where(INK == HIDDEN, 0, 1)]).astype("f4"), tags={338: (2,)}),
        tiff(
            np.dstack([INK, INK, INK, np.where(INK == HIDDEN, 0, 65535)]).astype("u2"), photometric=2, tags={338: (2,)}
        ),
    ],
    ids=["g16", "rgb16", "g8", "rgb8", "ga16", "rgba16", "g2", "g4", "g1", "tiff-ga16", "tiff-ga32f", "tiff-rgba16"],
)
def test_a_hidden_color_of_any_depth_is_white(content: bytes) -> None:
    if content.startswith(b"II"):
        assert np.abs(gray(content) - ON_WHITE).max() <= 1
    else:
        np.testing.assert_array_equal(gray(content), ON_WHITE)


def test_colors_that_are_multiplied_by_their_alpha_already_are_not_so_once_more() -> None:
    pixels = np.full((8, 8, 4), 0.25, "f4")  # a half, half transparent
    pixels[..., 3] = 0.5
    assert np.unique(gray(tiff(pixels, photometric=2, tags={338: (1,)}))).tolist() == [192]  # 0.25 + 0.5 of white
    assert np.unique(gray(tiff(pixels, photometric=2, tags={338: (2,)}))).tolist() == [160]


def test_a_key_is_compared_with_all_16_bits() -> None:
    values = np.full((8, 8), HIDDEN, "u2")
    values[:, 4:] += 1  # the same upper eight bits
    seen = gray(png(np.dstack([values] * 3), 2, transparent(HIDDEN, HIDDEN, HIDDEN)))
    assert seen[:, :4].min() == 255
    assert seen[:, 4:].max() == HIDDEN >> 8


# --- how numbers are stored


@pytest.mark.parametrize("dtype", ["u1", "u2", ">u2", "u4", "i2", ">i4", "u8", "f2", "f4", ">f4", "f8", ">f8"])
@pytest.mark.parametrize(
    "layout",
    [
        {"packing": NONE, "rows": 7},
        {"packing": LZW, "rows": 5, "predictor": 2},
        {"packing": DEFLATE, "tile": 32, "predictor": 3},
        {"packing": DEFLATE, "tile": 16, "predictor": 2},
        {"packing": PACKBITS, "planar": True},
        {"packing": LZW, "planar": True, "rows": 9, "predictor": 3},
        {"packing": NONE, "tile": 16, "planar": True},
        {"packing": ZSTANDARD},
    ],
    ids=lambda layout: "-".join(f"{name}{value}" for name, value in layout.items()),
)
@pytest.mark.parametrize("bands", [1, 2, 5])
def test_numbers_are_read_as_they_were_written(dtype: str, layout: dict[str, Any], bands: int) -> None:
    if layout.get("predictor") == 3 and "f" not in dtype:
        layout = layout | {"predictor": 1}
    values = np.random.default_rng(0).integers(0, 250, (37, 41, bands)).astype(dtype)
    content = tiff(values, **layout)
    tags = reader.tags_of(content)
    np.testing.assert_array_equal(reader.read(content, tags, bands, 10_000), values)
    np.testing.assert_array_equal(reader.read(content, tags, 1, 10_000), values[..., :1])


def test_big_tiff_is_read() -> None:
    plain = tiff(RAMP)  # float64; the same page, described with numbers of 64 bits
    tags = [
        (256, 64),
        (257, 64),
        (258, 64),
        (259, 1),
        (262, 1),
        (273, 16),
        (277, 1),
        (278, 64),
        (279, 8 * 64 * 64),
        (339, 3),
    ]
    entries = b"".join(struct.pack("<HHQQ", name, 16, 1, value) for name, value in tags)
    data = plain[8 : 8 + 8 * 64 * 64]
    content = struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16 + len(data)) + data + struct.pack("<Q", len(tags)) + entries
    assert np.abs(gray(content + bytes(8)) - SHADES).max() <= 1


def test_a_tiff_that_pillow_does_not_open_is_turned_upright() -> None:
    stored = np.array([[0, 0.5], [0, 1]] * 8)
    pixels = np.asarray(images.decode(tiff(stored, tags={274: (6,)})))
    assert pixels.shape == (2, 16, 3)
    assert pixels[0].max() == 0  # the first column is on top
    assert np.asarray(images.decode(tiff(stored, tags={274: (6,)}), exif=False)).shape == (16, 2, 3)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (tiff(RAMP, packing=34887), "64-bit floats, 1 band, LERC compression"),
        (tiff(COLORS, photometric=2, packing=7), "64-bit floats, 3 bands, JPEG compression"),
        (tiff(RAMP.astype("c8")), "64-bit complex numbers, 1 band, no compression"),
        (
            tiff(np.dstack([COLORS, RAMP]), photometric=5),
            "floats, 4 bands, no compression, photometric interpretation CMYK",
        ),
        (tiff(RAMP, tags={258: (24,)}), "24-bit floats, 1 band, no compression"),
        (tiff(RAMP, packing=60000), "unknown (60000) compression"),
    ],
)
def test_a_tiff_of_another_kind_is_named_as_what_it_is(content: bytes, words: str) -> None:
    with pytest.raises(NotAnImage) as caught:
        images.decode(content)
    message = str(caught.value)
    assert message.startswith("this is a TIFF of a kind that is not read: ")
    assert words in message
    assert message.endswith(". Convert it to PNG first.")


def test_a_raw_photo_that_begins_like_a_tiff_is_called_one() -> None:
    with pytest.raises(NotAnImage, match=r"^this is a raw photo, as NEF, ARW or DNG are: 14-bit"):
        images.decode(tiff(RAMP, photometric=32803, tags={258: (14,), 271: b"NIKON\0", 330: (8,)}))


def test_a_deep_tiff_that_ends_early_is_truncated_and_a_vast_one_too_large() -> None:
    content = tiff(RAMP)
    head, tail = content[:1000], content[8 + 8 * 64 * 64 :]
    moved = head[:4] + struct.pack("<L", len(head)) + head[8:]
    with pytest.raises(TruncatedImage):
        images.decode(moved + tail)
    with pytest.raises(ImageTooLarge, match=r"64 x 64 pixels of 64 bytes, too many"):
        images.decode(tiff(np.dstack([RAMP] * 8)), max_pixels=64 * 64)
    with pytest.raises(ImageTooLarge, match=r"64 x 64 = 4,096 pixels"):
        images.decode(content, max_pixels=4095)


def test_pillows_own_limit_is_not_in_the_way_of_deep_images_and_stays_in_force_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits, load = [], TiffImagePlugin.TiffImageFile.load

    def spied(image: TiffImagePlugin.TiffImageFile) -> Any:  # noqa: ANN401 - as Pillow's
        limits.append(Image.MAX_IMAGE_PIXELS)  # what another thread would meet while this one decodes
        return load(image)

    twelve = (COLORS * 4095).astype("u2")
    contents = (tiff(RAMP), tiff(RAMP, packing=LZW, tile=16), png(twelve, 2), tiff(twelve, photometric=2))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "load", spied)
    for content in contents:
        assert images.decode(content, max_pixels=64 * 64).size == (64, 64)
    assert {*limits, Image.MAX_IMAGE_PIXELS} == {1000}


def test_what_memory_does_not_hold_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError("Unable to allocate 9 TiB for an array")

    monkeypatch.setattr(deep, "to_8_bits", full)
    with pytest.raises(ImageTooLarge, match=r"^not enough memory to decode it\.$"):
        images.decode(tiff(RAMP))


def test_a_tiff_without_a_size_is_broken() -> None:
    with pytest.raises(BrokenImage, match=r"^the image has no size\.$"):
        images.decode(tiff(RAMP, tags={256: (0,)}))


def test_a_small_version_on_the_first_page_is_passed_over() -> None:
    small, large = Image.new("L", (16, 16), 200), Image.new("L", (64, 48), 50)
    file = io.BytesIO()
    small.save(file, "TIFF", save_all=True, append_images=[large], tiffinfo={254: 1})
    assert images.decode(file.getvalue()).size == (64, 48)
    file = io.BytesIO()
    small.save(file, "TIFF", tiffinfo={254: 1})
    assert images.decode(file.getvalue()).size == (16, 16)


def test_bytes_that_are_said_to_be_signed_and_are_not_stay_as_they_are() -> None:
    values = SHADES.T.astype("u1")
    np.testing.assert_array_equal(gray(tiff(values, tags={339: (2,)})), values)


# --- text in PNG files


@pytest.mark.parametrize(
    ("kind", "head"),
    [(b"zTXt", b"Comment\0\0"), (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0"), (b"iCCP", b"profile\0\0")],
)
@pytest.mark.parametrize("behind", [False, True])
def test_large_texts_in_a_png_do_no_harm(kind: bytes, head: bytes, behind: bool) -> None:  # noqa: FBT001 - a parameter
    large = chunk(kind, head + zlib.compress(bytes(100_000_000), 1))
    content = png(SHADES.astype("u1"), 0)
    at = content.index(b"IEND" if behind else b"IDAT") - 4
    tracemalloc.start()
    pixels = gray(content[:at] + large + content[at:])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(pixels, SHADES.astype("u1"))
    assert peak < 10_000_000


# --- all of it, to the answer


def test_a_folder_of_odd_files_gives_the_right_class_wherever_a_picture_is_in_it(
    resnest: Resnest, tmp_path: Path
) -> None:
    two = np.asarray(Image.open(SAMPLES / "two_0051.png").convert("L").resize((64, 64))) / 255
    deep = (two * 65535).astype("u2")
    pictures = {
        "celsius.tif": tiff((15 + two * 20).astype("f4")),
        "double.tif": tiff(two),
        "half.tif": tiff(two.astype("f2"), packing=DEFLATE, predictor=3),
        "kelvin.tif": tiff((273 + two * 40).astype("f4")),
        "nodata.tif": tiff(with_first_rows(two, 3.4e38).astype("f4")),
        "overshoot.tif": tiff(with_first_pixel(two, 1.0001).astype("f4")),
        "reflectance.tif": tiff((two * 3000).astype("i2")),
        "twelve.tif": tiff(deep // 16),
        "twelve.png": png(deep // 16, 0),
        "twelve_rgb.png": png(np.dstack([deep // 16] * 3), 2),
        "uint32.tif": tiff((two * 4e9).astype("u4")),
        "int16.tif": tiff((two * 2000 - 1000).astype("i2")),
        "int8.tif": tiff((two * 127).astype("i1")),
        "white_is_zero.tif": tiff(65535 - deep, photometric=0),
        "two_bands.tif": tiff(np.dstack([two, two * 0])),
        "eight_bands.tif": tiff((np.dstack([two] * 8) * 255).astype("u1")),
        "float_rgb.tif": tiff(np.dstack([two] * 3).astype("f4"), photometric=2, tile=16, packing=LZW),
        "text.png": png((two * 255).astype("u1"), 0, chunk(b"zTXt", b"C\0\0" + zlib.compress(bytes(3_000_000)))),
    }
    others = {
        "lerc.tif": (tiff(two, packing=34887), "NotAnImage", "LERC compression"),
        "picture.jpg": (b"DDS \x7c\0\0\0", "NotAnImage", "DirectDraw"),
        "empty.tif": (tiff(two * np.nan), "BrokenImage", "holds no data"),
    }
    for name, content in {**pictures, **{name: other[0] for name, other in others.items()}}.items():
        (tmp_path / name).write_bytes(content)
    result = resnest("predict", tmp_path, "-m", "digits", "-j", "0", "-f", "jsonl", "-k", "1")
    rows = {row["path"].rpartition("/")[2]: row for row in map(json.loads, result.stdout.splitlines())}
    assert sorted(rows) == sorted({**pictures, **others})
    assert {name: rows[name]["predictions"][0]["label"] for name in pictures} == dict.fromkeys(pictures, "two")
    assert min(rows[name]["predictions"][0]["probability"] for name in pictures) > 0.7
    for name, (_, kind, words) in others.items():
        assert rows[name]["error"]["type"] == kind
        assert words in rows[name]["error"]["message"]
