"""What a weights file is, by its first bytes and its table of contents, before anything in it is loaded.

In: its bytes, and its path for messages. Out: its layout, or a `BadCheckpoint` that says what the file is instead.
Opens no pickle, and allocates no more than the size of the file. Does not know networks.
"""

from __future__ import annotations

import struct
import zipfile
from io import BytesIO
from typing import TYPE_CHECKING, Literal, TypeAlias

from resnest_cli.errors import BadCheckpoint
from resnest_cli.system import signatures

if TYPE_CHECKING:
    from pathlib import Path

Layout: TypeAlias = Literal["safetensors", "zip", "pickle"]
HEAD = 512
MAX_PICKLE = 64 << 20  # bytes of names and shapes; real ones have less than 1 MB
_ADVICE = "Use a .safetensors file, or a state dict written by torch.save."
# Signatures of model formats that are not read; those of other kinds of files are in `signatures`.
_FORMATS: tuple[tuple[bytes, str], ...] = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras), not a checkpoint of torch"),
    (b"GGUF", "a GGUF file"),
    (b"\x12\x01\x00\x00", "an MXNet parameter file: the authors' gluon files must be converted first"),
    (b"\x08\x01\x12", "a TensorFlow SavedModel, not a checkpoint of torch"),
    (b"PK\x05\x06", "an empty zip archive"),
)


def examine(content: bytes, path: Path) -> Layout:
    """Return the layout of a weights file, whatever its suffix is.

    Raises:
        BadCheckpoint: it is no weights file, or its table of contents does not fit its size.
    """
    head = content[:HEAD]
    layout = _layout(head)
    if layout is None:
        message = f"{path} is {_describe(head)}. {_ADVICE}"
        raise BadCheckpoint(message)
    if layout == "zip":
        _check_zip(path, content)
    if layout == "safetensors":
        _check_header(path, head, len(content))
    return layout


def _layout(head: bytes) -> Layout | None:
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5:  # noqa: PLR2004 - pickle's mark and its versions
        return "pickle"
    return "safetensors" if head[8:9] == b"{" else None


def _describe(head: bytes) -> str:
    """Return what a file seems to be."""
    if found := next((words for sign, words in _FORMATS if head.startswith(sign)), ""):
        return found
    if name := signatures.image_format(head):
        return f"an image ({name})"
    if kind := signatures.find_kind(head):
        return f"{kind.name}: {kind.hint}" if kind.hint in {signatures.UNPACK, signatures.PULL} else kind.name
    return _guess(head)


def _guess(head: bytes) -> str:
    """Return what a file without a signature seems to be."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    guesses = (
        (not head, "empty: it has 0 bytes"),
        (signatures.is_html(head), "an HTML page, downloaded instead of the file"),
        (text.startswith(b"<?xml"), "XML (an OpenVINO graph?)"),
        (head[4:8] == b"TFL3", "a TensorFlow Lite model, not a checkpoint of torch"),
        (head[:1] == b"\x08" and head[2:3] in {b"\x12", b":"}, "an ONNX model, not a checkpoint of torch"),
        (text.startswith((b"{", b"[")), "JSON"),
        (not head.strip(b"\0"), "zeros at its beginning: an unfinished download"),
        (signatures.is_text(head), "text"),
    )
    return next((words for holds, words in guesses if holds), "of an unknown kind")


def _check_header(path: Path, head: bytes, size: int) -> None:
    """Check that the table of contents fits into the file; safetensors itself checks its entries."""
    (length,) = struct.unpack("<Q", head[:8])
    if length > size - 8:
        message = (
            f"{path} is a .safetensors file that is cut short or damaged: its table of contents says {length} bytes, "
            f"the file has {size}. Download it again."
        )
        raise BadCheckpoint(message)


def _check_zip(path: Path, content: bytes) -> None:
    """Check the directory of a zip archive: torch compresses nothing, so no entry can be larger than the file."""
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            entries, is_plain = archive.infolist(), not archive.comment
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error) as error:
        message = f"{path} is a zip archive (as torch.save writes) that is cut short or damaged. Download it again."
        raise BadCheckpoint(message) from error
    names = [entry.filename for entry in entries]
    pickles = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
    if any(name.endswith("/constants.pkl") for name in names):
        _refuse(path, "a TorchScript archive, which holds code: save the state dict of the model it was made from")
    if any(name.endswith(".npy") for name in names):
        _refuse(path, "a NumPy archive (.npz), not a checkpoint of torch")
    if len(pickles) != 1 or len(set(names)) < len(names) or not is_plain:
        _refuse(path, f"a zip archive, but not one that torch.save wrote (it begins with {names[:1]})")
    unpacked = sum(entry.file_size for entry in entries)
    if any(entry.compress_type or entry.flag_bits & 1 for entry in entries) or unpacked > len(content):
        _refuse(path, f"a packed archive of {len(content)} bytes that unpack to {unpacked}; torch.save packs nothing")
    if pickles[0].file_size > MAX_PICKLE:
        _refuse(path, f"an archive whose list of names alone has {pickles[0].file_size / 1e6:.0f} MB")


def _refuse(path: Path, what: str) -> None:
    message = f"{path} is {what}. {_ADVICE}"
    raise BadCheckpoint(message)
