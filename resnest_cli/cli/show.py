"""`resnest show`: everything known of one model."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from resnest_cli.cli.help import Command
from resnest_cli.cli.list_models import FORMATS
from resnest_cli.cli.options import format_option
from resnest_cli.cli.parameters import ModelName
from resnest_cli.text import cells
from resnest_cli.text.terminal import data

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resnest_cli.types import ModelSpec


# What a person reads instead of a key of json and csv.
WORDS = {
    "name": "model",
    "tag": "trained on",
    "hf_hub_id": "repository",
    "params": "parameters",
    "gmacs": "GMACs per image",
    "macts": "activations (M)",
    "input_size": "input in pixels",
    "crop_pct": "centre crop",
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
    "cached": "downloaded",
}
UNITS = {"params": (1e6, "M"), "flops_model_card": (1e9, "G"), "checkpoint_bytes": (1e6, "MB")}


@click.command(cls=Command)
@click.argument("model", type=ModelName())
@format_option(FORMATS, "table")
def show(*, model: str, format: str) -> None:
    """Show all that is known of a model.

    That is cost, accuracy, recipe, licence, sources and preprocessing. MODEL is a variant, digits, a model folder or
    hf-hub:OWNER/REPO.
    """
    from resnest_cli.models import catalog, weights

    spec = catalog.find_model(model)
    facts = {**_facts(spec), "cached": weights.is_cached(spec)}
    if format == "json":
        data(json.dumps(facts, indent=1) + "\n")
        return
    rows = list(_flat(facts))
    if format == "csv":
        data(cells.table([("fact", "value"), *((name, _cell(value)) for name, value in rows)]))
        return
    _print_table(rows, tuple(note for note in catalog.notes() if spec.facts and spec.name in note))


def _facts(spec: ModelSpec) -> dict[str, Any]:
    """Return a variant's published facts, or what the folder or repository of another model says."""
    if spec.facts:
        return dict(spec.facts)
    where = {"folder": str(spec.folder)} if spec.folder else {"hf_hub_id": spec.repo}
    known = {"name": spec.name, "architecture": spec.architecture, "num_classes": spec.num_classes, **where}
    return {**known, **asdict(spec.data), "label_names": list(spec.label_names), "model_args": dict(spec.model_args)}


def _flat(facts: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in facts.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _text(value: Any) -> str:  # noqa: ANN401 - any fact
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _cell(value: Any) -> Any:  # noqa: ANN401 - any fact
    """Return a value for a table: a number stays one."""
    return value if isinstance(value, int | float) else _text(value)


def _heading(name: str) -> str:
    return WORDS.get(name) or name.replace("model_args.", "network.").replace(".", ": ").replace("_", " ")


def _words(name: str, value: Any) -> str:  # noqa: ANN401 - any fact
    """Say a value as people do; an input is a square of pixels."""
    if name in UNITS:
        size, unit = UNITS[name]
        return f"{value / size:.1f} {unit}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value[1]) if name == "input_size" and isinstance(value, tuple) else _text(value)


def _print_table(rows: list[tuple[str, Any]], notes: tuple[str, ...]) -> None:
    from rich.text import Text

    from resnest_cli.cli.output import console, facts

    out = console(sys.stdout)
    out.print(facts([(_heading(name), _words(name, value)) for name, value in rows if value is not None]))
    for note in notes:
        out.print(Text(f"\nNote: {note}", "dim"))
