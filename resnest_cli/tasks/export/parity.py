"""How far an exported file is from its model, on real pictures.

In: a function that runs the file, one that runs the model, pictures. Out: a `Parity`, or a refusal where the file is
too far off. Does not know formats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from resnest_cli.engines import window
from resnest_cli.engines.choose import open_engine
from resnest_cli.errors import ModelError, UsageError
from resnest_cli.inputs.find import find_sources
from resnest_cli.options import Options
from resnest_cli.pipeline.decoders import Decoders
from resnest_cli.system import imports
from resnest_cli.tasks.ranking import softmax
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from resnest_cli.engines.base import Engine
    from resnest_cli.tasks.export.formats import Original, Run
    from resnest_cli.types import ModelSpec

BATCHES = (8, 3, 1)
TOLERANCE = 1e-4  # of probabilities, and of logits as a share of the largest


@dataclass(frozen=True)
class Parity:
    """The largest differences between the file and the model, in logits and in probabilities.

    Attributes:
        against: the engine that ran the model: "torch", or "openvino" where torch is not installed.
        images: pictures that were compared.
        batches: the sizes of the batches that the file got.
        max_logit: the largest logit of the model, without its sign.
        max_logit_difference: of any class of any picture.
        max_probability_difference: likewise.
        same_class: pictures whose first class is the same.
    """

    against: str
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
    found = []
    with Decoders.of(spec.data, options) as decoders:
        for image in decoders.images(find_sources(pictures, exclude=exclude)):
            if isinstance(image, Failure):
                message = f"--pictures {image.path}: {image.message}"
                raise UsageError(message)
            found.append(image.values)
    return np.stack(found)


def reference(original: Original) -> Engine:
    """Return an engine that runs the model in fp32: torch's, or the CPU's where torch is not installed."""
    name = "torch" if imports.has_torch() else "openvino"
    options = Options(
        weights=original.path, random_weights=original.path is None, engine=name, device="cpu", precision="fp32"
    )
    return open_engine(original.spec, options)


def compare(run: Run, model: Engine, spec: ModelSpec, pixels: NDArray[np.uint8], *, raw: bool) -> Parity:
    """Run all pictures through the file, in batches of several sizes in turn, and one by one through the model."""
    mean, std = (np.array(values, np.float32) for values in (spec.data.mean, spec.data.std))
    images = ((pixels / np.float32(255) - mean) / std).astype(np.float32).transpose(0, 3, 1, 2)
    given = pixels if raw else np.ascontiguousarray(images)
    sizes = _sizes(len(pixels))
    ends = np.cumsum(sizes)
    found = np.concatenate([run(given[end - size : end]) for end, size in zip(ends, sizes, strict=True)])
    expected = np.concatenate(list(window.rows(model, (pixels[i : i + 1] for i in range(len(pixels))))))
    probabilities = [np.stack([softmax(row) for row in rows]) for rows in (found, expected)]
    return Parity(
        against=model.name,
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
    """Refuse a file whose answers differ from the model's, NaN included.

    Raises:
        ModelError: the difference is above `TOLERANCE`.
    """
    logits = parity.max_logit_difference / max(1.0, parity.max_logit)
    if not (logits <= TOLERANCE and parity.max_probability_difference <= TOLERANCE):
        message = (
            f"the {to} file does not give {parity.against}'s answers: logits differ by "
            f"{parity.max_logit_difference:.1e}, probabilities by {parity.max_probability_difference:.1e} (allowed: "
            f"{TOLERANCE}). Nothing was kept; try another format, or other versions of the libraries."
        )
        raise ModelError(message)
