"""What rows were made by, as JSON values: what a job goes on with, and what a file says of itself.

In: an opened engine, its model, options and class names. Out: the facts that decide a row's numbers, and versions. Does
not know where they are kept.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from resnest_cli.models import weights

if TYPE_CHECKING:
    from resnest_cli.engines.base import Engine
    from resnest_cli.models.labels import Labels
    from resnest_cli.options import Options
    from resnest_cli.types import ModelSpec


def identity(spec: ModelSpec, options: Options, engine: Engine) -> dict[str, Any]:
    """Return what decides a row's numbers: model, weights (their sha256), preprocessing, engine and precision."""
    return {
        "model": spec.name,
        "weights": origin(spec, options, engine),
        "preprocessing": {**asdict(spec.data), "exif": options.upright},
        "engine": engine.name,
        "precision": engine.precision,
    }


def origin(spec: ModelSpec, options: Options, engine: Engine) -> str:
    """Return the sha256 of the file that the numbers come from: the weights, or the graph that runs in their place."""
    if options.random_weights:
        return weights.RANDOM
    if known := engine.facts.get("origin"):
        return str(known)
    return weights.sha256(weights.locate(spec, options.weights))


def versions(engine: Engine) -> dict[str, str]:
    """Return the versions that made the rows: of this program, of Python and of the engine."""
    return {"resnest-cli": version("resnest-cli"), "python": sys.version.split()[0], **engine.facts["versions"]}


def names_sha256(labels: Labels) -> str:
    """Return one hash of all class names and WordNet ids."""
    return hashlib.sha256(json.dumps([labels.names, labels.wnids]).encode()).hexdigest()
