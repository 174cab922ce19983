"""How far pictures are from the images that a network was trained on, by the statistics in its norms.

In: a spec, its weights, pixels. Out: one number, in nats. Does not know what is done with it.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from resnest_cli.engines.build import EPSILON, build
from resnest_cli.engines.runtime import core, openvino
from resnest_cli.models import architecture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from resnest_cli.models.state import State
    from resnest_cli.types import ModelSpec

_LEAST_GAIN = 1e-4  # a norm with less gain has switched its channel off: its statistics are rounding errors
_LEAST_VARIANCE = 1e-5
_ops = openvino.opset13


def strangeness(spec: ModelSpec, state: State, pixels: NDArray[np.uint8]) -> float:
    """Return how far pictures, uint8 [N, H, W, 3], are from the network's training images, in nats, from 0.

    Batch norms keep the mean and variance that each channel had in training. The strangeness is the Kullback-Leibler
    divergence of the normal distribution of the pictures' channel from the normal distribution of training: the mean
    over channels, then the median over norms. Trained statistics tell which pictures suit a network: Cai et al.,
    "ZeroQ", 2020 (arXiv:2001.00281), equation 3.
    """
    graph = build(architecture.of(spec), dict(state), spec.data)
    outputs = dict(_statistics(graph, state))
    probe = openvino.Model([node for pair in outputs.values() for node in pair], graph.get_parameters(), "probe")
    found = core().compile_model(probe, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(pixels)
    moments = [np.array(found[i], np.float64) for i in range(2 * len(outputs))]
    divergences: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    for (norm, part), mean, variance in zip(outputs, moments[::2], moments[1::2], strict=True):
        divergences[norm].append(_divergence(state, norm, part, mean, variance))
    return float(np.median([np.concatenate(parts).mean() for parts in divergences.values()]))


def _statistics(graph: openvino.Model, state: State) -> Iterator[tuple[tuple[str, int], tuple[Any, Any]]]:
    """Yield, for each part of each norm, the mean and the variance of what it gives, per channel."""
    for node in graph.get_ordered_ops():
        norm, _, part = node.get_friendly_name().partition("/")
        if f"{norm}.running_var" in state:
            axes = _ops.constant(np.array([0, 2, 3]))
            mean = _ops.reduce_mean(node, axes, keep_dims=True)
            variance = _ops.reduce_mean(_ops.squared_difference(node, mean), axes, keep_dims=True)
            yield (norm, int(part or 0)), (mean, variance)


def _divergence(
    state: State, norm: str, part: int, mean: NDArray[np.float64], variance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the divergence per channel. A norm gave its bias and its squared gain as mean and variance in training."""
    channels = slice(part * mean.size, (part + 1) * mean.size)
    gain, shift, trained = (
        state[f"{norm}.{name}"][channels].astype(np.float64) for name in ("weight", "bias", "running_var")
    )
    on = np.abs(gain) > _LEAST_GAIN
    expected = gain[on] ** 2
    here = variance.ravel()[on] + _LEAST_VARIANCE * expected / (trained[on] + EPSILON)
    distance = (mean.ravel()[on] - shift[on]) ** 2
    divergence: NDArray[np.float64] = (np.log(expected / here) + (here + distance) / expected - 1) / 2
    return divergence
