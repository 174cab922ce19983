"""Where a network looked, and how its split attention was shared, for one image at a time.

In: a stream of sources. Out: for each, in order, an `Explanation` or its failure. The heat map is Grad-CAM (Selvaraju
et al., arXiv:1610.02391) on the last stage. The head is an average over cells and a linear layer, so the gradient of a
logit by a cell is the weight of the class divided by the number of cells: formulas 1 and 2 of the paper become
relu(evidence) / cells, exactly, without any gradient. The shares are what no other family has: in every block, a
softmax over the radix splits of each channel (Zhang et al., arXiv:2004.08955, section 3). `pictures.py` draws them.
"""

from __future__ import annotations

import difflib
import threading
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from resnest_cli.engines.choose import open_inspector
from resnest_cli.errors import UsageError
from resnest_cli.models import catalog, labels
from resnest_cli.outputs import saving
from resnest_cli.pipeline import stream
from resnest_cli.pipeline.decoders import Decoders
from resnest_cli.tasks.explain import pictures
from resnest_cli.tasks.ranking import softmax
from resnest_cli.text.json_input import shorten
from resnest_cli.text.numbers import parse_integer
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from typing_extensions import Self

    from resnest_cli.models.labels import Labels
    from resnest_cli.options import Options
    from resnest_cli.types import Source


@dataclass(frozen=True, slots=True)
class Shares:
    """The split attention of one block: float32 [radix, channels].

    For radix 2 and more the shares of a channel sum to 1 over the splits. With radix 1 there is nothing to share: they
    are gates from 0 to 1 by a sigmoid, as in squeeze-and-excitation.
    """

    block: str
    values: NDArray[np.float32]

    @property
    def radix(self) -> int:
        """The number of splits."""
        return len(self.values)


@dataclass(frozen=True, slots=True)
class Explanation:
    """One image explained for one class.

    Attributes:
        path: the input.
        pixels: what the network saw, uint8 [H, W, 3].
        index: the class explained.
        wnid: its WordNet id, if it has one.
        label: its name.
        probability: what the network gives it, 0..1.
        heat: evidence for the class, float32 [H, W], from 0; in units of logits, to be compared within one image.
        cells: rows and columns of the last stage, which the heat is spread from.
        shares: the split attention, by block from the first to the last.
    """

    path: str
    pixels: NDArray[np.uint8]
    index: int
    wnid: str | None
    label: str
    probability: float
    heat: NDArray[np.float32]
    cells: tuple[int, int]
    shares: tuple[Shares, ...]

    @property
    def heatmap(self) -> NDArray[np.float32]:
        """The heat as shares of its highest, float32 [H, W], 0..1; zeros where nothing speaks for the class."""
        most = self.heat.max()
        return self.heat / most if most > 0 else self.heat

    def overlay(self) -> Image.Image:
        """Return the picture that the network saw, in gray, colored by the heat map: RGB, W x H pixels."""
        seen = Image.fromarray(self.pixels)
        return pictures.overlay(seen, self.heatmap, seen.size)

    def save_heat(self, path: Path) -> None:
        """Write the heat map as a `.npy` file.

        Raises:
            OutputError: it cannot be written.
        """
        content = BytesIO()
        np.save(content, self.heat)
        saving.save(path, content.getvalue())


class Explainer:
    """An opened network that explains its answers; use it as a context manager, or `close` it.

    Args:
        options: the model, its weights and preprocessing, the device. It runs in fp32.
        target: a class by name, index or WordNet id; None explains each image's first class.

    Attributes:
        decoders: what makes pixels of sources.

    Raises:
        UsageError: no such class, or a model that gives answers only.
        WeightsUnavailable, BadCheckpoint, LabelsError, DeviceError: the model cannot be opened.
    """

    def __init__(self, options: Options, target: str | None = None) -> None:
        self.options = options
        self.spec = catalog.resolve(options)
        self.labels = labels.load(self.spec, options.labels)
        self.target = None if target is None else class_index(self.labels, target)
        self.inspector = open_inspector(self.spec, options)
        self._one_at_a_time = threading.Lock()
        self.decoders = Decoders.of(self.spec.data, options)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """End the processes that decode."""
        self.decoders.close()

    @property
    def facts(self) -> dict[str, str]:
        """What makes the explanations: model, engine, precision."""
        return {"model": self.spec.name, "engine": self.inspector.name, "precision": "fp32"}

    def words(self) -> str:
        """Return a line with the model, the device and why, the engine, and whether the weights are random."""
        by = self.inspector
        weights = ", random weights (the pictures mean nothing)" if self.options.random_weights else ""
        return f"{self.spec.name} on {by.device} ({by.reason}), {by.name} fp32{weights}"

    def explain(
        self, found: Iterable[Source | Failure], target: str | int | None = None
    ) -> Iterator[Explanation | Failure]:
        """Explain every source, lazily and in order; `target` is the class if it is another than the explainer's.

        Raises:
            UsageError: no such class.
        """
        index = self.target if target is None else class_index(self.labels, str(target))
        for image in self.decoders.images(found):
            yield image if isinstance(image, Failure) else self.explain_pixels(image.path, image.values, index)

    def explain_pixels(self, path: str, pixels: NDArray[np.uint8], target: int | None) -> Explanation | Failure:
        """Explain what the decoders made of an image: uint8 [H, W, 3]; `target` is the index of a class."""
        with self._one_at_a_time:
            seen = self.inspector.inspect(pixels)
        answer = stream.check_finite(stream.Row(path, seen.logits), "fp32")
        if isinstance(answer, Failure):
            return answer
        index = int(seen.logits.argmax()) if target is None else target
        cells = np.maximum(seen.evidence[index], 0) / seen.evidence[index].size
        return Explanation(
            path=path,
            pixels=pixels,
            index=index,
            wnid=self.labels.wnids[index],
            label=self.labels.names[index],
            probability=float(softmax(seen.logits)[index]),
            heat=_spread(cells, pixels.shape[1::-1]),
            cells=cells.shape,
            shares=tuple(Shares(block, values) for block, values in seen.shares.items()),
        )


def _spread(cells: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return cells float32 [h, w] spread over a picture of `size` (width, height), linearly between their centers."""
    return np.asarray(Image.fromarray(cells).resize(size, Image.Resampling.BILINEAR), np.float32)


def class_index(known: Labels, text: str) -> int:
    """Find a class by its index, WordNet id or name (in any case).

    Raises:
        UsageError: there is none, or several have the name.
    """
    index = parse_integer(text)
    if index is not None and index < len(known.names):
        return index
    if text in known.wnids:
        return known.wnids.index(text)
    names = [name.casefold() for name in known.names]
    found = [index for index, name in enumerate(names) if name == text.casefold()]
    if len(found) == 1:
        return found[0]
    if found:
        message = f"--class {text!r} is the name of {len(found)} classes: give one of {', '.join(map(str, found))}."
        raise UsageError(message)
    near = difflib.get_close_matches(text.casefold(), names, n=1)
    hint = f" Did you mean {known.names[names.index(near[0])]!r}?" if near else ""
    message = f"--class {shorten(text)!r}: no class has this name, WordNet id or index (0 to {len(names) - 1}).{hint}"
    raise UsageError(message)
