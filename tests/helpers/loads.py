"""Loads for worker processes in tests; the processes import them by name."""

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
from resnest_cli.inputs.loading import Check, Checked, Loaded, Loader
from resnest_cli.system import atomic
from resnest_cli.types import Source

READ_S, DECODE_S = 0.25, 0.5  # the times that the load reports


@dataclass(frozen=True)
class ByName:
    """Turns a digit into the gray picture of that class for FakeEngine, and a word into the fault that it names."""

    lenient: bool = False  # about "large"
    max_pixels: int = 1024

    def prepare(self) -> None:
        """Prepare nothing."""

    def __call__(self, source: Source) -> Loaded:
        """Load one source."""
        word, _, place = source.path.partition(":")
        if word == "bad":
            raise BrokenImage("it does not decode.")
        if word == "bug":
            raise ZeroDivisionError(source.path)
        if word == "large" and not self.lenient:
            raise ImageTooLarge("it is large.")
        if word == "slow":
            time.sleep(3600)
        if word in {"killed", "stopped"} or (word == "unlucky" and not Path(place).exists()):
            Path(place or os.devnull).touch()
            os.kill(os.getpid(), signal.SIGSTOP if word == "stopped" else signal.SIGKILL)
        if word == "crash":
            ctypes.string_at(0)
        if word == "pid":
            atomic.write(Path(place), str(os.getpid()).encode())  # atomic: a reader must not see half a number
        if word == "modules":
            Path(place).write_text("\n".join(sys.modules))
        if word == "chatty":
            os.write(1, b"decoders in C print this\n" * 1000)
            os.write(2, b"and that\n" * 1000)
        return Loaded(np.full((32, 32, 3), 26 * int(word) if word.isdigit() else 255, np.uint8), READ_S, DECODE_S)


@dataclass(frozen=True)
class Hungry:
    """Allocates a gigabyte for "hungry", in a process that `other` has prepared; loads the rest as `ByName`."""

    other: Loader | Check

    def prepare(self) -> None:
        """Prepare the process as `other` does."""
        self.other.prepare()

    def __call__(self, source: Source) -> Loaded:
        """Load one source."""
        if source.path == "hungry":
            bytearray(1 << 30)
        return ByName()(source)


@dataclass(frozen=True)
class Moody(Check):
    """Checks images; a file whose content names a fault causes this fault."""

    def __call__(self, source: Source) -> Checked:
        """Check one source."""
        content = Path(source.path).read_bytes()
        if content.isalpha():
            ByName()(Source(content.decode()))
        return super().__call__(source)


@dataclass(frozen=True)
class Frail(ByName):
    """Kills its first `times` processes before they are ready; `place` is the folder of a mark for each."""

    place: str = ""
    times: int = 0

    def prepare(self) -> None:
        """Prepare the process, or kill it."""
        marks = len(list(Path(self.place).iterdir()))
        if marks < self.times:
            Path(self.place, str(marks)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
