"""Write kinds of TIFF and PNG files that Pillow cannot write, from the two standards."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NONE, LZW, DEFLATE, PACKBITS, ZSTANDARD = 1, 5, 8, 32773, 50000
_PILLOW = {LZW: "tiff_lzw", PACKBITS: "packbits", ZSTANDARD: "zstd"}


def tiff(  # noqa: PLR0913 - each one is a tag
    values: NDArray[Any],
    *,
    photometric: int = 1,
    packing: int = NONE,
    predictor: int = 1,
    tile: int = 0,
    planar: bool = False,
    rows: int = 0,
    tags: dict[int, tuple[int, ...] | bytes] | None = None,
) -> bytes:
    """Write `values` [H, W] or [H, W, bands] in their own byte order, in strips of `rows` or tiles of an edge."""
    order = ">" if values.dtype.byteorder == ">" else "<"
    pixels = values.reshape(*values.shape[:2], -1)
    height, width, bands = pixels.shape
    planes = [pixels[..., band : band + 1] for band in range(bands)] if planar else [pixels]
    pieces = [piece for plane in planes for piece in _pieces(plane, tile, rows or height)]
    packed = [_pack(_predicted(piece, predictor), packing) for piece in pieces]
    offsets = 8 + np.cumsum([0, *map(len, packed)])
    page: dict[int, tuple[int, ...] | bytes] = {
        256: (width,),
        257: (height,),
        258: (8 * values.dtype.itemsize,) * bands,
        259: (packing,),
        262: (photometric,),
        277: (bands,),
        284: (2 if planar else 1,),
        339: ({"u": 1, "i": 2, "f": 3, "c": 6}[values.dtype.kind],) * bands,
    }
    if predictor > 1:
        page[317] = (predictor,)
    places, sizes = tuple(offsets[:-1].tolist()), tuple(map(len, packed))
    page |= (
        {322: (tile,), 323: (tile,), 324: places, 325: sizes}
        if tile
        else {273: places, 278: (rows or height,), 279: sizes}
    )
    page |= tags or {}
    begin = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HL", 42, int(offsets[-1]))
    return begin + b"".join(packed) + _directory(page, int(offsets[-1]), order)


def _pieces(plane: NDArray[Any], tile: int, rows: int) -> Sequence[NDArray[Any]]:
    if not tile:
        return [plane[top : top + rows] for top in range(0, len(plane), rows)]
    padded = np.pad(plane, [(0, -plane.shape[0] % tile), (0, -plane.shape[1] % tile), (0, 0)])
    places = [(top, left) for top in range(0, padded.shape[0], tile) for left in range(0, padded.shape[1], tile)]
    return [padded[top : top + tile, left : left + tile] for top, left in places]


def _predicted(piece: NDArray[Any], predictor: int) -> bytes:
    """Write each number as its difference to the one on its left; for predictor 3, each byte of those of a float."""
    if predictor == 2:
        kind = f"u{piece.dtype.itemsize}"
        unsigned = np.ascontiguousarray(piece.astype(piece.dtype.newbyteorder("="))).view(kind)
        difference = np.diff(unsigned, axis=1, prepend=unsigned[:, :1] * 0)
        return difference.astype(np.dtype(kind).newbyteorder(piece.dtype.byteorder)).tobytes()
    if predictor == 3:
        wide = np.ascontiguousarray(piece.astype(piece.dtype.newbyteorder(">")))
        apart = np.moveaxis(wide.view(np.uint8).reshape(len(piece), -1, piece.dtype.itemsize), 2, 1)
        pixels = apart.reshape(len(piece), -1, piece.shape[2])
        return np.diff(pixels, axis=1, prepend=pixels[:, :1] * 0).tobytes()
    return piece.tobytes()


def _pack(content: bytes, packing: int) -> bytes:
    """Compress a piece: by zlib, or by Pillow as a gray picture of one row."""
    if packing in {NONE, DEFLATE}:
        return zlib.compress(content) if packing == DEFLATE else content
    if packing not in _PILLOW:
        return content  # a compression that nobody here reads
    file = io.BytesIO()
    gray = Image.frombytes("L", (len(content), 1), content)
    gray.save(file, "TIFF", compression=_PILLOW[packing])
    with Image.open(file) as image:
        assert len(image.tag_v2[273]) == 1  # type: ignore[attr-defined] # a TIFF has tags
        at, size = image.tag_v2[273][0], image.tag_v2[279][0]  # type: ignore[attr-defined]
    return file.getvalue()[at : at + size]


def _directory(page: dict[int, tuple[int, ...] | bytes], at: int, order: str, after: int = 0) -> bytes:
    entries, lists = b"", b""
    begin = at + 2 + 12 * len(page) + 4
    for name, value in sorted(page.items()):
        kind, content = (2, value) if isinstance(value, bytes) else (4, struct.pack(f"{order}{len(value)}L", *value))
        place = content.ljust(4, b"\0") if len(content) <= 4 else struct.pack(f"{order}L", begin + len(lists))
        entries += struct.pack(f"{order}HHL", name, kind, len(value)) + place
        lists += content if len(content) > 4 else b""
    return struct.pack(f"{order}H", len(page)) + entries + struct.pack(f"{order}L", after) + lists


def chunk(kind: bytes, content: bytes) -> bytes:
    """Write a chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(values: NDArray[Any], color: int, *chunks: bytes, bits: int = 0) -> bytes:
    """Write `values` (whole numbers of 8 or 16 bits, or packed ones of `bits`) with a PNG color type."""
    bits = bits or 8 * values.dtype.itemsize
    big = values.astype(values.dtype.newbyteorder(">"))
    width = values.shape[1] if bits >= 8 else values.shape[1] * 8 // bits
    header = struct.pack(">IIBBBBB", width, len(values), bits, color, 0, 0, 0)
    lines = b"".join(b"\0" + line.tobytes() for line in big)
    body = chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + body


def bare_png(width: int, height: int, data: bytes = b"") -> bytes:
    """Write a PNG of one bit per pixel with this compressed data, which may be too little."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def many_scans(edge: int, times: int) -> bytes:
    """Write a progressive JPEG whose last scan is repeated: small to keep, minutes to decode."""
    buffer = io.BytesIO()
    Image.new("L", (edge, edge), 128).save(buffer, "JPEG", progressive=True)
    content = buffer.getvalue()
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * times + b"\xff\xd9"
