"""A network is shown what timm would show it, bit for bit; what is no whole image is refused by its right name."""

from __future__ import annotations

import io
import itertools
import math
import struct
import zlib
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st
from odd_files import LZW, tiff
from PIL import Image, ImageCms

from resnest_cli import list_models
from resnest_cli.errors import BrokenImage, ImageError, ImageTooLarge, NotAnImage, TruncatedImage
from resnest_cli.inputs.decode import images
from resnest_cli.inputs.decode.describe import describe
from resnest_cli.options import INTERPOLATIONS
from resnest_cli.system import signatures
from resnest_cli.types import DataConfig, ModelSpec

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Shell
    from numpy.typing import NDArray

SPECS = list_models()
TINY = DataConfig(input_size=(3, 32, 32), crop_pct=1.0, interpolation="bilinear")

each_variant = pytest.mark.parametrize("spec", SPECS, ids=[spec.name for spec in SPECS])


# --- what is expected, by timm itself


def timm_pixels(image: Image.Image, data: DataConfig) -> NDArray[np.uint8]:
    from timm.data.transforms_factory import create_transform

    transform = create_transform(
        data.input_size,
        interpolation=data.interpolation,
        mean=data.mean,
        std=data.std,
        crop_pct=data.crop_pct,
        crop_mode=data.crop_mode,
        normalize=False,
    )
    pixels: NDArray[np.uint8] = transform(image.convert("RGB")).permute(1, 2, 0).numpy()
    return pixels


def noise(width: int, height: int, seed: int = 0, channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def in_mode(mode: str, width: int, height: int) -> Image.Image:
    if mode == "I;16":
        deep = np.random.default_rng(1).integers(0, 65536, (height, width), dtype=np.uint16)
        return Image.fromarray(deep)
    rgba = Image.fromarray(noise(width, height, channels=4))
    return (rgba.convert("RGB") if mode in {"P", "YCbCr"} else rgba).convert(mode)


def saved(image: Image.Image, format: str, **how: Any) -> bytes:  # noqa: ANN401 - each is an option of a Pillow writer
    buffer = io.BytesIO()
    image.save(buffer, format, **how)
    return buffer.getvalue()


# --- pixels


@st.composite
def shapes(draw: st.DrawFn) -> tuple[int, int]:
    """Width and height from 1 to 700, up to 1:40; more extreme ones need gigabytes once the short edge is enlarged."""
    short = draw(st.integers(1, 700))
    long = draw(st.integers(short, min(700, 40 * short)))
    return draw(st.sampled_from([(short, long), (long, short)]))


edges = st.integers(2, 96)  # at 1, a crop_pct above 1 leaves nothing to resize to
configs = st.builds(
    DataConfig,
    input_size=st.one_of(edges.map(lambda edge: (3, edge, edge)), st.tuples(st.just(3), edges, edges)),
    crop_pct=st.floats(0.2, 1.5),
    crop_mode=st.sampled_from(["center", "squash", "border"]),
    interpolation=st.sampled_from(INTERPOLATIONS),
    mean=st.sampled_from([(0.485, 0.456, 0.406), (0.5, 0.5, 0.5), (0.0, 0.1, 1.0)]),
)


@settings(max_examples=200, deadline=None)
@given(shape=shapes(), data=configs, seed=st.integers(0, 99))
def test_any_image_is_resized_and_cropped_as_timm_does(shape: tuple[int, int], data: DataConfig, seed: int) -> None:
    image = Image.fromarray(noise(*shape, seed))
    try:
        expected = timm_pixels(image, data)
    except ValueError:  # timm rounds a thin image's short edge to 0 pixels, in this mode only
        if data.crop_mode != "border":
            raise
        reject()
    pixels = images.preprocess(image, data)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_an_extreme_shape_is_treated_as_timm_does(crop_mode: str, interpolation: str) -> None:
    data = DataConfig(input_size=(3, 14, 18), crop_pct=0.9, crop_mode=crop_mode, interpolation=interpolation)
    image = Image.fromarray(noise(3, 700) if crop_mode == "border" else noise(1, 700))
    tall = replace(data, input_size=(3, 300, 18)) if crop_mode == "border" else data
    np.testing.assert_array_equal(images.preprocess(image, tall), timm_pixels(image, tall))


def test_a_line_too_thin_for_its_border_keeps_one_pixel() -> None:
    data = replace(TINY, crop_mode="border", mean=(1.0, 0.5, 0.0))
    with pytest.raises(ValueError, match=r"> 0|greater than 0"):
        timm_pixels(Image.new("RGB", (1000, 1)), data)
    pixels = images.preprocess(Image.new("RGB", (1000, 1), (9, 9, 9)), data)
    expected = np.full((32, 32, 3), (255, 128, 0), np.uint8)
    expected[15] = 9  # 31 rows are filled: 15 above, 16 below
    np.testing.assert_array_equal(pixels, expected)


@settings(max_examples=200, deadline=None)
@given(
    short=st.integers(4, 40),
    longer=st.integers(8, 60),
    is_tall=st.booleans(),
    edge=st.integers(32, 96),
    interpolation=st.sampled_from(["bilinear", "bicubic", "hamming", "lanczos"]),
)
def test_the_part_of_a_strip_is_that_of_the_whole(
    short: int, longer: int, *, is_tall: bool, edge: int, interpolation: str
) -> None:
    shape = (short, short * longer) if is_tall else (short * longer, short)
    image = Image.fromarray(noise(*shape))
    data = DataConfig(input_size=(3, edge, edge), crop_pct=0.9, interpolation=interpolation)
    expected = timm_pixels(image, data).astype(int)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "MOST_RESIZED", 0)
        pixels = images.preprocess(image, data)
    apart = np.abs(pixels - expected)
    # Bicubic and Lanczos overshoot, and are cut at 0 and 255 after the first of two passes, whichever that is.
    assert apart.max() <= 2 if interpolation in {"bilinear", "hamming"} else apart.mean() < 3


@pytest.mark.parametrize("shape", [(30_000, 10), (1, 60_000)])
def test_a_strip_however_long_shows_its_middle(shape: tuple[int, int]) -> None:
    image = Image.new("RGB", shape)
    long, short = max(shape), min(shape)
    begin, end = long // 2 - 8 * short, long // 2 + 8 * short
    image.paste((200, 100, 0), (begin, 0, end, short) if shape[0] == long else (0, begin, short, end))
    pixels = images.preprocess(image, DataConfig(input_size=(3, 320, 320)))
    np.testing.assert_array_equal(pixels, np.full((320, 320, 3), (200, 100, 0)))


@each_variant
def test_a_variant_has_the_data_config_of_timm(spec: ModelSpec) -> None:
    import timm
    from timm.data.config import resolve_data_config

    cfg = timm.get_pretrained_cfg(spec.architecture)
    assert cfg
    theirs = resolve_data_config({}, pretrained_cfg=cfg.to_dict())  # type: ignore[no-untyped-call] # timm's gap
    assert cfg.tag == spec.facts["tag"]
    assert cfg.num_classes == spec.num_classes
    assert DataConfig(**{key: value for key, value in theirs.items() if key in vars(spec.data)}) == spec.data
    assert vars(spec.data).keys() <= theirs.keys()


@pytest.mark.parametrize(
    ("mode", "format"),
    [
        ("1", "PNG"),
        ("L", "PNG"),
        ("P", "PNG"),
        ("P", "GIF"),
        ("RGB", "JPEG"),
        ("RGB", "BMP"),
        ("L", "JPEG"),
        ("CMYK", "JPEG"),
        ("CMYK", "TIFF"),
        ("YCbCr", "JPEG"),
    ],
)
@each_variant
def test_an_ordinary_color_mode_becomes_the_rgb_of_timm(spec: ModelSpec, mode: str, format: str) -> None:
    content = saved(in_mode(mode, 83, 61), format)
    with Image.open(io.BytesIO(content)) as image:
        expected = timm_pixels(image, spec.data)
    pixels = images.load(content, spec.data, exif=False)
    assert pixels.shape == (*spec.data.input_size[1:], 3)
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize(("mode", "format"), [("RGBA", "PNG"), ("RGBA", "WEBP"), ("LA", "PNG")])
def test_an_alpha_channel_that_hides_nothing_changes_nothing(mode: str, format: str) -> None:
    image = in_mode(mode, 83, 61)
    image.putalpha(255)
    content = saved(image, format, lossless=True) if format == "WEBP" else saved(image, format)
    np.testing.assert_array_equal(images.load(content, TINY), timm_pixels(image, TINY))


# --- where timm's convert("RGB") shows another picture


def mean(content: bytes) -> float:
    return float(np.asarray(images.decode(content)).mean())


RAMP = np.linspace(0, 1, 64 * 64).reshape(64, 64)  # its mean is a half, so that of the picture is 127.5


@pytest.mark.parametrize(
    ("values", "format"),
    [
        ((RAMP * 65535).astype(np.uint16), "PNG"),
        ((RAMP * 65535).astype(np.uint16), "TIFF"),
        ((RAMP * 65535).astype(">u2"), "TIFF"),
        ((RAMP * 65535).astype(np.int32), "PPM"),
        ((RAMP * 255).astype(np.int32), "TIFF"),
        ((RAMP * 65535).astype(np.int32), "TIFF"),
        ((RAMP * (2**31 - 1)).astype(np.int32), "TIFF"),
        (RAMP.astype(np.float32), "TIFF"),
        ((RAMP * 255).astype(np.float32), "TIFF"),
        ((RAMP * 65535).astype(np.float32), "TIFF"),
        ((RAMP * 1e6).astype(np.float32), "TIFF"),
    ],
    ids=lambda value: str(getattr(value, "dtype", value)),
)
def test_deep_gray_is_scaled_not_cut_off(values: NDArray[Any], format: str) -> None:
    content = saved(Image.fromarray(values), format)
    pixels = np.asarray(images.decode(content)).astype(float)
    assert np.abs(pixels[:, :, 1] - RAMP * 255).max() <= 1
    assert mean(content) == pytest.approx(127.5, abs=1)


def test_16_bits_a_color_keep_the_upper_eight() -> None:
    deep = np.stack([RAMP * 65535, RAMP[::-1] * 65535, 0 * RAMP], axis=2).astype(">u2")
    lines = b"".join(b"\0" + line.tobytes() for line in deep)
    header = struct.pack(">IIBBBBB", 64, 64, 16, 2, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b"")]
    pixels = np.asarray(images.decode(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))).astype(float)
    assert np.abs(pixels - deep.astype(float) / 257).max() <= 1


def half_hidden(mode: str) -> Image.Image:
    """Black on the left, of half strength in the middle; on the right a red that is wholly transparent."""
    image = Image.new("RGBA", (96, 32), (0, 0, 0, 255))
    image.paste((0, 0, 0, 128), (32, 0, 64, 32))
    image.paste((200, 0, 0, 0), (64, 0, 96, 32))
    return image.convert(mode)


@pytest.mark.parametrize(
    ("mode", "format", "how"),
    [
        ("RGBA", "PNG", {}),
        ("RGBA", "WEBP", {"lossless": True, "exact": True}),
        ("RGBA", "TIFF", {}),
        ("RGBA", "TGA", {}),
        ("LA", "PNG", {}),
        ("PA", "PNG", {}),
    ],
)
def test_what_is_transparent_is_shown_on_white(mode: str, format: str, how: dict[str, bool]) -> None:
    if mode == "PA":  # a palette of three, with as many alpha values
        image = Image.fromarray(np.repeat(np.arange(3, dtype=np.uint8), 32)[None].repeat(32, axis=0)).convert("P")
        image.putpalette([0, 0, 0, 0, 0, 0, 200, 0, 0])
        content = saved(image, format, transparency=bytes([255, 128, 0]))
    else:
        content = saved(half_hidden(mode), format, **how)
    pixels = np.asarray(images.decode(content)).astype(int)
    assert pixels[:, :32].max() == 0
    assert np.abs(pixels[:, 32:64] - 127).max() <= 1  # 255 * (1 - 128 / 255)
    assert pixels[:, 64:].min() == 255


@pytest.mark.parametrize(("mode", "key"), [("L", 9), ("RGB", (9, 9, 9))])
def test_a_color_that_stands_for_transparent_is_white(mode: str, key: int | tuple[int, int, int]) -> None:
    assert mean(saved(Image.new(mode, (8, 8), key), "PNG", transparency=key)) == 255


def cmyk_profile() -> bytes:
    """Make an ICC profile by hand: K is black, C a gray of L* 50, and M and Y are invisible."""
    inks = itertools.product((0, 1), repeat=4)
    corners = b"".join(bytes([0 if k else 128 if c else 255, 128, 128]) for c, _, _, k in inks)  # L*, a*, b*
    unity = struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + unity + bytes(range(256)) * 4 + corners + bytes(range(256)) * 3
    tags = struct.pack(">I4sII", 1, b"A2B0", 144, len(table))
    kind = struct.pack(
        ">I4sI4s4s4s12s4s28s", 144 + len(table), b"", 0x02100000, b"prtr", b"CMYK", b"Lab ", b"", b"acsp", b""
    )
    white = struct.pack(">3i", 63190, 65536, 54061)  # D50
    return kind + white + bytes(128 - len(kind) - len(white)) + tags + table


@pytest.mark.parametrize("format", ["TIFF", "JPEG"])
def test_cmyk_is_converted_by_its_profile(format: str) -> None:
    image = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    content = saved(image, format, icc_profile=cmyk_profile())
    pixels = np.asarray(images.decode(content)).astype(int)
    assert np.abs(pixels - 119).max() <= 2  # L* 50 is 118.9 in sRGB; without the profile it were (0, 255, 255)


@pytest.mark.parametrize(
    "profile", [b"this is no profile" * 20, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()]
)
def test_cmyk_whose_profile_does_not_fit_is_converted_as_if_it_had_none(profile: bytes) -> None:
    content = saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF", icc_profile=profile)
    assert np.asarray(images.decode(content))[0, 0].tolist() == [255, 0, 0]


def test_lab_is_converted_by_color() -> None:
    lab = Image.new("LAB", (8, 8), (138, 209, 198))  # L* 54.3, a* 80.8, b* 69.9 under D50: the red of sRGB
    assert np.abs(np.asarray(images.decode(saved(lab, "TIFF")))[0, 0].astype(int) - (255, 0, 0)).max() <= 5


# --- formats


@cache
def two_colors(format: str) -> bytes:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", (32, 32), (250, 5, 5))
    image.paste((5, 5, 250), (16, 0, 32, 32))
    return saved(image, format)


@pytest.mark.parametrize("format", [*images.FORMATS, "MPO"])  # JPEG's reader reads MPO
def test_every_format_is_read(format: str) -> None:
    pixels = np.asarray(images.decode(two_colors(format))).astype(int)
    assert pixels.shape == (32, 32, 3)
    assert np.abs(pixels[:, :8] - (250, 5, 5)).max() <= 8  # the lossy ones differ a little
    assert np.abs(pixels[:, 24:] - (5, 5, 250)).max() <= 8


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF", "MPO", "AVIF"])
def test_of_several_frames_the_first_is_read(format: str) -> None:
    first, second = Image.new("RGB", (32, 24), (250, 5, 5)), Image.new("RGB", (32, 24), (5, 5, 250))
    content = saved(first, format, save_all=True, append_images=[second])
    with Image.open(io.BytesIO(content)) as image:
        assert getattr(image, "n_frames", 1) == 2
    assert np.abs(np.asarray(images.decode(content)).astype(int) - (250, 5, 5)).max() <= 8


def test_suffixes_are_those_of_the_formats_and_none_twice() -> None:
    assert sorted(images.SUFFIXES) == sorted(suffix for suffixes in images.FORMATS.values() for suffix in suffixes)
    assert len(images.SUFFIXES) == len(set(images.SUFFIXES))


@pytest.mark.parametrize("suffix", images.SUFFIXES)
def test_what_pillow_saves_under_a_suffix_is_read(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"image{suffix}"
    Image.new({".pgm": "L", ".pbm": "1"}.get(suffix, "RGB"), (32, 32)).save(path)
    assert images.decode(path.read_bytes()).size == (32, 32)


# --- EXIF orientation

STORED = [[10, 20, 30], [40, 50, 60]]
UPRIGHT = {  # worked by hand: where the standard says that the stored row 0 and column 0 are seen
    1: STORED,
    2: [[30, 20, 10], [60, 50, 40]],
    3: [[60, 50, 40], [30, 20, 10]],
    4: [[40, 50, 60], [10, 20, 30]],
    5: [[10, 40], [20, 50], [30, 60]],
    6: [[40, 10], [50, 20], [60, 30]],
    7: [[60, 30], [50, 20], [40, 10]],
    8: [[30, 60], [20, 50], [10, 40]],
}


LOSSLESS_AVIF = {"quality": 100, "subsampling": "4:4:4", "advanced": {"matrix-coefficients": "0"}}


def oriented(orientation: object, format: str, **how: Any) -> bytes:  # noqa: ANN401 - options of a Pillow writer
    exif = Image.Exif()
    exif[0x0112] = orientation
    gray = np.array(STORED, np.uint8)
    return saved(Image.fromarray(np.stack([gray] * 3, axis=2)), format, exif=exif, **how)


@pytest.mark.parametrize(("format", "how"), [("PNG", {}), ("WEBP", {"lossless": True}), ("AVIF", LOSSLESS_AVIF)])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_an_image_is_turned_as_its_exif_says_unless_told_not_to(
    orientation: int, format: str, how: dict[str, bool]
) -> None:
    content = oriented(orientation, format, **how)
    assert np.asarray(images.decode(content))[:, :, 0].tolist() == UPRIGHT[orientation]
    assert np.asarray(images.decode(content, exif=False))[:, :, 0].tolist() == STORED


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_tiff_is_turned_once_and_always(orientation: int) -> None:
    """In TIFF the tag is part of the format itself: Pillow, and so timm, turns the image as it reads it."""
    content = oriented(orientation, "TIFF")
    assert np.asarray(images.decode(content))[:, :, 0].tolist() == UPRIGHT[orientation]
    assert np.asarray(images.decode(content, exif=False))[:, :, 0].tolist() == UPRIGHT[orientation]


@pytest.mark.parametrize("orientation", [0, 9, 60000])
def test_an_orientation_that_does_not_exist_turns_nothing(orientation: int) -> None:
    assert np.asarray(images.decode(oriented(orientation, "PNG")))[:, :, 0].tolist() == STORED


def test_a_jpeg_is_turned_before_it_is_cropped() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = Image.new("RGB", (96, 32), (0, 0, 0))
    wide.paste((255, 255, 255), (0, 0, 32, 32))  # the left third; upright it is the top third
    content = saved(wide, "JPEG", exif=exif)
    squashed = replace(TINY, crop_mode="squash")
    assert images.load(content, squashed)[:8].min() > 200
    assert images.load(content, squashed, exif=False)[:, :8].min() > 200
    assert images.load(content, squashed)[16:].max() < 50


# --- refusals


def refusal(content: bytes) -> ImageError:
    with pytest.raises(ImageError) as caught:
        images.decode(content)
    assert str(caught.value).endswith(".")
    return caught.value


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, data: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"hello, world\n", "this is a text file, not an image."),
        (b"#define im_width 1\nstatic char im_bits[] = {0x00};\n", "C source"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript"),
        (b"8BPS\0\1", "Photoshop"),
        (b"\xd7\xcd\xc6\x9a\0\0", "Windows metafile"),
        (b"PK\x03\x04\0\0", "ZIP archive"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"\n <!DOCTYPE html><html><body>404</body></html>", "HTML page"),
        (b"<html><body>404</body></html>", "HTML page"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "PDF"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "convert it to PNG first"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "run `git lfs pull`"),
        (b"\0" * 4096, "the file holds only zeros"),
        (
            b"DDS \x7c\0\0\0\x07\x10\0\0",
            "this is a DirectDraw surface (DDS), which is not read: convert it to PNG first.",
        ),
        (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 1\n", "Radiance HDR"),
        (b"FUJIFILMCCD-RAW 0201FF383501", "Fujifilm raw photo (RAF)"),
        (b"II*\0\x10\0\0\0CR\x02\0", "Canon raw photo (CR2)"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1", "Canon raw photo (CR3)"),
        (b"IIU\0\x18\0\0\0", "Panasonic raw photo (RW2)"),
        (b"SIMPLE  =                    T", "FITS"),
        (bytes(128) + b"DICM\2\0", "DICOM"),
        (b"\x76\x2f\x31\x01\2\0\0\0", "OpenEXR"),
        (b"\xff\x0a\xfa\x3f", "JPEG XL"),
        (b"\0\0\0\x20ftypisom\0\0\2\0", "a video (MP4, MOV or the like)"),
        (b"\x1a\x45\xdf\xa3\x9f", "Matroska or WebM"),
        (b"RIFF\x24\0\0\0AVI LIST", "AVI video"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x93NUMPY\1\0", "numpy array"),
        (b"?\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG picture behind 1 other byte, which"),
        (b"<br>Warning: x in y.php\n\x89PNG\r\n\x1a\n", "a PNG picture behind 24 other bytes"),
        (bytes(range(1, 256)), "not an image in a format that is read here (JPEG, "),
    ],
    ids=lambda value: value[:12] if isinstance(value, str) else "",
)
def test_what_is_no_image_is_named(content: bytes, words: str) -> None:
    error = refusal(content)
    assert type(error) is NotAnImage
    assert words in error.message


def test_a_signature_is_looked_for_at_its_place_only() -> None:
    assert "text file" in str(refusal(b"a DDS file begins with DDS, a DICOM file has DICM at 128"))
    assert "FLIC" in str(refusal(bytes([9, 9, 9, 0, 0x12, 0xAF])))
    assert not describe(b"II*\0\x12\xaf\0\0")  # a TIFF whose tags begin at byte 0xAF12
    assert len({(kind.sign, kind.at) for kind in signatures.KINDS}) == len(signatures.KINDS)


@pytest.mark.parametrize(
    ("content", "format"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\0", "PNG"),
        (b"\x89PNG\n\n\x1a\n", "PNG"),  # a transfer as text has changed the ends of lines
        (b"GIF89a", "GIF"),
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"RIFF\0\0\0\0WEBP", "WebP"),
        (b"P5\n-3 4\n255\n", "PPM"),
    ],
)
def test_a_format_of_ours_with_a_damaged_beginning_is_a_broken_image(content: bytes, format: str) -> None:
    error = refusal(content)
    assert type(error) is BrokenImage
    assert str(error) == f"the file begins like a {format} image, but its header is damaged."


@pytest.mark.parametrize("format", ["EPS", "PCX", "DDS", "SGI"])
def test_formats_outside_the_list_are_never_tried(format: str) -> None:
    content = saved(Image.new("RGB", (20, 20)), format)
    error = refusal(content)
    assert type(error) is NotAnImage
    assert {"EPS": "PostScript", "DDS": "DirectDraw"}.get(format, format) in str(error)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "TIFF", "PPM", "TGA"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_file_that_ends_early_is_truncated(format: str, share: float) -> None:
    content = saved(Image.fromarray(noise(64, 64)), format)
    assert type(refusal(content[: math.ceil(share * len(content))])) is TruncatedImage


def test_a_jpeg_without_its_end_is_shown_if_it_is_all_there_and_never_in_part() -> None:
    content = saved(Image.fromarray(noise(40, 40)), "JPEG", quality=90)
    expected = images.decode(content).tobytes()
    assert images.decode(content[:-2]).tobytes() == expected
    assert images.decode(content[:-1]).tobytes() == expected
    for lost in range(3, 400, 3):
        assert type(refusal(content[:-lost])) is TruncatedImage


def test_a_progressive_jpeg_without_its_end_may_lack_a_pass_and_is_truncated() -> None:
    content = saved(Image.fromarray(noise(40, 40)), "JPEG", quality=90, progressive=True)
    for lost in range(2, 400, 3):
        assert type(refusal(content[:-lost])) is TruncatedImage


@pytest.mark.parametrize("lead", [b"\xff\xff", b"\n", b"\r\n\r\n", b"\0" * 60])
def test_what_viewers_skip_before_a_jpeg_is_skipped(lead: bytes) -> None:
    content = saved(Image.fromarray(noise(40, 40)), "JPEG")
    assert images.decode(lead + content).tobytes() == images.decode(content).tobytes()
    assert type(refusal(lead + content[:-200])) is TruncatedImage
    assert type(refusal(b"text" + lead + content)) is NotAnImage


def test_a_png_with_a_damaged_text_is_good() -> None:
    good = two_colors("PNG")
    damaged = good[:33] + chunk(b"tEXt", b"Comment\0A")[:-1] + b"?" + good[33:]
    assert images.decode(damaged).tobytes() == images.decode(good).tobytes()


def test_a_jpeg2000_that_ends_early_is_broken_since_its_decoder_does_not_tell_why() -> None:
    content = saved(Image.fromarray(noise(64, 64)), "JPEG2000")
    assert type(refusal(content[: len(content) // 2])) is BrokenImage


def test_a_damaged_image_that_is_all_there_is_not_called_truncated() -> None:
    content = bytearray(saved(Image.fromarray(noise(64, 64)), "PNG"))
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    assert type(refusal(bytes(content))) is BrokenImage


def test_a_png_with_impossible_compressed_data_is_broken() -> None:
    assert isinstance(refusal(png(20, 20, b"this was never compressed")), BrokenImage)


def test_a_file_that_decodes_to_more_than_memory_is_refused_by_its_header() -> None:
    error = refusal(png(30_000, 30_000, zlib.compress(b"")))
    assert type(error) is ImageTooLarge
    assert "30000 x 30000 = 900,000,000 pixels; --max-pixels sets the limit (178,956,970)." in error.message


def test_the_limit_can_be_lowered_and_raised_whatever_pillows_is(monkeypatch: pytest.MonkeyPatch) -> None:
    content = two_colors("PNG")
    with pytest.raises(ImageTooLarge, match=r"32 x 32 = 1,024 pixels; max_pixels sets the limit \(1,023\)\.$"):
        images.decode(content, max_pixels=1023)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow refuses at twice that
    assert images.decode(content, max_pixels=1024).size == (32, 32)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_damaged_exif_does_not_hide_a_good_picture() -> None:
    good = two_colors("PNG")
    damaged = good[:33] + chunk(b"eXIf", b"no TIFF header") + good[33:]  # 33: signature and IHDR
    assert images.decode(damaged).tobytes() == images.decode(good).tobytes()


def test_pillows_warnings_do_not_reach_the_terminal(shell: Shell, tmp_path: Path) -> None:
    jpeg = two_colors("JPEG")
    exif = b"Exif\0\0II*\0\xff\xff\0\0"  # points outside itself
    contents = {
        "transparent.png": saved(in_mode("P", 20, 20), "PNG", transparency=bytes(range(256))),
        "large.png": png(12_000, 10_000, zlib.compress(b"")),
        "bands.tif": tiff(noise(9, 9, channels=8)),
        "exif.jpg": jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:],
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    stderr = shell("resnest", "predict", tmp_path, "--model", "digits", "-j", "0").stderr
    assert b"Warning" not in stderr
    assert b"amples per pixel" not in stderr  # which Pillow logs


# --- any damage at all


@cache
def whole(format: str) -> bytes:
    if format == "DOUBLE":  # which Pillow does not open
        return tiff(noise(33, 21) / 255, photometric=2, packing=LZW, predictor=3, tile=16)
    return saved(Image.fromarray(noise(33, 21)), format)


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    content = bytearray(whole(draw(st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "TIFF", "DOUBLE"]))))
    places = st.integers(0, len(content) - 1) | st.integers(0, 60)  # headers are short, and hurt most
    for place, value in draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=4)):
        content[place] = value
    begin, end = sorted(draw(st.tuples(places, st.integers(0, len(content)))))
    how = draw(st.sampled_from(["whole", "cut", "hole", "doubled", "prefixed"]))
    return {
        "whole": bytes(content),
        "cut": bytes(content[:end]),
        "hole": bytes(content[:begin] + content[end:]),
        "doubled": bytes(content[:end] + content[begin:]),
        "prefixed": draw(st.binary(max_size=8)) + bytes(content),
    }[how]


@settings(max_examples=300, deadline=None)
@given(content=damaged_files())
@example(content=b"")
@example(content=b"\x89PNG\r\n\x1a\n")
@example(content=b"\xff\xd8\xff")
@example(content=b"GIF89a")
@example(content=b"RIFF\0\0\0\0WEBP")
def test_damage_gives_pixels_or_an_image_error_and_nothing_else(content: bytes) -> None:
    try:
        pixels = images.load(content, TINY)
    except ImageError as error:
        assert str(error).endswith(".")  # noqa: PT017 - either outcome is right
    else:
        assert pixels.shape == (32, 32, 3)
        assert pixels.dtype == np.uint8


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "DOUBLE"])
def test_the_files_that_are_damaged_above_are_whole_before(format: str) -> None:
    assert images.load(whole(format), TINY).std() > 10
