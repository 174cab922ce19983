"""What is known of models, as rows: for programs (JSON, CSV) and in words for people.

In: a pattern or a model's name. Out: dictionaries, CSV, and (name, value) texts. Reads no weights.
"""

from __future__ import annotations

from dataclasses import asdict
from fnmatch import fnmatch
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from resnest_cli.errors import UnknownModel
from resnest_cli.models import catalog, weights
from resnest_cli.text import cells

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resnest_cli.types import ModelSpec

# Key of JSON and CSV -> name for people.
WORDS = {
    "name": "model",
    "tag": "trained on",
    "hf_hub_id": "repository",
    "params": "parameters",
    "gmacs": "GMACs per image",
    "macts": "activations (M)",
    "input_size": "input in pixels",
    "crop_pct": "center crop",
    "num_classes": "classes",
    "top1_model_card": "top-1 % (model card)",
    "top5_model_card": "top-5 % (model card)",
    "top1_timm": "top-1 % (timm)",
    "top5_timm": "top-5 % (timm)",
    "top1_imagenet_real": "top-1 % (ImageNet ReaL)",
    "top1_imagenet_v2": "top-1 % (ImageNet V2)",
    "flops_model_card": "FLOPs (model card)",
    "checkpoint_bytes": "checkpoint size",
    "checkpoint_url": "checkpoint",
    "checkpoint_sha256_prefix": "its sha256 begins",
    "label_names": "class names",
    "paper.arxiv": "paper: arXiv",
    "cached": "downloaded",
}
UNITS = {"params": (1e6, "M"), "flops_model_card": (1e9, "G"), "checkpoint_bytes": (1e6, "MB")}


def rows(pattern: str = "", sort: str | None = None) -> list[dict[str, Any]]:
    """Return a row of facts per variant whose name matches, in the order of the family, or by the column `sort`.

    `megabytes` is the size of the checkpoint in 10^6 bytes (None: not published), `cached` whether it is in the cache
    (None: the cache cannot be read). A pattern that names no variant but "digits" gives that model's row.

    Raises:
        UnknownModel: nothing matches.
    """
    try:
        found = [_row(spec) for spec in catalog.list_models(pattern)]
    except UnknownModel:
        if not fnmatch("digits", f"*{pattern.lower()}*"):
            raise
        found = [_digits()]
    if sort:
        found.sort(key=megabytes if sort == "megabytes" else itemgetter(sort), reverse=sort != "name")
    return found


def megabytes(row: dict[str, Any]) -> int:
    """Return the size of a checkpoint; where none is published, that of the parameters in float32."""
    return int(row["megabytes"] or round(row["params"] * 4 / 1e6))


def rows_csv(found: Sequence[dict[str, Any]]) -> str:
    """Return rows as CSV, without what is nested in them."""
    names = [name for name, value in found[0].items() if not isinstance(value, dict)]
    lines = ([row[name] for name in names] for row in found)
    return cells.table(
        [names, *([" ".join(map(str, v)) if isinstance(v, list) else v for v in line] for line in lines)]
    )


def cell(key: str, row: dict[str, Any]) -> str:
    """Return one value of a row in words."""
    value = row[key]
    if key == "megabytes" and value is None:
        return f"~{megabytes(row)}"
    if key == "cached":
        return {True: "yes", False: "no"}.get(value, "unknown")
    if value is None:
        return ""
    if key == "params":
        return f"{value / 1e6:.1f}"
    return f"{value:.2f}" if key in {"gmacs", "top1_timm", "top5_timm"} else str(value)


def facts(name: str) -> dict[str, Any]:
    """Return the published facts of a variant, or what the folder or repository of another model holds; and the paper.

    Raises:
        UnknownModel, ModelError, WeightsUnavailable: as `catalog.find_model`.
    """
    spec = catalog.find_model(name)
    known = dict(spec.facts) or {
        "name": spec.name,
        "architecture": spec.architecture,
        "num_classes": spec.num_classes,
        **({"folder": str(spec.folder)} if spec.folder else {"hf_hub_id": spec.repo}),
        **asdict(spec.data),
        "label_names": list(spec.label_names),
        "model_args": dict(spec.model_args),
    }
    return {**known, **catalog.paper(), "cached": weights.is_cached(spec)}


def facts_csv(known: dict[str, Any]) -> str:
    """Return facts as CSV with the columns fact and value."""
    flat = ((name, value if isinstance(value, int | float) else _text(value)) for name, value in _flat(known))
    return cells.table([("fact", "value"), *flat])


def in_words(known: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the facts that are known, as name and value for people."""
    for name, value in _flat(known):
        if value is not None:
            heading = name.replace("model_args.", "network.").replace(".", ": ").replace("_", " ")
            yield WORDS.get(name, heading), _value_in_words(name, value)


def notes(known: dict[str, Any]) -> list[str]:
    """Return the notes on a variant's published facts."""
    return [note for note in catalog.notes() if "tag" in known and known["name"] in note]


def _row(spec: ModelSpec) -> dict[str, Any]:
    size = spec.facts["checkpoint_bytes"]
    return {**spec.facts, "megabytes": size and round(size / 1e6), "cached": weights.is_cached(spec)}


def _digits() -> dict[str, Any]:
    """Return the row of the embedded model, which has no published facts."""
    spec = catalog.find_model("digits")
    known = {"name": spec.name, "input_size": spec.data.input_size[1], "crop_pct": spec.data.crop_pct}
    size = {"num_classes": spec.num_classes, "megabytes": round(weights.locate(spec).stat().st_size / 1e6)}
    unknown = dict.fromkeys(catalog.list_models()[0].facts)
    return {**unknown, **known, **size, "cached": True}


def _flat(known: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in known.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _text(value: Any) -> str:  # noqa: ANN401 - any fact
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _value_in_words(name: str, value: Any) -> str:  # noqa: ANN401 - any fact
    if name in UNITS:
        size, unit = UNITS[name]
        return f"{value / size:.1f} {unit}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    is_shape = name == "input_size" and isinstance(value, tuple)  # an input is a square of pixels
    return str(value[1]) if is_shape else _text(value)
