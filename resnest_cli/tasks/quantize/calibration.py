"""Images to calibrate an int8 model on, and other images to judge it on, drawn from a folder.

In: a folder and a seed. Out: two lists of sources. Opens no image; knows nothing of models.
"""

from __future__ import annotations

import logging
import os
import random
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from resnest_cli.errors import UsageError
from resnest_cli.inputs import splits
from resnest_cli.inputs.find import find_sources
from resnest_cli.inputs.selection import LeftOut
from resnest_cli.system.paths import Kind, look
from resnest_cli.tasks.quantize.options import QuantizeOptions
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resnest_cli.types import Source

HELD_OUT = 500  # images to judge on, at most; at least a third of the folder
LEAST = 30  # images that calibration needs

_log = logging.getLogger(__name__)


def draw(
    folder: Path, samples: int, seed: int, exclude: Sequence[str] = (), *, log: bool = True
) -> tuple[list[Source], list[Source]]:
    """Return images to calibrate on, and other images to judge on.

    Where subfolders name sides, the model is calibrated on the train side and judged on val, else test.

    Args:
        folder: where the images are.
        samples: images to calibrate on, at most.
        seed: random seed of the draw.
        exclude: patterns of what to leave out, see `selection.Rule`.
        log: log how many files are left out.

    Raises:
        UsageError: the folder is missing, or holds fewer than `LEAST` images.
    """
    found = _find(folder, exclude, log=log)
    random.Random(seed).shuffle(found)  # noqa: S311 - not for secrets
    train, other = _by_side(found, folder)
    if min(len(train), len(other)) >= LEAST:
        return train[:samples], other[:HELD_OUT]
    judged = min(HELD_OUT, max(len(found) - samples, len(found) // 3))
    return found[judged:][:samples], found[:judged]


def _find(folder: Path, exclude: Sequence[str], *, log: bool) -> list[Source]:
    seen = look(folder)
    if not seen.is_folder:
        why = seen.why if seen.kind is Kind.UNKNOWN else "no such folder."
        message = f"--calibrate {folder}: {why}"
        raise UsageError(message)
    left_out = LeftOut()
    items = find_sources([str(folder)], exclude=exclude, left_out=left_out)
    found = [source for source in items if not isinstance(source, Failure)]
    if len(found) < LEAST:
        others = f" ({left_out.counts()})" if left_out else ""
        needed = f"{LEAST} are needed, and {QuantizeOptions.samples + HELD_OUT} are better"
        message = f"--calibrate {folder}: {len(found)} images{others}; {needed}."
        raise UsageError(message)
    if left_out and log:
        _log.info("%s", left_out.words())
    return found


def _by_side(found: list[Source], folder: Path) -> tuple[list[Source], list[Source]]:
    """Return the images in folders named like the train side, and the images of val, else test."""
    sides: dict[str, list[Source]] = defaultdict(list)
    for source in found:
        names = Path(os.path.relpath(source.path, folder)).parts[:-1]
        sides[next(filter(None, map(splits.side, names)), "")].append(source)
    other = splits.held_out(sides)
    return sides[splits.TRAIN], sides[other] if other else []
