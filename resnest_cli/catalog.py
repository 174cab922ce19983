"""Which models there are: the eight variants of `data/models.json`, the embedded digits, folders and repositories.

In: what a user gives as the model's name. Out: a `ModelSpec`. Knows where weights should be, not how to load them.
"""

from __future__ import annotations

import difflib
import fnmatch
import json
from dataclasses import fields, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from resnest_cli import hub
from resnest_cli.errors import ModelError, UnknownModel, UsageError, WeightsUnavailable
from resnest_cli.options import INTERPOLATIONS, check_preprocessing
from resnest_cli.paths import Kind, look
from resnest_cli.types import DataConfig, ModelSpec

if TYPE_CHECKING:
    from resnest_cli.options import Options

HUB_PREFIX = "hf-hub:"
# Arguments of timm's create_model that are not the network's: with them a config could name files to be loaded.
NOT_OF_A_NETWORK = {
    *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_strict", "checkpoint_path", "cache_dir"),
    *("model_name", "scriptable", "exportable", "no_jit"),
}
WEIGHTS_SUFFIXES = (".safetensors", ".pth", ".pth.tar", ".pt", ".bin", ".ckpt")
CROP_MODES = ("center", "squash", "border")
DATA = Path(str(files("resnest_cli") / "data"))
DIGITS = DATA / "digits"


@cache
def list_models(pattern: str = "") -> tuple[ModelSpec, ...]:
    """List the eight ResNeSt variants, or those whose name contains or (with wildcards) matches `pattern`.

    Raises:
        UnknownModel: the pattern matches none.
    """
    rows = _models_json()["models"]
    glob = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
    specs = tuple(_variant(row) for row in rows if fnmatch.fnmatch(row["name"], glob.lower()))
    if not specs:
        raise _unknown(pattern)
    return specs


def notes() -> tuple[str, ...]:
    """Return what is to be known of the published facts themselves, such as where the model card is wrong."""
    return tuple(_models_json()["notes"])


def find_model(name: str) -> ModelSpec:
    """Find a model by variant, tagged name, "digits", "hf-hub:OWNER/REPO" or the path of a model folder.

    Raises:
        UnknownModel: nothing has this name; the message suggests the nearest.
        ModelError: a folder or repository that holds no ResNeSt.
        WeightsUnavailable: a repository whose config cannot be downloaded.
    """
    for spec in list_models():
        if name in {spec.name, f"{spec.name}.{spec.facts['tag']}"}:
            return spec
    if name.startswith(HUB_PREFIX):
        repo = name.removeprefix(HUB_PREFIX)
        return _from_config(name, _fetch_config(repo), repo=repo)
    folder = DIGITS if name == "digits" else Path(name)
    seen = look(folder)
    if seen.is_folder:
        return _from_config(name, folder / "config.json", folder=folder)
    raise _unknown(name, seen.why if seen.kind is Kind.UNKNOWN else "")


def resolve(options: Options) -> ModelSpec:
    """Find the model that `options` name, with their changes of its preprocessing applied."""
    spec = find_model(options.model)
    size = options.img_size
    given: dict[str, Any] = {
        "input_size": (3, size, size) if size else None,
        "crop_pct": options.crop_pct,
        "interpolation": options.interpolation,
        "mean": options.mean,
        "std": options.std,
    }
    changes = {key: value for key, value in given.items() if value is not None}
    return replace(spec, data=replace(spec.data, **changes))


@cache
def _models_json() -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((DATA / "models.json").read_text(encoding="utf-8"))
    return facts


def _variant(row: dict[str, Any]) -> ModelSpec:
    size = row["input_size"]
    return ModelSpec(
        name=row["name"],
        architecture=row["name"],
        data=_data_config(row | {"input_size": (3, size, size)}),
        num_classes=row["num_classes"],
        repo=row["hf_hub_id"],
        facts=MappingProxyType(row),
    )


def _fetch_config(repo: str) -> Path:
    try:
        return hub.fetch(repo, "config.json")
    except WeightsUnavailable as error:
        message = (
            f"no model {HUB_PREFIX}{repo}: {error}\n"
            "Three ways out:\n"
            f"  download elsewhere   hf download {repo.replace('@', ' --revision ')}\n"
            "                       and copy that machine's Hugging Face cache here (or point HF_HOME at it)\n"
            "  use a folder         --model FOLDER, with config.json and model.safetensors in it\n"
            "  use a variant        resnest list-models shows them; --model digits needs no download"
        )
        raise WeightsUnavailable(message) from error


def _from_config(name: str, path: Path, *, repo: str = "", folder: Path | None = None) -> ModelSpec:
    """Read a `config.json` as timm's save_for_hf writes it: nested under pretrained_cfg, or (older) flat."""
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        cfg = config.get("pretrained_cfg", config) | {
            k: config[k] for k in ("num_classes", "label_names") if k in config
        }
        spec = ModelSpec(
            name=name,
            architecture=config["architecture"],
            data=_data_config(cfg),
            num_classes=int(cfg["num_classes"]),
            repo=repo,
            folder=folder,
            label_names=tuple(map(str, cfg.get("label_names") or ())),
            model_args=MappingProxyType(config.get("model_args", {})),
            wnids=tuple(config.get("wnids") or ()),
            exported=MappingProxyType(config.get("export", {})),
        )
    except FileNotFoundError as error:
        message = (
            f"{path.parent} is not a model folder: it has no config.json. `resnest list-models` shows the variants."
        )
        raise ModelError(message) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"{path} is not the config of a timm model ({type(error).__name__}: {error})."
        raise ModelError(message) from error
    _check(spec, path)
    return spec


def _check(spec: ModelSpec, path: Path) -> None:
    """Refuse configs that describe something else; the architecture's name goes on to timm, so it must be known."""
    known = [row.architecture for row in list_models()]
    if spec.architecture not in known:
        message = f"{path}: architecture {spec.architecture!r} is not a ResNeSt; use one of {', '.join(known)}."
        raise ModelError(message)
    if spec.data.interpolation not in INTERPOLATIONS or spec.data.crop_mode not in CROP_MODES:
        message = (
            f"{path}: interpolation {spec.data.interpolation!r} with crop_mode {spec.data.crop_mode!r} is unknown; "
            f"use one of {', '.join(INTERPOLATIONS)}, and one of {', '.join(CROP_MODES)}."
        )
        raise ModelError(message)
    _check_preprocessing(spec.data, path)
    if spec.data.input_size[0] != 3:  # noqa: PLR2004 - RGB
        message = f"{path}: input_size {spec.data.input_size}: only three-channel (RGB) models are supported."
        raise ModelError(message)
    surprising = [name for name in spec.model_args if name in NOT_OF_A_NETWORK]
    if surprising:
        message = f"{path}: model_args must not hold {', '.join(surprising)}, which say what else to load; remove them."
        raise ModelError(message)
    if strange := [name for name in spec.exported.get("files", ()) if Path(name).name != name]:
        message = f"{path}: the files of an export lie beside it; {strange[0]!r} would not. Export anew."
        raise ModelError(message)
    if len(spec.wnids) not in {0, spec.num_classes}:
        message = f"{path}: {len(spec.wnids)} wnids for {spec.num_classes} classes; correct the file."
        raise ModelError(message)
    if len(spec.label_names) not in {0, spec.num_classes}:
        message = f"{path}: {len(spec.label_names)} label_names for {spec.num_classes} classes; correct the file."
        raise ModelError(message)


def _check_preprocessing(data: DataConfig, path: Path) -> None:
    if not all(
        isinstance(values, tuple) and len(values) == len("RGB") for values in (data.input_size, data.mean, data.std)
    ):
        message = f"{path}: input_size, mean and std are three numbers each. Correct the file."
        raise ModelError(message)
    try:
        names = ("input_size", "crop_pct", "mean", "std")
        check_preprocessing(names, data.input_size[1:], data.crop_pct, data.mean, data.std)
    except UsageError as error:
        message = f"{path}: {error} Correct the file."
        raise ModelError(message) from error


def _data_config(row: dict[str, Any]) -> DataConfig:
    names = {item.name for item in fields(DataConfig)}
    given: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in row.items()
        if key in names and value is not None
    }
    return DataConfig(**given)


def _unknown(name: str, why: str = "") -> UnknownModel:
    if why:
        return UnknownModel(f"--model {name}: {why} `resnest list-models` shows the variants.")
    known = [*(spec.name for spec in list_models()), "digits"]
    if name.lower().endswith(WEIGHTS_SUFFIXES):
        return UnknownModel(f"--model {name}: a weights file is no model. Did you mean --weights {name}?")
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]}?" if near else ""
    return UnknownModel(f"there is no model {name!r}.{hint} `resnest list-models` shows all.")
