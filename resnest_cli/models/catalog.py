"""Which models there are: the eight variants of `data/models.json`, the embedded digits, folders and repositories.

In: the name of a model as the user gives it. Out: a `ModelSpec`. Does not load weights.
"""

from __future__ import annotations

import difflib
import fnmatch
import json
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from resnest_cli.errors import ModelError, UnknownModel, WeightsUnavailable
from resnest_cli.models import config, hub
from resnest_cli.system.paths import Kind, look
from resnest_cli.types import ModelSpec

if TYPE_CHECKING:
    from resnest_cli.options import Options

HUB_PREFIX = "hf-hub:"
WEIGHTS_SUFFIXES = (".safetensors", ".pth", ".pth.tar", ".pt", ".bin", ".ckpt")
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
    """Return remarks on the published facts, such as errors of the model card."""
    return tuple(_models_json()["notes"])


def paper() -> dict[str, Any]:
    """Return {"paper": title, authors, year and arXiv number}, from the model card's citation."""
    return {"paper": dict(_models_json()["paper"])}


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
    """Return the model that `options` name, with their preprocessing applied."""
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
        data=config.preprocessing(row | {"input_size": (3, size, size)}),
        num_classes=row["num_classes"],
        repo=row["hf_hub_id"],
        facts=MappingProxyType(row),
    )


def _fetch_config(repo: str) -> Path:
    try:
        return hub.fetch(repo, "config.json")
    except WeightsUnavailable as error:
        message = (
            f"no model {HUB_PREFIX}{repo}: {error.message}\n"
            "Three ways out:\n"
            f"  download elsewhere   hf download {repo.replace('@', ' --revision ')}\n"
            "                       and copy that machine's Hugging Face cache here (or point HF_HOME at it)\n"
            "  use a folder         --model FOLDER, with config.json and model.safetensors in it\n"
            "  use a variant        resnest list-models shows them; --model digits needs no download"
        )
        raise WeightsUnavailable(message) from error


def _from_config(name: str, path: Path, *, repo: str = "", folder: Path | None = None) -> ModelSpec:
    """Make the spec of a model that a `config.json` describes.

    Raises:
        ModelError: see `config.read`; or the architecture is no ResNeSt.
    """
    read = config.read(path)
    known = [row.architecture for row in list_models()]
    if read.architecture not in known:
        message = f"{path}: architecture {read.architecture!r} is not a ResNeSt; use one of {', '.join(known)}."
        raise ModelError(message)
    return ModelSpec(
        name=name,
        architecture=read.architecture,
        data=read.data,
        num_classes=read.num_classes,
        repo=repo,
        folder=folder,
        label_names=read.label_names,
        model_args=MappingProxyType(read.model_args),
        wnids=read.wnids,
        exported=MappingProxyType(read.exported),
    )


def _unknown(name: str, why: str = "") -> UnknownModel:
    if why:
        return UnknownModel(f"--model {name}: {why} `resnest list-models` shows the variants.")
    known = [*(spec.name for spec in list_models()), "digits"]
    if name.lower().endswith(WEIGHTS_SUFFIXES):
        return UnknownModel(f"--model {name}: this is a weights file, not a model. Did you mean --weights {name}?")
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]}?" if near else ""
    return UnknownModel(f"there is no model {name!r}.{hint} `resnest list-models` shows all.")
