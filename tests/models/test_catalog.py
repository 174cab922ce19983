"""Names become specs: variants, tags, folders, and everything that is none."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from resnest_cli.errors import ModelError, UnknownModel, UsageError
from resnest_cli.models.catalog import DIGITS, find_model, list_models, notes, resolve
from resnest_cli.options import Options
from resnest_cli.types import DataConfig

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Resnest

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
        ({"precision": "fp8"}, "--precision fp8: use one of auto, fp32, bf16, fp16, int8."),
        ({"interpolation": "cubic"}, "--interpolation cubic"),
        ({"batch": 0}, "--batch 0: use a whole number from 1 to 4096."),
        ({"batch": 10**9}, "--batch 1000000000: use a whole number from 1 to 4096."),
        ({"batch": "8"}, "--batch 8"),
        ({"workers": -1}, "--workers -1: use a whole number from 0 to 1024."),
        ({"workers": 10**6}, "--workers 1000000"),
        ({"img_size": 0}, "--img-size 0: use a whole number from 17 to 4096."),
        ({"img_size": 16}, "--img-size 16"),
        ({"img_size": 30_000}, "--img-size 30000"),
        ({"img_size": 5_000_000}, "--img-size 5000000"),
        ({"crop_pct": 50}, "--crop-pct 50: use a number from 0.1 to 1 (a share, not percent: 0.5?)."),
        ({"crop_pct": 87.5}, "(a share, not percent: 0.875?)."),
        ({"crop_pct": float("nan")}, "--crop-pct nan: use a number from 0.1 to 1 (a share, not percent)."),
        ({"crop_pct": 0.0}, "--crop-pct 0.0: use a number from 0.1 to 1 (a share, not percent)."),
        ({"mean": (123, 117, 104)}, "--mean 123: use a number from 0 to 1 (on the scale 0..1, not 0..255: 0.482?)."),
        ({"mean": (0.5, float("inf"), 0.5)}, "--mean inf: use a number from 0 to 1 (on the scale 0..1, not 0..255)."),
        ({"mean": (-0.5, 0.5, 0.5)}, "--mean -0.5"),
        ({"mean": (0.5,)}, "--mean: give three numbers, one per color channel, not 1."),
        ({"std": (0.5, 0.5, 0.5, 0.5)}, "--std: give three numbers, one per color channel, not 4."),
        (
            {"std": (58.4, 57.1, 57.4)},
            "--std 58.4: use a number from 0.001 to 1 (on the scale 0..1, not 0..255: 0.229?).",
        ),
        ({"std": (1.0, 0.0, 1.0)}, "--std 0.0"),
        ({"std": (1e-30, 1.0, 1.0)}, "--std 1e-30"),
        ({"timeout": 0}, "--timeout 0: use a number from 0.001 to 86400 (seconds)."),
        ({"timeout": float("inf")}, "--timeout inf"),
        ({"max_pixels": 0}, "--max-pixels 0: use a whole number from 1 to 100000000000."),
        ({"max_pixels": 10**30}, "--max-pixels 1"),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Options(**changes)
    assert message in caught.value.message


@pytest.mark.parametrize("changes", [{"img_size": 17}, {"img_size": 4096}, {"crop_pct": 1}, {"mean": (0, 0, 1)}])
def test_the_ends_of_a_range_can_be_meant(changes: dict[str, Any]) -> None:
    Options(**changes)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"crop_pct": 0}, "crop_pct 0: use a number from 0.1 to 1"),
        ({"crop_pct": "0.9"}, "crop_pct 0.9: use a number"),
        ({"input_size": [3, 100_000, 100_000]}, "input_size 100000: use a whole number from 17 to 4096."),
        ({"input_size": [3, 32]}, "input_size, mean and std are three numbers each"),
        ({"input_size": 32}, "config.json: input_size, mean and std are three"),
        (
            {"mean": [123.675, 116.28, 103.53]},
            "mean 123.675: use a number from 0 to 1 (on the scale 0..1, not 0..255: 0.485?)",
        ),
        ({"mean": [0.5]}, "input_size, mean and std are three numbers each"),
        ({"std": [0, 0, 0]}, "std 0: use a number from 0.001 to 1"),
        ({"std": 0.5}, "config.json: input_size, mean and std are three"),
    ],
)
def test_a_config_whose_preprocessing_cannot_be_meant_is_refused(
    changes: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(DIGITS, folder)
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"] |= changes
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError) as caught:
        find_model(str(folder))
    assert problem in str(caught.value)
    assert str(caught.value).startswith(f"{folder / 'config.json'}: ")
    assert str(caught.value).endswith("Correct the file.")


@pytest.mark.parametrize("words", [("--threshold", "nan"), ("--crop-pct", "nan"), ("--timeout", "inf"), ("-k", "0")])
def test_the_command_line_takes_no_number_that_is_none(words: tuple[str, str], resnest: Resnest) -> None:
    ended = resnest("predict", DIGITS, "-m", "digits", *words)
    assert ended.exit_code == 2
    assert words[1] in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_variable_is_checked_like_the_option_that_it_stands_for(
    resnest: Resnest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESNEST_PREDICT_CROP_PCT", "87.5")
    ended = resnest("predict", DIGITS, "-m", "digits")
    assert ended.exit_code == 2
    assert "use a number from 0.1 to 1 (a share, not percent: 0.875?)." in ended.stderr
