"""What a ResNeSt is here, is what timm makes of the same name and arguments."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import timm
import torch

from resnest_cli import find_model, list_models
from resnest_cli.errors import ModelError
from resnest_cli.models import architecture

SPEC = find_model("resnest14d")
OTHERS: list[dict[str, Any]] = [
    {"layers": [1, 2, 1, 3], "channels": [16, 32, 64, 128], "stem_width": 8},
    {"base_width": 40, "cardinality": 2, "block_args": {"radix": 4, "avd": True, "avd_first": True}},
    {"block_args": {"radix": 1}},
    {"block_args": {}},
    {"stem_width": 32, "channels": [16, 32, 64, 128]},  # the first block has no projection
    {"drop_rate": 0.2, "drop_path_rate": 0.1, "drop_block_rate": 0.1, "zero_init_last": False, "in_chans": 3},
    {"global_pool": "avg", "output_stride": 32, "avg_down": True, "stem_type": "deep", "down_kernel_size": 1},
]


def shapes(network: torch.nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, tuple(value.shape)) for name, value in network.state_dict().items()]


def made_by_timm(name: str, **args: Any) -> Any:  # noqa: ANN401 - a network of timm
    with torch.device("meta"):
        return timm.create_model(name, **args)


@pytest.mark.parametrize("spec", list_models(), ids=lambda spec: spec.name)
def test_each_variant_has_timms_names_shapes_and_counts(spec: Any) -> None:  # noqa: ANN401 - a ModelSpec
    network, found = made_by_timm(spec.name), architecture.of(spec)
    assert list(found.shapes.items()) == shapes(network)
    assert found.param_count == sum(value.numel() for value in network.parameters()) == spec.facts["params"]
    assert found.num_features == architecture.num_features(spec) == network.num_features


@pytest.mark.parametrize("args", OTHERS, ids=str)
def test_arguments_of_a_config_change_it_as_they_change_timms(args: dict[str, Any]) -> None:
    spec = replace(SPEC, num_classes=7, model_args=args)
    network = made_by_timm(SPEC.architecture, num_classes=7, **args)
    assert architecture.why_timm(spec) == ""
    assert list(architecture.of(spec).shapes.items()) == shapes(network)
    assert architecture.num_features(spec) == network.num_features


def test_timm_rounds_the_channels_of_every_attention_alike() -> None:
    for width in range(8, 1024, 8):
        spec = replace(SPEC, model_args={"channels": [width] * 4, "layers": [1] * 4})
        theirs = dict(shapes(made_by_timm(SPEC.architecture, **spec.model_args)))
        assert dict(architecture.of(spec).shapes) == theirs


@pytest.mark.parametrize(
    "args",
    [
        {"act_layer": "silu"},
        {"norm_layer": "groupnorm"},
        {"stem_type": "deep_tiered"},
        {"output_stride": 16},
        {"global_pool": "max"},
        {"replace_stem_pool": True},
        {"avg_down": False},
        {"aa_layer": "blurpool"},
        {"layers": None},
        {"of_tomorrow": 1},
    ],
    ids=str,
)
def test_what_only_timm_knows_is_named(args: dict[str, Any]) -> None:
    ((name, value),) = args.items()
    assert architecture.why_timm(replace(SPEC, model_args=args)) == f"only timm knows {name}={value!r}"
    assert architecture.num_features(replace(SPEC, model_args=args)) == 2048


@pytest.mark.parametrize(
    "args", [{"base_width": 1, "channels": [8] * 4}, {"cardinality": 3, "base_width": 20}], ids=str
)
def test_channels_that_make_no_groups_are_named(args: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"^resnest14d: the \d+ channels of layer1\.0 do not make \d groups; correct"):
        architecture.of(replace(SPEC, model_args=args))
