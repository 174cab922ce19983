"""What was measured, as rows with names: ours (a contract, see the docs) and, beside them, those of timm's tables.

In: `Options` and the answer of a worker. Out: dictionaries, and dictionaries as JSON, JSON lines, CSV or TSV. Units are
in the names; accuracy is in percent and `param_count` in millions, as timm has them.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from resnest_cli.models import catalog
from resnest_cli.text import cells

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from resnest_cli.options import Options

FIRST = ("model", "engine", "device", "precision", "batch", "img_size", "threads", "samples_per_sec", "step_time_ms")


def row(options: Options, found: dict[str, Any]) -> dict[str, Any]:
    """Return what a worker measured of a configuration by name, or its error.

    `samples_per_sec` is the rate of a full stream, `step_time_ms` the time of a batch alone. GMACs are known at a
    variant's own size; at other sizes, and for a user's own models, what follows from them is None.
    """
    spec = catalog.resolve(options)
    size = spec.data.input_size[1]
    asked = {name: getattr(options, name) for name in ("model", "engine", "device", "precision", "batch")}
    known = {**asked, "img_size": size, "published_top1": spec.facts.get("top1_timm")}
    if "error" in found:
        return known | found
    at_home = spec.facts.get("input_size") == size
    gmacs, macts = (spec.facts[name] if at_home else None for name in ("gmacs", "macts"))
    measured = {key: value for key, value in found.items() if key != "peak_flops"}
    everything = {
        **known,
        **measured,
        **_arithmetic(gmacs, found["samples_per_sec"], found["peak_flops"] / 1e12),
        "param_count": round(found["param_count"] / 1e6, 2),
        "weights": "random" if options.random_weights else "its own",
        "versions": {"resnest-cli": version("resnest-cli"), "python": sys.version.split()[0], **found["versions"]},
        "infer_samples_per_sec": round(found["samples_per_sec"], 2),
        "infer_step_time": round(found["step_time_ms"]["mean"], 3),
        "infer_batch_size": found["batch"],
        "infer_img_size": size,
        "infer_gmacs": gmacs and round(gmacs, 2),
        "infer_macts": macts and round(macts, 2),
    }
    return {name: everything.pop(name) for name in FIRST} | everything


def to_json(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as one array."""
    return "[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n"


def to_jsonl(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as one object per line."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def to_csv(rows: Sequence[dict[str, Any]], *, delimiter: str = ",") -> str:
    """Return rows as a table; nested names are joined with _."""
    flat = [_flat(row) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    return cells.table([names, *([row.get(name) for name in names] for row in flat)], delimiter)


WRITERS: dict[str, Callable[[Sequence[dict[str, Any]]], str]] = {
    "json": to_json,
    "jsonl": to_jsonl,
    "csv": to_csv,
    "tsv": partial(to_csv, delimiter="\t"),
}


def _arithmetic(gmacs: float | None, rate: float, peak: float) -> dict[str, float | None]:
    """Return the operations per second, in 10^12 (two per multiply-accumulate), and their share of the limit."""
    achieved = 2 * gmacs * rate / 1000 if gmacs else None
    share = achieved / peak if achieved and peak else None
    return {"gmacs": gmacs, "achieved_tflops": achieved, "peak_tflops": peak, "utilisation": share}


def _flat(row: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in row.items():
        found |= _flat(value, f"{prefix}{name}_") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found
