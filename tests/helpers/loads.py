"""What worker processes are given to do in tests; they import it by name."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resnest_cli.errors import BrokenImage, ImageTooLarge
from resnest_cli.inputs.loading import Check, Loaded, Loader
from resnest_cli.system import atomic
from resnest_cli.types import Source

READ_S, DECODE_S = 0.25, 0.5  # what it says to have taken


@dataclass(frozen=True)
class ByName:
    """Makes of a digit the grey picture to which FakeEngine gives this class; of a word, the trouble that it names."""

    lenient: bool = False  # about "large"
    max_pixels: int = 1024

    def prepare(self) -> None:
        """Need nothing."""

    def __call__(self, source: Source) -> Loaded:
        """Load one."""
        word, _, place = source.path.partition(":")
        if word == "bad":
            raise BrokenImage("it does not decode.")
        if word == "bug":
            raise ZeroDivisionError(source.path)
        if word == "large" and not self.lenient:
            raise ImageTooLarge("it is large.")
        if word == "slow":
            time.sleep(3600)
        if word == "killed" or (word == "unlucky" and not Path(place).exists()):
            Path(place or os.devnull).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if word == "crash":
            ctypes.string_at(0)
        if word == "pid":
            atomic.write(Path(place), str(os.getpid()).encode())  # who reads it must not find half a number
        if word == "modules":
            Path(place).write_text("\n".join(sys.modules))
        if word == "chatty":
            os.write(1, b"decoders in C print this\n" * 1000)
            os.write(2, b"and that\n" * 1000)
        return Loaded(np.full((32, 32, 3), 26 * int(word) if word.isdigit() else 255, np.uint8), READ_S, DECODE_S)


@dataclass(frozen=True)
class Hungry:
    """Asks for a gigabyte where another load has prepared the process; digits are as ever."""

    other: Loader | Check

    def prepare(self) -> None:
        """Do what the other does."""
        self.other.prepare()

    def __call__(self, source: Source) -> Loaded:
        """Load one."""
        if source.path == "hungry":
            bytearray(1 << 30)
        return ByName()(source)


@dataclass(frozen=True)
class Moody(Check):
    """Checks images; a file that is the name of a trouble makes this trouble."""

    def __call__(self, source: Source) -> str:
        """Check one."""
        content = Path(source.path).read_bytes()
        if content.isalpha():
            ByName()(Source(content.decode()))
        return super().__call__(source)
