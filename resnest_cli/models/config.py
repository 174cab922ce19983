"""What a model's `config.json` says, each entry of the type and in the range that it must have.

In: the path of a file that timm's save_for_hf wrote, or we, or anybody. Out: a `Config`, or `ModelError` that names the
file and the entry. Nothing is allocated from an entry before it is checked. Does not know which models there are.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from resnest_cli.errors import ModelError, UsageError
from resnest_cli.options import INTERPOLATIONS, check_preprocessing
from resnest_cli.system import files
from resnest_cli.system.paths import is_bare, reason
from resnest_cli.text.json_input import LONGEST, Entries, parse
from resnest_cli.types import DataConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

MAX_BYTES = 16 << 20  # with names for as many classes as any data set has; read, it takes ten times that at most
MAX_CLASSES = 1_000_000
CROP_MODES = ("center", "squash", "border")
# Arguments of timm's create_model that are not the network's: with them a config could name files to be loaded.
NOT_OF_A_NETWORK = {
    *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_strict", "checkpoint_path", "cache_dir"),
    *("model_name", "scriptable", "exportable", "no_jit"),
}
_STAGES = 4
_MOST_BLOCKS, _MOST_CHANNELS = 64, 8192  # of a stage; the published ones have 48 and 512


def _whole(least: int, most: int) -> Callable[[Entries, str], object]:
    return lambda given, key: given.integer(key, least, most)


def _per_stage(most: int) -> Callable[[Entries, str], object]:
    return lambda given, key: given.integers(key, _STAGES, 1, most)


def _share(given: Entries, key: str) -> object:
    return given.number(key, 0, 1)


# What timm's ResNet takes: the name of an argument -> what its value must be.
_ARGUMENTS: dict[str, Callable[[Entries, str], object]] = {
    "num_classes": _whole(1, MAX_CLASSES),
    "in_chans": _whole(3, 3),
    "layers": _per_stage(_MOST_BLOCKS),
    "channels": _per_stage(_MOST_CHANNELS),
    **dict.fromkeys(("stem_width", "base_width"), _whole(1, _MOST_CHANNELS)),
    **dict.fromkeys(("cardinality", "block_reduce_first", "radix"), _whole(1, 64)),
    "down_kernel_size": _whole(1, 7),
    "output_stride": _whole(8, 32),
    **dict.fromkeys(("drop_rate", "drop_path_rate", "drop_block_rate"), _share),
    **dict.fromkeys(("replace_stem_pool", "avg_down", "zero_init_last", "avd", "avd_first"), Entries.flag),
    **dict.fromkeys(("stem_type", "global_pool", "act_layer", "norm_layer", "aa_layer"), Entries.text),
}
_OF_BLOCKS = ("radix", "avd", "avd_first")


@dataclass(frozen=True)
class Config:
    """The entries of a config, checked; see `ModelSpec` for what they mean."""

    architecture: str
    data: DataConfig
    num_classes: int
    label_names: tuple[str, ...]
    wnids: tuple[str | None, ...]
    model_args: Mapping[str, Any]
    exported: Mapping[str, Any]


def read(path: Path) -> Config:
    """Read a `config.json` as timm's save_for_hf writes it: nested under pretrained_cfg, or (older) flat.

    Raises:
        ModelError: there is none, or an entry has the wrong type or range.
    """
    try:
        given = Entries(parse(files.read(path, MAX_BYTES)))
        nested = given.inside("pretrained_cfg").values if "pretrained_cfg" in given.values else given.values
        outer = {key: given.values[key] for key in ("num_classes", "label_names") if key in given.values}
        config = _config(given, Entries(nested | outer))
    except FileNotFoundError as error:
        message = (
            f"{path.parent} is not a model folder: it has no config.json. `resnest list-models` shows the variants."
        )
        raise ModelError(message) from error
    except (OSError, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else f"{error}."
        message = f"{path} is not the config of a timm model: {why} Correct the file."
        raise ModelError(message) from error
    _check_lists(config, path)
    _check_preprocessing(config.data, path)
    return config


def preprocessing(values: Mapping[str, Any]) -> DataConfig:
    """Return the entries of a `DataConfig` among others, unchecked."""
    given = {field.name: values.get(field.name) for field in fields(DataConfig)}
    known: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items() if v is not None}
    return DataConfig(**known)


def check_args(given: Mapping[str, Any]) -> None:
    """Refuse arguments of a network that timm does not take, or that no network of a sane size has.

    Raises:
        ValueError: the message names the argument.
    """
    entries = Entries(dict(given), "model_args")
    if surprising := [name for name in given if name in NOT_OF_A_NETWORK]:
        message = f"model_args must not hold {', '.join(surprising)}, which say what else to load: remove them"
        raise ValueError(message)
    blocks = entries.inside("block_args")
    _check_each(blocks, _OF_BLOCKS)
    _check_each(Entries({key: value for key, value in given.items() if key != "block_args"}, entries.name), _ARGUMENTS)


def _check_each(entries: Entries, known: Mapping[str, Any] | tuple[str, ...]) -> None:
    for key, value in entries.values.items():
        if key not in known:
            message = f"{entries.name} holds {key[:LONGEST]!r}, which timm does not take: remove it"
            raise ValueError(message)
        if value is not None:
            _ARGUMENTS[key](entries, key)


def _config(given: Entries, inner: Entries) -> Config:
    args = given.inside("model_args")
    check_args(args.values)
    for key in {"crop_mode", "interpolation"} & inner.values.keys():
        inner.text(key)
    classes = inner.integer("num_classes", 1, MAX_CLASSES)
    if (same := args.values.get("num_classes", classes)) != classes:
        message = f"model_args.num_classes is {same}, and num_classes is {classes}: they must be the same"
        raise ValueError(message)
    return Config(
        architecture=given.text("architecture"),
        data=preprocessing(inner.values),
        num_classes=classes,
        label_names=_names(inner),
        wnids=_wnids(given),
        model_args=args.values,
        exported=_exported(given.inside("export")),
    )


def _names(inner: Entries) -> tuple[str, ...]:
    """Return the class names; a number is its own name, as where digits are the classes."""
    value = inner.values.get("label_names")
    if not isinstance(value, list):
        return () if not value else inner.texts("label_names")
    words = [str(each) if isinstance(each, int) and not isinstance(each, bool) else each for each in value]
    return Entries({"label_names": words}, inner.name).texts("label_names")


def _wnids(given: Entries) -> tuple[str | None, ...]:
    value = given.values.get("wnids")
    if not value:
        return ()
    known = [each for each in value if each is not None] if isinstance(value, list) else value
    Entries({"wnids": known}).texts("wnids")
    return tuple(value)


def _exported(block: Entries) -> Mapping[str, Any]:
    """Check what `resnest export` says of the files beside the config; an empty block says nothing."""
    if block.values:
        block.text("format")
        every = block.inside("files")
        for name in every.values:
            every.text(name)
        if strange := [name for name in every.values if not is_bare(name)]:
            message = f"the files of an export lie beside it; {strange[0][:LONGEST]!r} would not"
            raise ValueError(message)
        block.inside("input").text("dtype")
        block.text("weights_sha256")
        block.integer("param_count", 0, 1 << 40)
    return block.values


def _check_lists(config: Config, path: Path) -> None:
    """Refuse lists that have not one entry per class.

    Raises:
        ModelError: the message says how many they have.
    """
    for name, values in (("wnids", config.wnids), ("label_names", config.label_names)):
        if len(values) not in {0, config.num_classes}:
            message = f"{path}: {len(values)} {name} for {config.num_classes} classes; correct the file."
            raise ModelError(message)


def _check_preprocessing(data: DataConfig, path: Path) -> None:
    if data.interpolation not in INTERPOLATIONS or data.crop_mode not in CROP_MODES:
        message = (
            f"{path}: interpolation {data.interpolation!r} with crop_mode {data.crop_mode!r} is unknown; "
            f"use one of {', '.join(INTERPOLATIONS)}, and one of {', '.join(CROP_MODES)}."
        )
        raise ModelError(message)
    if not all(
        isinstance(values, tuple) and len(values) == len("RGB") for values in (data.input_size, data.mean, data.std)
    ):
        message = f"{path}: input_size, mean and std are three numbers each. Correct the file."
        raise ModelError(message)
    channels, *size = data.input_size
    if channels != len("RGB") or isinstance(channels, float):
        message = f"{path}: input_size {data.input_size}: only three-channel (RGB) models are supported."
        raise ModelError(message)
    try:
        names = ("input_size", "crop_pct", "mean", "std")
        check_preprocessing(names, size, data.crop_pct, data.mean, data.std)
    except UsageError as error:
        message = f"{path}: {error.message} Correct the file."
        raise ModelError(message) from error
