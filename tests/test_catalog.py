"""Names become specs: variants, tags, folders, and everything that is none."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from resnest_cli.catalog import DIGITS, find_model, list_models, notes, resolve
from resnest_cli.errors import ModelError, UnknownModel, UsageError
from resnest_cli.options import Options
from resnest_cli.types import DataConfig

if TYPE_CHECKING:
    from pathlib import Path

VARIANTS = [
    *("resnest14d", "resnest26d", "resnest50d", "resnest50d_1s4x24d", "resnest50d_4s2x40d"),
    *("resnest101e", "resnest200e", "resnest269e"),
]


def test_the_eight_variants_in_the_order_of_the_family() -> None:
    assert [spec.name for spec in list_models()] == VARIANTS


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("50", VARIANTS[2:5]),
        ("*e", VARIANTS[5:]),
        ("RESNEST14D", ["resnest14d"]),
        ("resnest50d_[14]*", VARIANTS[3:5]),
    ],
)
def test_a_pattern_is_part_of_a_name_or_has_wildcards(pattern: str, names: list[str]) -> None:
    assert [spec.name for spec in list_models(pattern)] == names


def test_a_variant_has_timms_facts() -> None:
    spec = find_model("resnest200e.in1k")
    assert spec == find_model("resnest200e")
    assert (spec.repo, spec.num_classes, spec.label_names) == ("timm/resnest200e.in1k", 1000, ())
    assert spec.data == DataConfig((3, 320, 320), 0.909, "center", "bicubic")
    assert spec.facts["checkpoint_url"].endswith("resnest101-22405ba7.pth") is False
    assert any("resnest200e" in note for note in notes())


def test_digits_and_its_folder_are_the_same_model() -> None:
    spec, by_path = find_model("digits"), find_model(str(DIGITS))
    assert (spec.architecture, spec.num_classes, spec.label_names[7]) == ("resnest14d", 10, "seven")
    assert spec.data == DataConfig((3, 32, 32), 1.0, "center", "bilinear", (0.5,) * 3, (0.5,) * 3)
    assert (spec.folder, spec.data, spec.model_args) == (by_path.folder, by_path.data, by_path.model_args)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("resnest50", "resnest50d"), ("resnet101e", "resnest101e"), ("digit", "digits"), ("resnest269", "resnest269e")],
)
def test_a_misspelt_name_gets_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(UnknownModel, match=f"Did you mean {nearest}?"):
        find_model(name)


def test_a_name_like_nothing_gets_no_guess() -> None:
    with pytest.raises(UnknownModel) as raised:
        find_model("xyz")
    assert str(raised.value) == "there is no model 'xyz'. `resnest list-models` shows all."
    with pytest.raises(UnknownModel):
        list_models("vit")


def folder_with(folder: Path, **changes: Any) -> str:  # noqa: ANN401 - JSON
    shutil.copytree(DIGITS, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    return str(folder)


def test_an_older_flat_config_is_read_too(tmp_path: Path) -> None:
    config = json.loads((DIGITS / "config.json").read_text())
    flat = {"architecture": "resnest14d", **config["pretrained_cfg"], "num_classes": 10}
    (tmp_path / "config.json").write_text(json.dumps(flat))
    assert find_model(str(tmp_path)).data == find_model("digits").data


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "vit_base_patch16_224"}, "architecture 'vit_base_patch16_224' is not a ResNeSt"),
        ({"label_names": ["a", "b"]}, "2 label_names for 10 classes"),
        ({"pretrained_cfg": {"num_classes": 10, "interpolation": "random"}}, "interpolation 'random' with crop_mode"),
        ({"pretrained_cfg": {"num_classes": 10, "crop_mode": "five"}}, "with crop_mode 'five' is unknown"),
        ({"num_classes": "many"}, "is not the config of a timm model"),
        ({"pretrained_cfg": 3}, "is not the config of a timm model"),
        ({"pretrained_cfg": {"num_classes": 10, "input_size": [1, 32, 32]}}, "only three-channel"),
    ],
)
def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        find_model(folder_with(tmp_path / "model", **changes))


def test_a_folder_without_a_config_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is not a model folder: it has no config\.json"):
        find_model(str(tmp_path))
    (tmp_path / "config.json").write_bytes(b"\xff{")
    with pytest.raises(ModelError, match="is not the config of a timm model"):
        find_model(str(tmp_path))


def test_options_change_the_preprocessing() -> None:
    spec = resolve(Options(model="resnest14d", img_size=96, crop_pct=1.0, interpolation="box", std=(1, 1, 1)))
    assert spec.data == DataConfig((3, 96, 96), 1.0, "center", "box", std=(1, 1, 1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": "x.pth", "random_weights": True}, "exclude each other"),
        ({"device": "gpu"}, "--device gpu: use one of auto, cpu, cuda, mps, xpu, or cuda:N."),
        ({"device": "cuda:x"}, "--device cuda:x"),
        ({"device": "xautox"}, "--device xautox"),
        ({"engine": "tensorrt"}, "--engine tensorrt"),
        ({"precision": "fp8"}, "--precision fp8: use one of auto, fp32, bf16, fp16."),
        ({"interpolation": "cubic"}, "--interpolation cubic"),
        ({"batch": 0}, "--batch 0: use a whole number from 1."),
        ({"batch": "8"}, "--batch 8"),
        ({"workers": -1}, "--workers -1"),
        ({"img_size": 0}, "--img-size 0"),
        ({"crop_pct": float("nan")}, "--crop-pct nan: use a number above 0."),
        ({"crop_pct": 0.0}, r"--crop-pct 0\.0"),
        ({"std": (1.0, 0.0, 1.0)}, r"--std 0\.0"),
        ({"mean": (0.5, float("inf"), 0.5)}, "--mean inf"),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Options(**changes)
