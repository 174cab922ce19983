"""How fast an int8 graph is beside the next best precision of this CPU.

In: a graph, its spec and options, pixels. Out: two rates.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from resnest_cli.engines import window
from resnest_cli.engines.choose import open_engine
from resnest_cli.engines.openvino import OpenVinoEngine
from resnest_cli.engines.runtime import next_to_int8
from resnest_cli.models import folders

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from resnest_cli.engines.base import Engine
    from resnest_cli.models.graphs import Graph
    from resnest_cli.options import Options
    from resnest_cli.types import ModelSpec

_TURNS, _IMAGES = 3, 40

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Speed:
    """Images per second in int8, and in `precision`, the next best precision here."""

    int8: float
    other: float
    precision: str


def measure(graph: Graph, spec: ModelSpec, options: Options, pixels: NDArray[np.uint8]) -> Speed:
    """Run both in turns, so that other load on the machine slows both alike; the rates are medians."""
    other = open_engine(spec, replace(options, device="cpu", precision=next_to_int8()))
    engines = (OpenVinoEngine(spec, graph, precision=folders.INT8), other)
    rates: list[list[float]] = [[], []]
    for _ in range(_TURNS + 1):
        for engine, rate in zip(engines, rates, strict=True):
            rate.append(_rate(engine, pixels))
    ours, theirs = (median(rate[1:]) for rate in rates)  # the first turn compiles
    for engine in engines:
        engine.close()
    if ours < theirs:
        _log.warning("int8 is slower here than %s: %.1f images/s, not %.1f", other.precision, ours, theirs)
    return Speed(ours, theirs, other.precision)


def _rate(engine: Engine, pixels: NDArray[np.uint8]) -> float:
    begin = time.perf_counter()
    done = sum(len(rows) for rows in window.rows(engine, (picture[None] for picture in pixels[:_IMAGES])))
    return done / (time.perf_counter() - begin)
