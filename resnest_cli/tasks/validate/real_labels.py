"""ReaL labels: the right classes of each image of ImageNet's validation set, judged anew by people.

In: the file `real.json`. Out: the right classes of an image by the number in its name.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from resnest_cli.errors import UsageError
from resnest_cli.text import json_input

if TYPE_CHECKING:
    import os

REAL_IMAGES = 50_000  # in ImageNet's validation set
_NUMBERED = re.compile(r"ILSVRC2012_val_(\d{8})\.\w+$")


class RealLabels:
    """The right classes of each image: several, one or none.

    Args:
        path: the `real.json` of Beyer et al., "Are we done with ImageNet?" (2020, arXiv:2006.07159): a list of class
            indices per image, in the order of their numbers.
        classes: the number of classes of the model.

    Raises:
        UsageError: another file.
    """

    def __init__(self, path: str | os.PathLike[str], classes: int) -> None:
        try:
            rows = json_input.parse(Path(path).read_bytes())
            self._rows = [frozenset(map(int, row)) for row in rows]
        except (OSError, ValueError, TypeError, OverflowError) as error:
            message = f"--real-labels {path} cannot be read as a list of lists of class indices ({error})."
            raise UsageError(message) from error
        if len(self._rows) != REAL_IMAGES or not frozenset().union(*self._rows) <= set(range(classes)):
            message = (
                f"--real-labels {path}: expected {REAL_IMAGES} rows of class indices below {classes}; "
                f"it has {len(self._rows)} rows."
            )
            raise UsageError(message)

    def right(self, path: str) -> frozenset[int]:
        """Return the right classes of an image.

        Raises:
            UsageError: its name is not that of an image of the validation set.
        """
        number = _NUMBERED.search(path)
        if not number or not 1 <= int(number[1]) <= REAL_IMAGES:
            message = f"--real-labels: {path} is not named like ILSVRC2012_val_00000001.JPEG, so it has no ReaL label."
            raise UsageError(message)
        return self._rows[int(number[1]) - 1]
