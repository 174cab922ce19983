"""Where a network looked, and how its split attention was shared: for one image at a time, on torch.

In: a stream of sources. Out: for each, in order, an `Explanation` or its failure. The heat map is Grad-CAM (Selvaraju
et al., arXiv:1610.02391) on the last stage, by captum. The shares are what no other family has: in every block, a
softmax over the radix splits of each channel (Zhang et al., arXiv:2004.08955, section 3). `pictures.py` draws them.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from timm.layers.split_attn import RadixSoftmax

from resnest_cli.engines.pixels import PixelEngine
from resnest_cli.engines.pytorch.engine import choose_device
from resnest_cli.engines.pytorch.network import build
from resnest_cli.errors import UsageError
from resnest_cli.models import catalog, folders, labels, weights
from resnest_cli.outputs import lettering, saving
from resnest_cli.pipeline import stream
from resnest_cli.pipeline.trunk import Trunk
from resnest_cli.system.imports import require
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

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

    def save_heat(self, path: Path) -> None:
        """Write the heat map as a `.npy` file.

        Raises:
            OutputError: it cannot be written.
        """
        content = BytesIO()
        np.save(content, self.heat)
        saving.save(path, content.getvalue())


class Explainer:
    """An opened network that explains its answers.

    Args:
        options: the model, its weights and preprocessing, the device. It runs in fp32.
        target: a class by name, index or WordNet id; None explains each image's first class.

    Raises:
        UsageError: captum is not installed, no such class, or a model without gradients.
        WeightsUnavailable, BadCheckpoint, LabelsError, DeviceError: the model cannot be opened.
    """

    def __init__(self, options: Options, target: str | None = None) -> None:
        require("explain", "explain", "captum")
        lettering.load()  # captum would import it as it is
        from captum import attr as captum  # noqa: PLC0415 - of the extra "explain"

        self.options = options
        self.spec = catalog.resolve(options)
        if folders.is_exported(self.spec):
            message = f"{self.spec.name} is an exported model, without gradients. Use the model that it was made from."
            raise UsageError(message)
        self.labels = labels.load(self.spec, options.labels)
        self.target = None if target is None else class_index(self.labels, target)
        self.device, self.reason = choose_device(options.device)
        path = None if options.random_weights else weights.locate(self.spec, options.weights)
        self._network: Any = build(self.spec, path).to(self.device)
        layers = {name: module for name, module in self._network.named_modules() if isinstance(module, RadixSoftmax)}
        self._blocks = {name.removesuffix(".conv2.rsoftmax"): module.radix for name, module in layers.items()}
        self._cam = captum.LayerGradCam(self._network, self._network.layer4)
        self._activation = captum.LayerActivation(self._network, [*layers.values()])
        self._spread = captum.LayerAttribution.interpolate

    def explain(self, found: Iterable[Source | Failure]) -> Iterator[Explanation | Failure]:
        """Explain every source, lazily and in order."""
        engine = PixelEngine(self.spec)
        for row in Trunk(self.spec, self.options, engine=engine).rows(found):
            yield row if isinstance(row, Failure) else self._explain(row.path, engine.picture(row.values))

    def _explain(self, path: str, pixels: NDArray[np.uint8]) -> Explanation | Failure:
        image = self._to_input(pixels)
        with torch.no_grad():
            logits = self._network(image)[0]
        answer = stream.check_finite(stream.Row(path, logits.cpu().numpy()), "fp32")
        if isinstance(answer, Failure):
            return answer
        probabilities = logits.softmax(dim=0)
        index = int(probabilities.argmax()) if self.target is None else self.target
        cells = self._cam.attribute(image, target=index, relu_attributions=True).detach()
        heat = self._spread(cells, pixels.shape[:2], "bilinear")[0, 0]
        return Explanation(
            path=path,
            pixels=pixels,
            index=index,
            wnid=self.labels.wnids[index],
            label=self.labels.names[index],
            probability=float(probabilities[index]),
            heat=np.asarray(heat.cpu(), np.float32),
            cells=(int(cells.shape[2]), int(cells.shape[3])),
            shares=self._shares(image),
        )

    def _shares(self, image: torch.Tensor) -> tuple[Shares, ...]:
        with torch.no_grad():
            found = self._activation.attribute(image)
        return tuple(
            Shares(block, np.asarray(values.cpu(), np.float32).reshape(radix, -1))
            for (block, radix), values in zip(self._blocks.items(), found, strict=True)
        )

    def _to_input(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        mean, std = (
            torch.tensor(values, device=self.device).view(1, -1, 1, 1)
            for values in (self.spec.data.mean, self.spec.data.std)
        )
        image = torch.from_numpy(pixels).to(self.device).permute(2, 0, 1)[None]
        return image.float().div(255).sub(mean).div(std)


def class_index(known: Labels, text: str) -> int:
    """Find a class by its index, WordNet id or name (in any case).

    Raises:
        UsageError: there is none, or several have the name.
    """
    if text.isdecimal() and int(text) < len(known.names):
        return int(text)
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
    message = f"--class {text!r}: no class has this name, WordNet id or index (0 to {len(names) - 1}).{hint}"
    raise UsageError(message)
