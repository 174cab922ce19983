"""What belongs to a picture and lies beside it: sidecars, and its other half where a camera wrote RAW and JPEG.

In: the path of a picture. Out: the names of its companions. Reads the names in a folder once, and no content.
"""

from __future__ import annotations

import os
from collections import defaultdict

# XMP of Lightroom (dog.xmp) and darktable (dog.jpg.xmp); JSON of Google Takeout (dog.jpg.json) and others (dog.json).
SIDECARS = {".json", ".xmp"}
JPEG = {".jpeg", ".jpg"}
# The types `image/x-dcraw` of freedesktop's shared-mime-info 2.2, and from digiKam's list (rawengine/drawfiles.h) those
# of Epson, Hasselblad, Leaf, Leica, Mamiya and Samsung.
RAW = {
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".k25", ".kdc", ".mef", ".mos", ".mrw"),
    *(".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
}


class Folders:
    """The names in folders, by their stems."""

    def __init__(self) -> None:
        self._read: dict[str, dict[str, list[str]]] = {}

    def companions(self, path: str) -> list[str]:
        """Return the names of the files that go where this picture goes, sorted; without its own.

        Raises:
            OSError: its folder cannot be listed.
        """
        folder, name = os.path.split(path)
        stems = self._stems(folder)
        stem, suffix = _parted(name)
        halves = [other for other in stems.get(stem, ()) if _is_pair(suffix, _parted(other)[1])]
        beside = [each for named in (stem, name, *halves) for each in stems.get(named, ())]
        return sorted({*halves, *(each for each in beside if _parted(each)[1] in SIDECARS)} - {name})

    def _stems(self, folder: str) -> dict[str, list[str]]:
        if folder not in self._read:
            stems = defaultdict(list)
            for name in os.listdir(folder):
                stems[_parted(name)[0]].append(name)
            self._read[folder] = stems
        return self._read[folder]


def _parted(name: str) -> tuple[str, str]:
    """Return the stem of a name, and its suffix in lower case."""
    stem, suffix = os.path.splitext(name)
    return stem, suffix.lower()


def _is_pair(suffix: str, other: str) -> bool:
    return (suffix in JPEG and other in RAW) or (suffix in RAW and other in JPEG)
