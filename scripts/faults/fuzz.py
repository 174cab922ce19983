"""Fuzz the readers of checkpoints and of images, guided by coverage.

    python scripts/faults/fuzz.py checkpoint 600
    python scripts/faults/fuzz.py image 600

In: the reader and the seconds to run. Every input must be read or refused with an error of the package, within a minute
and 4 GB, without starting a program or opening a connection. Needs `pip install '.[fuzz]'`.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import pickle
import struct
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import atheris

with atheris.instrument_imports(include=["PIL"]):
    from PIL import Image

import torch
from safetensors.torch import save

with atheris.instrument_imports(include=["torch"]):  # instrumenting all of torch takes minutes
    importlib.reload(torch._weights_only_unpickler)  # noqa: SLF001

with atheris.instrument_imports(include=["resnest_cli"]):
    from resnest_cli.engines import checkpoints
    from resnest_cli.errors import BadCheckpoint, ImageError
    from resnest_cli.inputs.decode import images
    from resnest_cli.types import DataConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FORBIDDEN = {"os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen", "socket.connect", "os.mkdir"}
LIMITS = ["-timeout=60", "-rss_limit_mb=4096", "-max_len=20000", "-print_final_stats=1"]
FILE = Path(tempfile.mkdtemp()) / "file"
MAX_PIXELS = 1_000_000  # spend the time on odd files, not on large ones
reached: list[str] = []


def checkpoint(content: bytes) -> None:
    """Read a checkpoint; the first byte of `content` chooses the layout of the rest."""
    FILE.write_bytes(WRAPPERS[content[0] % len(WRAPPERS)](content[1:]) if content else b"")
    with contextlib.suppress(BadCheckpoint):
        checkpoints.read(FILE.read_bytes(), FILE)
    watch()


def image(content: bytes) -> None:
    """Decode an image into a network's input."""
    with contextlib.suppress(ImageError):
        images.load(content, DataConfig(input_size=(3, 32, 32)), max_pixels=MAX_PIXELS)
    watch()


def watch() -> None:
    """Raise AssertionError if the reader raised a forbidden audit event."""
    if reached:
        message = f"the reader ran {reached}"
        raise AssertionError(message)


def as_zip(names: bytes) -> bytes:
    """Return the archive that torch.save writes, around a pickle."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in (
            ("data.pkl", names),
            ("byteorder", b"little"),
            ("data/0", bytes(24)),
            ("version", b"3\n"),
        ):
            archive.writestr(f"a/{name}", content)
    return file.getvalue()


def as_legacy(names: bytes) -> bytes:
    """Return a checkpoint in torch's old layout, with a pickle in the place of the weights."""
    begin = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}})
    return b"".join(pickle.dumps(item, protocol=2) for item in begin) + names


def as_safetensors(table: bytes) -> bytes:
    """Return a safetensors file: a table of contents and some data."""
    return struct.pack("<Q", len(table)) + table + bytes(24)


WRAPPERS: tuple[Callable[[bytes], bytes], ...] = (bytes, as_zip, as_legacy, as_safetensors)


def checkpoint_seeds() -> Iterator[bytes]:
    """Yield small checkpoints of each layout."""
    state = {"fc.weight": torch.ones(3, 2), "n": torch.tensor(1)}
    yield b"\0" + save(state)
    yield b"\3" + json.dumps({"a": {"dtype": "F32", "shape": [3, 2], "data_offsets": [0, 24]}}).encode()
    for content in (state, {"state_dict": {"module.fc.weight": torch.ones(3, 2)}, "epoch": 3, "lr": 0.1}):
        for in_zip in (True, False):
            file = io.BytesIO()
            torch.save(content, file, _use_new_zipfile_serialization=in_zip)
            yield b"\0" + file.getvalue()
            if in_zip:
                with zipfile.ZipFile(file) as archive:
                    names = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
                yield b"\1" + names
                yield b"\2" + names


def image_seeds() -> Iterator[bytes]:
    """Yield a small image in each format that the package reads and Pillow writes."""
    picture = Image.linear_gradient("L").resize((24, 18)).convert("RGB")
    for name in images.FORMATS:
        file = io.BytesIO()
        picture.save(file, name)
        yield file.getvalue()


def main() -> None:
    """Fuzz one reader."""
    which, seconds = sys.argv[1], int(sys.argv[2])
    target, seeds = {"checkpoint": (checkpoint, checkpoint_seeds), "image": (image, image_seeds)}[which]
    corpus = Path(tempfile.mkdtemp(prefix=f"fuzz-{which}-"))
    for i, seed in enumerate(seeds()):
        (corpus / str(i)).write_bytes(seed)
    warnings.simplefilter("ignore")
    atheris.Setup([sys.argv[0], str(corpus), f"-max_total_time={seconds}", *LIMITS], target)
    sys.addaudithook(lambda event, _: reached.append(event) if event in FORBIDDEN else None)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
