"""The graph that is built from weights gives what timm's modules give, at each of its outputs."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import timm
import torch
from lively import LAYERS, enliven, lively
from timm.layers.split_attn import RadixSoftmax

from resnest_cli import find_model, list_models
from resnest_cli.engines.build import build
from resnest_cli.engines.runtime import core, openvino
from resnest_cli.models import architecture, graphs, random_weights
from resnest_cli.types import DataConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import nn

    from resnest_cli.types import ModelSpec

    Numbers = NDArray[np.float32]

EVERY = ("logits", "features", "evidence", "shares")
SPEC = find_model("resnest14d")
OTHERS: list[dict[str, Any]] = [
    {"layers": [1, 2, 1, 1], "channels": [16, 32, 64, 128], "stem_width": 8},
    {"layers": [1, 1, 1, 1], "block_args": {"radix": 3, "avd": False}, "base_width": 48},  # strides in convolutions
    {"layers": [2, 1, 1, 1], "channels": [16, 32, 64, 128]},  # the first block has no projection
    {"layers": [1, 1, 1, 1], "cardinality": 2, "block_args": {"radix": 1, "avd": True}},
]


def pixels(count: int, edge: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, edge, edge, 3), np.uint8)


def state_of(network: nn.Module) -> dict[str, Numbers]:
    return {name: value.numpy() for name, value in network.state_dict().items()}


def normalized(images: NDArray[np.uint8], data: DataConfig) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (data.mean, data.std))
    return (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std


def timms(network: Any, images: torch.Tensor) -> dict[str, Numbers]:  # noqa: ANN401 - a network of timm
    """Return what timm's modules give, by the names of the graph's outputs."""
    found: dict[str, Any] = {}

    def keep(name: str, radix: int) -> Any:  # noqa: ANN401 - a hook
        return lambda _, __, shares: found.update({f"{name}.shares": shares.reshape(len(shares), radix, -1)})

    for name, module in network.named_modules():
        if isinstance(module, RadixSoftmax):
            module.register_forward_hook(keep(name.removesuffix(".conv2.rsoftmax"), module.radix))
    with torch.inference_mode():
        stage = network.forward_features(images)
        found["evidence"] = torch.einsum("cf,nfhw->nchw", network.fc.weight, stage)
        found["features"] = network.forward_head(stage, pre_logits=True)
        found["logits"] = network.fc(found["features"])
    return {name: np.asarray(value) for name, value in found.items()}


def run(graph: openvino.Model, batch: NDArray[Any]) -> dict[str, Numbers]:
    compiled = core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return {port.get_any_name(): np.array(values) for port, values in compiled(batch).items()}


def softmax(rows: Numbers) -> Numbers:
    powers: Numbers = np.exp(rows - rows.max(axis=1, keepdims=True))
    shares: Numbers = powers / powers.sum(axis=1, keepdims=True)
    return shares


def compare(network: nn.Module, spec: ModelSpec, edge: int) -> None:
    images = pixels(2, edge)
    data = replace(spec.data, input_size=(3, edge, edge))
    expected = timms(network, normalized(images, data))
    found = run(build(architecture.of(spec), state_of(network), data, EVERY), images)
    assert found.keys() == expected.keys()
    np.testing.assert_allclose(softmax(found["logits"]), softmax(expected["logits"]), rtol=0, atol=1e-5)
    for name in expected.keys() - {"logits"}:
        largest = max(1.0, float(np.abs(expected[name]).max()))
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-5 * largest, err_msg=name)


@pytest.mark.parametrize("spec", list_models(), ids=lambda spec: spec.name)
@pytest.mark.parametrize("edge", [64, 75])  # where edges are odd, the last window of the shortcut's pool is smaller
def test_every_output_of_every_variant_is_timms(spec: ModelSpec, edge: int) -> None:
    args = {"layers": LAYERS}
    compare(lively(spec.architecture, **args), replace(spec, model_args=args), edge)


@pytest.mark.parametrize("args", OTHERS, ids=str)
def test_every_output_of_other_networks_is_timms(args: dict[str, Any]) -> None:
    compare(lively(SPEC.architecture, **args), replace(SPEC, model_args=args), 64)


def test_normalized_images_give_the_same_as_pixels() -> None:
    network = lively("resnest14d")
    images = pixels(2, 64)
    data = replace(SPEC.data, input_size=(3, 64, 64), mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3))
    graphs_ = [build(architecture.of(SPEC), state_of(network), data, raw=raw) for raw in (True, False)]
    given = (images, normalized(images, data).numpy())
    assert [graph.inputs[0].get_any_name() for graph in graphs_] == ["pixels", "images"]
    one, other = (run(graph, batch)["logits"] for graph, batch in zip(graphs_, given, strict=True))
    np.testing.assert_allclose(softmax(one), softmax(other), rtol=0, atol=1e-5)


@pytest.mark.parametrize("spec", list_models(), ids=lambda spec: spec.name)
def test_each_split_has_a_convolution_of_its_own_with_the_groups_of_the_cardinality(spec: ModelSpec) -> None:
    """On a CPU a grouped convolution is slower than dense ones, and NNCF does not quantize it."""
    network = replace(architecture.of(spec), layers=(1, 1, 1, 1))
    graph = build(network, random_weights.make(network.shapes, spec), spec.data)
    kinds = Counter(step.get_type_name() for step in graph.get_ordered_ops())
    splits, rest = len(network.blocks) * network.radix, 3 + 3 * len(network.blocks)  # stem; conv1, conv3 and shortcut
    attention = 2 * len(network.blocks)
    if network.cardinality == 1:
        assert (kinds["Convolution"], kinds["GroupConvolution"]) == (splits + rest + attention, 0)
    else:
        assert (kinds["Convolution"], kinds["GroupConvolution"]) == (rest, splits + attention)


def test_only_the_outputs_that_are_wanted_are_there_in_their_order() -> None:
    state = random_weights.make(architecture.of(SPEC).shapes, SPEC)

    def names(outputs: Sequence[str]) -> list[str]:
        graph = build(architecture.of(SPEC), dict(state), SPEC.data, outputs)
        return [port.get_any_name() for port in graph.outputs]

    assert names(["features"]) == ["features"]
    assert names(["evidence", "logits"]) == ["evidence", "logits"]
    assert names(["shares"]) == [f"layer{stage}.0.shares" for stage in (1, 2, 3, 4)]


def test_weights_leave_the_state_as_they_are_used() -> None:
    state = random_weights.make(architecture.of(SPEC).shapes, SPEC)
    build(architecture.of(SPEC), state, SPEC.data)
    assert {name.rpartition(".")[2] for name in state} == {architecture.COUNTER}


def test_half_precision_weights_are_computed_with_in_float32() -> None:
    network = enliven(timm.create_model("resnest14d", layers=[1, 1, 1, 1])).half()
    exact = network.float()
    half = {name: values.astype(np.float16) for name, values in state_of(exact).items()}
    data = replace(SPEC.data, input_size=(3, 64, 64))
    found = run(build(architecture.of(SPEC), half, data), pixels(1, 64))["logits"]
    expected = timms(exact, normalized(pixels(1, 64), data))["logits"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)


ATTRIBUTES = (
    *("strides", "pads_begin", "pads_end", "dilations", "kernel", "exclude-pad", "rounding_type"),
    *("axis", "keep_dims", "transpose_a", "transpose_b", "special_zero"),
)


def digest(graph: openvino.Model) -> str:
    """Return a hash of what a graph computes: its steps, how they hang together, and all constants."""
    steps = graph.get_ordered_ops()
    places = {step.get_friendly_name(): str(place) for place, step in enumerate(steps)}
    found = hashlib.sha256()
    for step in steps:
        givers = [places[port.get_node().get_friendly_name()] for port in step.input_values()]
        shapes = [str(port.get_partial_shape()) for port in step.outputs()]
        found.update(" ".join([step.get_type_name(), *givers, *shapes]).encode())
        if step.get_type_name() == "Constant":
            found.update(step.data.tobytes())
        else:
            attributes = step.get_attributes()
            found.update(repr([(name, attributes.get(name)) for name in ATTRIBUTES]).encode())
    return found.hexdigest()[:16]


def test_a_change_of_what_is_built_raises_the_format_of_the_cache() -> None:
    """If this fails, raise `graphs.FORMAT` and put the new pair here: else old graphs in caches would go on running."""
    network = architecture.Architecture((1, 1, 1, 1), (8, 8, 8, 8), 8, cardinality=2, radix=2, num_classes=3)
    state = {name: np.full(shape, 0.5, np.float32) for name, shape in network.shapes.items()}
    graph = build(network, state, DataConfig(input_size=(3, 32, 32)), EVERY)
    assert (graphs.FORMAT, digest(graph)) == (1, "cd31e8985ace1770")
