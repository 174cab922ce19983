"""The images of a quantization, decoded: those that could be read, and whether they are what the model is for.

In: sources, a spec. Out: pixels, or a refusal. Does not know how the images were chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from resnest_cli.errors import ModelError, UsageError
from resnest_cli.pipeline.decoders import Decoders
from resnest_cli.tasks.quantize.calibration import LEAST
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from resnest_cli.options import Options
    from resnest_cli.types import ModelSpec, Source

# Of `engines.strangeness`, measured: images of the model's own kind 0 to 0.1; digits to a model for photographs,
# photographs to one for digits, inverted ones 0.1 to 0.3; noise from 0.36 on, black or very dark ones from 0.66 on.
STRANGE = 0.3


@dataclass(frozen=True)
class Pictures:
    """Images that could be read, uint8 [N, H, W, 3], and those that could not."""

    paths: list[str]
    pixels: NDArray[np.uint8]
    failures: list[Failure]


def load(spec: ModelSpec, options: Options, found: Iterable[Source]) -> Pictures:
    """Read and decode images as the model sees them."""
    with Decoders.of(spec.data, options) as decoders:
        images = list(decoders.images(found))
    good = [image for image in images if not isinstance(image, Failure)]
    channels, height, width = spec.data.input_size
    pixels = np.stack([image.values for image in good]) if good else np.empty((0, height, width, channels), np.uint8)
    return Pictures([image.path for image in good], pixels, [image for image in images if isinstance(image, Failure)])


def check_count(calibration: Pictures, held_out: Pictures, folder: Path) -> None:
    """Refuse too few images that can be read, or the same image over and over.

    Raises:
        UsageError: there are fewer than `LEAST` different ones.
    """
    different = len(np.unique(np.concatenate([calibration.pixels, held_out.pixels]), axis=0))
    if different < LEAST:
        unread = len(calibration.failures) + len(held_out.failures)
        message = f"--calibrate {folder}: {different} different images, {unread} unreadable ones; {LEAST} are needed."
        raise UsageError(message)


def check_strangeness(strangeness: float, folder: Path) -> None:
    """Refuse images that the model is not for: ranges that are calibrated on them fit no others.

    `strangeness` is that of `engines.strangeness`, in nats.

    Raises:
        ModelError: it is above `STRANGE`, as for noise or black pictures.
    """
    if not strangeness <= STRANGE:
        message = (
            f"--calibrate {folder}: these images are nothing like those that the model was trained on: what its layers "
            f"see differs by {strangeness:.2f} nats (allowed: {STRANGE}). Nothing was kept. Give images like those "
            "that it is for; or --min-agreement 0, to keep whatever comes of these."
        )
        raise ModelError(message)
