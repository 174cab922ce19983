"""How far an exported file is from torch, on real pictures.

In: a function that runs the file, the network, pictures. Out: a `Parity`, or a refusal where the file is too far off.
Does not know formats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from resnest_cli.engines.pixels import PixelEngine
from resnest_cli.errors import ModelError, UsageError
from resnest_cli.inputs.find import find_sources
from resnest_cli.pipeline.trunk import Trunk
from resnest_cli.tasks.predict import softmax
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray
    from torch import nn

    from resnest_cli.options import Options
    from resnest_cli.tasks.export.formats import Run
    from resnest_cli.types import ModelSpec

BATCHES = (8, 3, 1)
TOLERANCE = 1e-4  # of probabilities, and of logits as a share of the largest


@dataclass(frozen=True)
class Parity:
    """The largest differences between the file and torch, in logits and in probabilities.

    Attributes:
        images: pictures that were compared.
        batches: the sizes of the batches that the file got.
        max_logit: the largest logit of torch, without its sign.
        max_logit_difference: of any class of any picture.
        max_probability_difference: likewise.
        same_class: pictures whose first class is the same.
    """

    images: int
    batches: tuple[int, ...]
    max_logit: float
    max_logit_difference: float
    max_probability_difference: float
    same_class: int


def load(spec: ModelSpec, options: Options, pictures: Iterable[str], exclude: Sequence[str]) -> NDArray[np.uint8]:
    """Return the pictures to compare on, uint8 [N, H, W, 3]; `exclude` is as for `find_sources`.

    Raises:
        UsageError: a picture cannot be read.
    """
    engine = PixelEngine(spec)
    found = []
    for row in Trunk(spec, options, engine=engine).rows(find_sources(pictures, exclude=exclude)):
        if isinstance(row, Failure):
            message = f"--pictures {row.path}: {row.message}"
            raise UsageError(message)
        found.append(engine.picture(row.values))
    return np.stack(found)


def compare(run: Run, network: nn.Module, spec: ModelSpec, pixels: NDArray[np.uint8], *, raw: bool) -> Parity:
    """Run all pictures through the file, in batches of several sizes in turn, and through eager torch."""
    mean, std = (np.array(values, np.float32) for values in (spec.data.mean, spec.data.std))
    images = ((pixels / np.float32(255) - mean) / std).astype(np.float32).transpose(0, 3, 1, 2)
    given = pixels if raw else np.ascontiguousarray(images)
    sizes = _sizes(len(pixels))
    ends = np.cumsum(sizes)
    found = np.concatenate([run(given[end - size : end]) for end, size in zip(ends, sizes, strict=True)])
    with torch.inference_mode():
        expected = np.concatenate([network(torch.from_numpy(image[None].copy())).numpy() for image in images])
    probabilities = [np.stack([softmax(row) for row in rows]) for rows in (found, expected)]
    return Parity(
        images=len(pixels),
        batches=tuple(sizes),
        max_logit=float(np.abs(expected).max()),
        max_logit_difference=float(np.abs(found - expected).max()),
        max_probability_difference=float(np.abs(probabilities[0] - probabilities[1]).max()),
        same_class=int((found.argmax(axis=1) == expected.argmax(axis=1)).sum()),
    )


def _sizes(count: int) -> list[int]:
    """Return the sizes of batches of 8, 3 and 1 in turn that `count` pictures fill."""
    sizes: list[int] = []
    while count:
        sizes.append(min(BATCHES[len(sizes) % len(BATCHES)], count))
        count -= sizes[-1]
    return sizes


def check(parity: Parity, to: str) -> None:
    """Refuse a file whose answers differ from torch's, NaN included.

    Raises:
        ModelError: the difference is above `TOLERANCE`.
    """
    logits = parity.max_logit_difference / max(1.0, parity.max_logit)
    if not (logits <= TOLERANCE and parity.max_probability_difference <= TOLERANCE):
        message = (
            f"the {to} file does not give torch's answers: logits differ by {parity.max_logit_difference:.1e}, "
            f"probabilities by {parity.max_probability_difference:.1e} (allowed: {TOLERANCE}). Nothing was kept; try "
            f"another format, or other versions of the libraries."
        )
        raise ModelError(message)
