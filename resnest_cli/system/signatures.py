"""What kind of file some bytes are, by their signature: the one table for images, checkpoints and whatever else.

In: the first bytes of a file. Out: the name of its kind, and what to do with such a file. Standard library only. Does
not know which kinds a reader takes.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# Image formats, by their first bytes.
JPEG = b"\xff\xd8\xff"
PNG = b"\x89PNG\r\n\x1a\n"
GIF = b"GIF8"
BMP = b"BM"
RIFF = b"RIFF"  # WebP, and other formats
ICO = b"\0\0\1\0"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # little and big endian, then the same of BigTIFF
IMAGES = {
    JPEG: "JPEG",
    PNG: "PNG",
    GIF: "GIF",
    b"\x89PNG": "PNG",
    **dict.fromkeys(TIFF, "TIFF"),
    BMP: "BMP",
    ICO: "ICO",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"qoif": "QOI",
}
EMBEDDED = (JPEG, PNG, GIF)  # signatures that are long enough to be found behind other bytes
PNG_FIRST = "convert it to PNG first"
EXPORT_FIRST = "export it as PNG first"
UNPACK = "unpack it first"
PULL = "run `git lfs pull`"
_PLAYABLE = "extract a frame first"
_DEVELOP = "develop it to JPEG or PNG first"
_HEAD = 512  # bytes of a file that are looked through


class Kind(NamedTuple):
    """A kind of file: its signature and where that stands, its name, and how to make an image of such a file."""

    sign: bytes
    name: str
    hint: str = ""
    at: int = 0


KINDS = (
    # pictures
    Kind(b"DDS ", "a DirectDraw surface (DDS)", PNG_FIRST),
    Kind(b"#?RADIANCE", "a Radiance HDR picture", PNG_FIRST),
    Kind(b"#?RGBE", "a Radiance HDR picture", PNG_FIRST),
    Kind(b"\x76\x2f\x31\x01", "an OpenEXR picture", PNG_FIRST),
    Kind(b"PF\n", "a float map (PFM) in color", PNG_FIRST),
    Kind(b"P7\n", "a portable arbitrary map (PAM)", PNG_FIRST),
    Kind(b"\xff\x0a", "a JPEG XL picture", PNG_FIRST),
    Kind(b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture", PNG_FIRST),
    Kind(b"II\xbc\x01", "a JPEG XR picture", PNG_FIRST),
    Kind(b"BPG\xfb", "a BPG picture", PNG_FIRST),
    Kind(b"FLIF", "a FLIF picture", PNG_FIRST),
    Kind(b"\x01\xda\0", "an SGI picture", PNG_FIRST),
    Kind(b"\x01\xda\x01", "an SGI picture", PNG_FIRST),
    *(Kind(b"\x0a" + bytes([v, 1]), "a PCX picture", PNG_FIRST) for v in (0, 2, 3, 4, 5)),
    Kind(b"\x59\xa6\x6a\x95", "a Sun raster picture", PNG_FIRST),
    Kind(b"icns", "an Apple icon (ICNS)", PNG_FIRST),
    Kind(b"/* XPM */", "an XPM picture", PNG_FIRST),
    Kind(b"#define", "C source, perhaps an XBM picture", PNG_FIRST),
    Kind(b"\xabKTX", "a KTX texture", PNG_FIRST),
    Kind(b"\x13\xab\xa1\x5c", "an ASTC texture", PNG_FIRST),
    Kind(b"VTF\0", "a Valve texture", PNG_FIRST),
    Kind(b"BLP", "a Blizzard texture (BLP)", PNG_FIRST),
    Kind(b"farbfeld", "a farbfeld picture", PNG_FIRST),
    Kind(b"AT&TFORM", "a DjVu document", EXPORT_FIRST),
    # documents and drawings
    Kind(b"8BPS", "a Photoshop document", EXPORT_FIRST),
    Kind(b"gimp xcf", "a GIMP document", EXPORT_FIRST),
    Kind(b"%PDF", "a PDF document", EXPORT_FIRST),
    Kind(b"%!PS", "PostScript", PNG_FIRST),
    Kind(b"\xc5\xd0\xd3\xc6", "PostScript", PNG_FIRST),
    Kind(b"\xd7\xcd\xc6\x9a", "a Windows metafile", PNG_FIRST),
    Kind(b" EMF", "a Windows metafile", PNG_FIRST, at=40),
    Kind(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document", EXPORT_FIRST),
    # cameras; CR2 comes before TIFF, which it begins like
    Kind(b"FUJIFILMCCD-RAW", "a Fujifilm raw photo (RAF)", _DEVELOP),
    Kind(b"CR\x02", "a Canon raw photo (CR2)", _DEVELOP, at=8),
    Kind(b"ftypcrx", "a Canon raw photo (CR3)", _DEVELOP, at=4),
    Kind(b"HEAPCCDR", "a Canon raw photo (CRW)", _DEVELOP, at=6),
    *(Kind(sign, "an Olympus raw photo (ORF)", _DEVELOP) for sign in (b"IIRO", b"IIRS", b"MMOR")),
    Kind(b"IIU\0", "a Panasonic raw photo (RW2)", _DEVELOP),
    Kind(b"FOVb", "a Sigma raw photo (X3F)", _DEVELOP),
    Kind(b"\0MRM", "a Minolta raw photo (MRW)", _DEVELOP),
    Kind(b"ARRI", "an ARRI raw picture", _DEVELOP),
    # measurements
    Kind(b"DICM", "a DICOM file", PNG_FIRST, at=128),
    Kind(b"SIMPLE  =", "a FITS file (astronomy)", PNG_FIRST),
    Kind(b"\x89HDF\r\n", "an HDF5 file", EXPORT_FIRST),
    Kind(b"\x0e\x03\x13\x01", "an HDF4 file", EXPORT_FIRST),
    Kind(b"CDF\x01", "a NetCDF file", EXPORT_FIRST),
    Kind(b"CDF\x02", "a NetCDF file", EXPORT_FIRST),
    Kind(b"GRIB", "a GRIB file (weather)", EXPORT_FIRST),
    Kind(b"n+1\0", "a NIfTI volume (medicine)", EXPORT_FIRST, at=344),
    Kind(b"NRRD", "an NRRD volume", EXPORT_FIRST),
    Kind(b"ObjectType =", "a MetaImage volume", EXPORT_FIRST),
    Kind(b"MATLAB 5.0", "a MATLAB file", EXPORT_FIRST),
    Kind(b"\x93NUMPY", "a numpy array", "save it as PNG first"),
    Kind(b"PAR1", "a Parquet file"),
    Kind(b"\xda\xce\xbe\x0a", "a Nikon microscope file (ND2)", EXPORT_FIRST),
    Kind(b"ZISRAWFILE", "a Zeiss microscope file (CZI)", EXPORT_FIRST),
    # film and sound
    Kind(b"\x1a\x45\xdf\xa3", "a Matroska or WebM video", _PLAYABLE),
    Kind(b"AVI ", "an AVI video", _PLAYABLE, at=8),
    Kind(b"WAVE", "a sound file", at=8),
    Kind(b"\0\0\x01\xba", "an MPEG video", _PLAYABLE),
    Kind(b"\0\0\x01\xb3", "an MPEG video", _PLAYABLE),
    Kind(b"FLV\x01", "a Flash video", _PLAYABLE),
    *(Kind(sign, "a Flash film") for sign in (b"FWS", b"CWS")),
    Kind(b"0&\xb2u\x8ef\xcf\x11", "a Windows Media file", _PLAYABLE),
    *(Kind(sign, "a QuickTime video", _PLAYABLE, at=4) for sign in (b"moov", b"mdat", b"wide", b"free")),
    Kind(b"OggS", "an Ogg file (sound or video)"),
    Kind(b"ID3", "a sound file"),
    Kind(b"fLaC", "a sound file"),
    # the rest of what lies among pictures
    Kind(b"PK\x03\x04", "a ZIP archive", UNPACK),
    Kind(b"PK\x05\x06", "a ZIP archive", UNPACK),
    Kind(b"\x1f\x8b", "a gzip archive", UNPACK),
    Kind(b"BZh", "a bzip2 archive", UNPACK),
    Kind(b"\xfd7zXZ\0", "an xz archive", UNPACK),
    Kind(b"\x28\xb5\x2f\xfd", "a Zstandard archive", UNPACK),
    Kind(b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    Kind(b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    Kind(b"ustar", "a tar archive", UNPACK, at=257),
    Kind(b"SQLite format 3\0", "an SQLite database"),
    Kind(b"\x7fELF", "a program"),
    Kind(b"MZ", "a Windows program"),
    Kind(b"\0\x05\x16\x07", "what macOS notes about a file (AppleDouble)"),
    Kind(b"\0\0\0\x01Bud1", "what macOS notes about a folder (.DS_Store)"),
    Kind(b"version https://git-lfs", "the pointer of Git LFS to a file", PULL),
)
# The brands of files that begin with a "ftyp" box.
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_BRANDS = (
    (_HEIC, "a HEIC photo", "convert it to JPEG first"),
    ((b"avif", b"avis"), "an AVIF picture that is damaged", ""),
    ((b"jp2 ", b"jpx ", b"jpm "), "a JPEG 2000 picture that is damaged", ""),
    ((b"M4A ", b"M4B "), "a sound file", ""),
)


def image_format(content: bytes) -> str:
    """Return the name of the image format whose signature the bytes begin with, or ""."""
    if re.match(rb"P[1-6f]\s", content):
        return "PPM"
    if content.startswith(RIFF) and content[8:12] == b"WEBP":
        return "WebP"
    return next((name for sign, name in IMAGES.items() if content.startswith(sign)), "")


def find_kind(content: bytes) -> Kind | None:
    """Return the kind of file that the bytes begin, or None; image formats of `image_format` are no kind here."""
    if kind := next((kind for kind in KINDS if content.startswith(kind.sign, kind.at)), None):
        return kind
    return _branded(content) if content[4:8] == b"ftyp" else None


def is_html(content: bytes) -> bool:
    """Return whether the bytes begin an HTML page."""
    text = content[:_HEAD].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return text.startswith((b"<!doctype html", b"<html", b"<head"))


def is_text(head: bytes) -> bool:
    """Return whether bytes, perhaps cut within a character, are printable text."""
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        text = head[: error.start].decode() if error.start > len(head) - 4 else "\0"  # 4: a character may be cut
    return all(character.isprintable() or character.isspace() for character in text)


def _branded(content: bytes) -> Kind:
    """Return the kind of a file of the MP4 family, by its brand."""
    for brands, name, hint in _BRANDS:
        if content.startswith(brands, 8):
            return Kind(b"ftyp", name, hint, at=4)
    return Kind(b"ftyp", "a video (MP4, MOV or the like)", _PLAYABLE, at=4)
