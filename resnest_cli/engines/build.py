"""A ResNeSt as an OpenVINO graph, made from its weights. No torch, no tracing, no converter.

In: an `Architecture`, its weights as arrays, its preprocessing. Out: an OpenVINO model: pixels uint8 [N, H, W, 3] in
(or normalized images float32 [N, 3, H, W]), named outputs. Does not know where the weights are from, or who runs it.

Two things differ from timm's modules, the numbers do not: norms are folded into the convolutions before them, in
float64; and each split has a convolution of its own (dense where the cardinality is 1), because on a CPU one grouped
convolution is slower, and NNCF does not quantize it.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from resnest_cli.engines.runtime import openvino

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from resnest_cli.models.architecture import Architecture, Block
    from resnest_cli.models.state import State
    from resnest_cli.types import DataConfig

    Node: TypeAlias = openvino.Node

LOGITS, FEATURES, EVIDENCE, SHARES = "logits", "features", "evidence", "shares"
EPSILON = 1e-5  # added to the variance of a norm
_MAX_PIXEL = 255.0
_ops = openvino.opset13


def build(
    network: Architecture, state: State, data: DataConfig, outputs: Sequence[str] = (LOGITS,), *, raw: bool = True
) -> openvino.Model:
    """Return the graph of a network.

    Args:
        network: its shape.
        state: its weights, checked (`state.check`). They are taken out of it, so that each is in memory once.
        data: size, mean and standard deviation of its input.
        outputs: which of "logits" float32 [N, C]; "features" [N, F] (pooled); "evidence" [N, C, h, w], the head on
            each cell of the last stage, without its bias; and "shares" [N, radix, channels], one per block: how each
            channel is shared among the splits.
        raw: whether pixels uint8 [N, H, W, 3] go in; if not, normalized images float32 [N, 3, H, W].
    """
    entry, images = _pixels(data) if raw else _images(data)
    builder = _Builder(network, state)
    stage = builder.stages(builder.stem(images))
    features = _ops.reduce_mean(stage, _integers(2, 3), keep_dims=False)
    logits, evidence = builder.head(features, stage)
    made = {FEATURES: features, LOGITS: logits, EVIDENCE: evidence}
    results = [_output(name, made[name]) for name in outputs if name != SHARES]
    if SHARES in outputs:
        results += [_output(f"{name}.{SHARES}", share) for name, share in builder.shares.items()]
    return openvino.Model(results, [entry], "resnest")


class _Builder:
    """Makes the parts of a graph, with the weights that it takes out of `state`."""

    def __init__(self, network: Architecture, state: State) -> None:
        self.shares: dict[str, Node] = {}
        self._network = network
        self._state = state

    def stem(self, x: Node) -> Node:
        for index, norm, stride in ((0, "conv1.1", 2), (3, "conv1.4", 1), (6, "bn1", 1)):
            x = _ops.relu(self._convolution(x, f"conv1.{index}", norm, stride=stride))
        return _ops.max_pool(x, [2, 2], [1, 1], [1, 1], [1, 1], [3, 3]).output(0)

    def stages(self, x: Node) -> Node:
        return reduce(self._block, self._network.blocks, x)

    def head(self, features: Node, stage: Node) -> tuple[Node, Node]:
        weight, bias = self._take("fc.weight"), self._take("fc.bias")
        product = _ops.matmul(features, _constant(weight), transpose_a=False, transpose_b=True)
        logits = _ops.add(product, _constant(bias[None]))
        return logits, _convolve(stage, weight[..., None, None], np.zeros_like(bias))

    def _block(self, x: Node, block: Block) -> Node:
        network, name = self._network, block.name
        pooled = network.avd and block.stride > 1
        out = _ops.relu(self._convolution(x, f"{name}.conv1", f"{name}.bn1"))
        if pooled and network.avd_first:
            out = _pool(out)
        out = self._split_attention(out, block, 1 if pooled else block.stride)
        if pooled and not network.avd_first:
            out = _pool(out)
        out = self._convolution(out, f"{name}.conv3", f"{name}.bn3")
        return _ops.relu(_ops.add(out, self._shortcut(x, block)))

    def _shortcut(self, x: Node, block: Block) -> Node:
        if not block.projected:
            return x
        if block.stride > 1:  # the last window of an odd edge is smaller
            x = _ops.avg_pool(x, [2, 2], [0, 0], [0, 0], [2, 2], exclude_pad=True, rounding_type="ceil")
        return self._convolution(x, f"{block.name}.downsample.1", f"{block.name}.downsample.2")

    def _split_attention(self, x: Node, block: Block, stride: int) -> Node:
        """Return the sum of a block's splits, each channel weighted by the split's share (arXiv:2004.08955)."""
        name, radix, groups = f"{block.name}.conv2", self._network.radix, self._network.cardinality
        weights, biases = self._folded(f"{name}.conv", f"{name}.bn0")
        parts = zip(_split(x, radix), np.split(weights, radix), np.split(biases, radix), strict=True)
        splits = [
            _ops.relu(_named(f"{name}.bn0/{i}", _convolve(part, weight, bias, groups, stride)))
            for i, (part, weight, bias) in enumerate(parts)
        ]
        pooled = _ops.reduce_mean(reduce(_ops.add, splits), _integers(2, 3), keep_dims=True)
        hidden = _ops.relu(self._convolution(pooled, f"{name}.fc1", f"{name}.bn1", groups))
        found = _convolve(hidden, self._take(f"{name}.fc2.weight"), self._take(f"{name}.fc2.bias"), groups)
        shares = self.shares[block.name] = _shares(found, radix, groups)
        column = _ops.reshape(shares, _integers(0, -1, 1, 1), special_zero=True)
        return reduce(_ops.add, map(_ops.multiply, splits, _split(column, radix)))

    def _convolution(self, x: Node, conv: str, norm: str, groups: int = 1, stride: int = 1) -> Node:
        return _named(norm, _convolve(x, *self._folded(conv, norm), groups, stride))

    def _folded(self, conv: str, norm: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the weights and biases of a convolution with the norm after it folded in."""
        parts = ("weight", "bias", "running_mean", "running_var")
        gain, shift, mean, variance = (self._take(f"{norm}.{part}").astype(np.float64) for part in parts)
        scale = gain / np.sqrt(variance + EPSILON)
        bias = self._state.pop(f"{conv}.bias", np.zeros(1)) - mean
        weight = self._take(f"{conv}.weight")
        folded = np.multiply(weight, scale[:, None, None, None], out=np.empty_like(weight), casting="same_kind")
        return folded, (shift + bias * scale).astype(np.float32)

    def _take(self, name: str) -> NDArray[np.float32]:
        return self._state.pop(name).astype(np.float32, copy=False)


def _pixels(data: DataConfig) -> tuple[Node, Node]:
    channels, height, width = data.input_size
    entry = _input("pixels", [-1, height, width, channels], np.uint8)
    x = _ops.transpose(_ops.convert(entry, np.float32), _integers(0, 3, 1, 2))
    x = _ops.divide(x, _constant(np.full((1, 1, 1, 1), _MAX_PIXEL, np.float32)))
    mean, std = (_constant(np.array(values, np.float32)[None, :, None, None]) for values in (data.mean, data.std))
    return entry, _ops.divide(_ops.subtract(x, mean), std)


def _images(data: DataConfig) -> tuple[Node, Node]:
    entry = _input("images", [-1, *data.input_size], np.float32)
    return entry, entry


def _convolve(
    x: Node, weight: NDArray[np.float32], bias: NDArray[np.float32], groups: int = 1, stride: int = 1
) -> Node:
    margins = [weight.shape[-1] // 2] * 2
    steps = {"strides": [stride] * 2, "pads_begin": margins, "pads_end": margins, "dilations": [1, 1]}
    if groups == 1:
        made = _ops.convolution(x, _constant(weight), **steps)
    else:
        parted = weight.reshape(groups, -1, *weight.shape[1:])
        made = _ops.group_convolution(x, _constant(parted), **steps)
    return _ops.add(made, _constant(bias[None, :, None, None]))


def _shares(x: Node, radix: int, groups: int) -> Node:
    """Return the shares [N, radix, channels] of an attention [N, groups * radix * channels / groups, 1, 1]."""
    if radix == 1:
        return _ops.reshape(_ops.sigmoid(x), _integers(0, 1, -1), special_zero=True)
    x = _ops.reshape(x, _integers(0, groups, radix, -1), special_zero=True)
    x = _ops.softmax(_ops.transpose(x, _integers(0, 2, 1, 3)), 1)
    return _ops.reshape(x, _integers(0, radix, -1), special_zero=True)


def _split(x: Node, parts: int) -> list[Any]:
    if parts == 1:
        return [x]
    length = x.get_output_partial_shape(0)[1].get_length() // parts
    return list(_ops.variadic_split(x, _ops.constant(np.int64(1)), _integers(*[length] * parts)).outputs())


def _pool(x: Node) -> Node:
    return _ops.avg_pool(x, [2, 2], [1, 1], [1, 1], [3, 3], exclude_pad=False)


def _named(name: str, node: Node) -> Node:
    node.set_friendly_name(name)
    return node


def _input(name: str, shape: list[int], dtype: type) -> Node:
    node = _ops.parameter(shape, dtype, name)
    node.output(0).get_tensor().set_names({name})
    return node


def _output(name: str, node: Node) -> Node:
    node.output(0).get_tensor().set_names({name})
    return _named(name, _ops.result(node))


def _constant(values: NDArray[np.float32]) -> Node:
    return _ops.constant(np.ascontiguousarray(values), shared_memory=True)


def _integers(*values: int) -> Node:
    return _ops.constant(np.array(values, np.int64))
