"""What a network shows of its way to an answer, for one image: on the CPU, from a graph with more outputs.

In: a graph of `want` "explanation", and pixels. Out: an `Inspection`. Does not know what is made of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from resnest_cli.engines.base import memory_errors
from resnest_cli.engines.build import EVIDENCE, LOGITS, SHARES
from resnest_cli.engines.compiled import compile_graph
from resnest_cli.system.machine import usable_cores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnest_cli.models.graphs import Graph


class Inspection(NamedTuple):
    """One image as the network sees it.

    Attributes:
        logits: float32 [C].
        evidence: float32 [C, h, w], for each class the weighted sum of the last stage's channels: the mean over the
            cells is the logit without its bias.
        shares: block -> float32 [radix, channels], how each channel is shared among the splits.
    """

    logits: NDArray[np.float32]
    evidence: NDArray[np.float32]
    shares: dict[str, NDArray[np.float32]]


class Inspector(Protocol):
    """What inspects images; `name`, `device` and `reason` are as those of an `Engine`. It runs in fp32."""

    name: str
    device: str
    reason: str

    def inspect(self, pixels: NDArray[np.uint8]) -> Inspection:
        """Run the network on one image, uint8 [H, W, 3]."""


class OpenVinoInspector:
    """An `Inspector` on OpenVINO's CPU plugin."""

    name = "openvino"
    device = "cpu"

    def __init__(self, graph: Graph, reason: str) -> None:
        self.reason = reason
        self._compiled = compile_graph(graph, "fp32", streams=1, cores=usable_cores())

    def inspect(self, pixels: NDArray[np.uint8]) -> Inspection:
        """Run the network on one image, uint8 [H, W, 3]."""
        with memory_errors():
            outputs = self._compiled(pixels[None]).items()
        found = {port.get_any_name(): np.array(values[0]) for port, values in outputs}
        shares = {name.removesuffix(f".{SHARES}"): values for name, values in found.items() if name.endswith(SHARES)}
        return Inspection(found[LOGITS], found[EVIDENCE], shares)
