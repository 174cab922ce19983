"""Name what the bytes of a file are, by their signature, where they are no image that is read here.

In: the first bytes of a file. Out: a sentence for the error message. Standard library only.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from resnest_cli.text.words import counted

PNG_FIRST = "convert it to PNG first"
EXPORT_FIRST = "export it as PNG first"


class Kind(NamedTuple):
    """What some bytes at some place mean, and what to do with such a file."""

    sign: bytes
    name: str
    hint: str = ""
    at: int = 0


_PLAYABLE = "take a frame out of it first"
_UNPACK = "unpack it first"
_DEVELOP = "develop it to JPEG or PNG first"
KINDS = (
    # pictures
    Kind(b"DDS ", "a DirectDraw surface (DDS)", PNG_FIRST),
    Kind(b"#?RADIANCE", "a Radiance HDR picture", PNG_FIRST),
    Kind(b"#?RGBE", "a Radiance HDR picture", PNG_FIRST),
    Kind(b"\x76\x2f\x31\x01", "an OpenEXR picture", PNG_FIRST),
    Kind(b"PF\n", "a float map (PFM) in colour", PNG_FIRST),
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
    Kind(b"PK\x03\x04", "a ZIP archive", _UNPACK),
    Kind(b"PK\x05\x06", "a ZIP archive", _UNPACK),
    Kind(b"\x1f\x8b", "a gzip archive", _UNPACK),
    Kind(b"BZh", "a bzip2 archive", _UNPACK),
    Kind(b"\xfd7zXZ\0", "an xz archive", _UNPACK),
    Kind(b"\x28\xb5\x2f\xfd", "a Zstandard archive", _UNPACK),
    Kind(b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    Kind(b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    Kind(b"ustar", "a tar archive", _UNPACK, at=257),
    Kind(b"SQLite format 3\0", "an SQLite database"),
    Kind(b"\x7fELF", "a program"),
    Kind(b"MZ", "a Windows program"),
    Kind(b"\0\x05\x16\x07", "what macOS notes about a file (AppleDouble)"),
    Kind(b"\0\0\0\x01Bud1", "what macOS notes about a folder (.DS_Store)"),
    Kind(b"version https://git-lfs", "the pointer of Git LFS to a file", "run `git lfs pull`"),
)
# The brands of files that begin with a "ftyp" box.
_BRANDS = (
    (
        (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"),
        "a HEIC photo",
        "convert it to JPEG first",
    ),
    ((b"avif", b"avis"), "an AVIF picture that is damaged", ""),
    ((b"jp2 ", b"jpx ", b"jpm "), "a JPEG 2000 picture that is damaged", ""),
    ((b"M4A ", b"M4B "), "a sound file", ""),
)
_PICTURES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"GIF8": "GIF"}
_READ = _PICTURES | {
    b"\x89PNG": "PNG",
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "TIFF"),
    b"BM": "BMP",
    b"\0\0\1\0": "ICO",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"qoif": "QOI",
}
_FLIC = (b"\x11\xaf", b"\x12\xaf")  # too short a sign for the fifth byte of whatever else: a TIFF has an offset there
_PREFIX = 512  # bytes before a picture that are looked through


def readable(content: bytes) -> str:
    """Name the format that is read here whose signature the bytes begin with, or nothing."""
    if re.match(rb"P[1-6f]\s", content):
        return "PPM"
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "WebP"
    return next((name for sign, name in _READ.items() if content.startswith(sign)), "")


def describe(content: bytes) -> str:
    """Say what a file is that no reader knows, and what to do about it."""
    if not content:
        return "the file is empty."
    if not content.strip(b"\0"):
        return "the file holds only zeros (a copy that failed?)."
    text = content[:_PREFIX].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "this is an HTML page, not an image (a failed download?)."
    name, hint = ("an SVG drawing", PNG_FIRST) if b"<svg" in text else _name(content)
    return f"this is {name}, {f'which is not read: {hint}' if hint else 'not an image'}." if name else ""


def _name(content: bytes) -> tuple[str, str]:
    if kind := next((kind for kind in KINDS if content.startswith(kind.sign, kind.at)), None):
        return kind.name, kind.hint
    return _branded(content) if content[4:8] == b"ftyp" else _guessed(content)


def _guessed(content: bytes) -> tuple[str, str]:
    """Name what has no signature at its place, unless it is a picture that begins as it should."""
    if readable(content):
        return "", ""
    if content.startswith(_FLIC, 4):
        return "a FLIC animation", _PLAYABLE
    if found := re.search(b"|".join(map(re.escape, _PICTURES)), content[:_PREFIX]):
        count = f"{counted(found.start(), 'other byte')}"
        return f"a {_PICTURES[found[0]]} picture behind {count}", "cut off what is before it"
    return ("a text file" if is_text(content[:_PREFIX]) else ""), ""


def _branded(content: bytes) -> tuple[str, str]:
    """Name a file of the MP4 family by its brand."""
    for brands, name, hint in _BRANDS:
        if content.startswith(brands, 8):
            return name, hint
    return "a video (MP4, MOV or the like)", _PLAYABLE


def is_text(head: bytes) -> bool:
    """Tell whether bytes, perhaps cut within a character, are printable text."""
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        text = head[: error.start].decode() if error.start > len(head) - 4 else "\0"  # 4: a character may be cut
    return all(character.isprintable() or character.isspace() for character in text)
