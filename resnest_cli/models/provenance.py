"""What made rows, as JSON values: what a file says of itself, and what a job must share with its beginning.

In: an opened engine, its model and its options. Out: facts, and `identity`, the part of them that decides a row's
numbers. The only place that makes either. Does not know where they are kept.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnest_cli.errors import UsageError
from resnest_cli.models import catalog, weights
from resnest_cli.text.json_input import LONGEST_PATH, Entries
from resnest_cli.types import EngineFacts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resnest_cli.engines.base import Engine
    from resnest_cli.models.labels import Labels
    from resnest_cli.options import Options
    from resnest_cli.types import ModelSpec


def predictions(spec: ModelSpec, options: Options, engine: Engine) -> dict[str, Any]:
    """Return the facts of predictions: model, weights (their sha256), preprocessing, engine, precision, versions."""
    return {"model": lasting_name(spec), "weights": origin(spec, options, engine), **_run(spec, options, engine)}


def features(spec: ModelSpec, options: Options, engine: Engine, *, normalized: bool) -> dict[str, Any]:
    """Return the facts of features, from which `options_of` opens the same model again.

    "weights" is the path of a checkpoint that was named, "weights_sha256" its checksum, "width" the numbers per row.
    """
    return {
        "model": lasting_name(spec),
        "architecture": spec.architecture,
        "weights": None if options.weights is None else str(Path(options.weights).resolve()),
        "weights_sha256": origin(spec, options, engine),
        "width": engine.width,
        "normalized": normalized,
        **_run(spec, options, engine),
    }


def identity(spec: ModelSpec, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of facts that decides a row's numbers.

    A model folder counts by what it holds, not by its path: architecture and weights. Versions do not count.
    """
    is_folder = spec.folder not in {None, catalog.DIGITS}
    return {
        "model": spec.architecture if is_folder else spec.name,
        "weights": facts.get("weights_sha256", facts["weights"]),
        **{name: facts[name] for name in ("preprocessing", "engine", "precision")},
        "model_args": dict(spec.model_args),
    }


def origin(spec: ModelSpec, options: Options, engine: Engine) -> str:
    """Return the sha256 of the file that the numbers come from: the weights, or the graph that runs in their place."""
    if options.random_weights:
        return weights.RANDOM
    if known := EngineFacts.of(engine).origin:
        return str(known)
    return weights.sha256(weights.locate(spec, options.weights))


def versions(engine: Engine) -> dict[str, str]:
    """Return the versions of this program, of Python and of the engine."""
    return {"resnest-cli": version("resnest-cli"), "python": sys.version.split()[0], **EngineFacts.of(engine).versions}


def names_sha256(labels: Labels) -> str:
    """Return one sha256 of all class names and WordNet ids."""
    return hashlib.sha256(json.dumps([labels.names, labels.wnids]).encode()).hexdigest()


def lasting_name(spec: ModelSpec) -> str:
    """Return the model's name as it is understood from any working folder."""
    return str(spec.folder.resolve()) if spec.folder not in {None, catalog.DIGITS} else spec.name


def options_of(facts: dict[str, Any], now: Options) -> Options:
    """Return the options that open the model of these facts of features.

    Args:
        facts: see `features`.
        now: how the model runs, and where it is if it moved.

    Raises:
        UsageError: the facts are not those of features.
    """
    try:
        given = Entries(facts)
        path = None if facts["weights"] is None else given.text("weights", longest=LONGEST_PATH)
        is_random = given.text("weights_sha256") == weights.RANDOM and not now.weights
        found = None if is_random else now.weights or path
        return replace(_as_then(given, now), weights=found, random_weights=is_random)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        message = f"the index does not say how it was made ({error}): make it anew with `resnest embed`."
        raise UsageError(message) from error


def options_of_predictions(facts: dict[str, Any], now: Options) -> Options:
    """Return the options that open the model of these facts of predictions.

    Args:
        facts: see `predictions`; of weights they have the sha256 only.
        now: how the model runs, and where it and its weights are if the name does not tell.

    Raises:
        UsageError: the facts are not those of predictions.
    """
    try:
        given = Entries(facts)
        is_random = given.text("weights") == weights.RANDOM and not now.weights
        return replace(_as_then(given, now), random_weights=is_random)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        message = f"the rows do not say how they were made ({error})."
        raise UsageError(message) from error


def _as_then(given: Entries, now: Options) -> Options:
    """Return the options with the model, the precision and the preprocessing of facts."""
    data = given.inside("preprocessing")
    return replace(
        now,
        model=now.model or given.text("model", longest=LONGEST_PATH),
        img_size=data.values["input_size"][1],
        precision=given.text("precision"),
        exif=data.flag("exif"),
        interpolation=data.text("interpolation"),
        **{key: data.values[key] for key in ("crop_pct", "mean", "std")},
    )


def preprocessing(spec: ModelSpec, options: Options) -> dict[str, Any]:
    """Return how images become network input."""
    return {**asdict(spec.data), "exif": options.upright}


def _run(spec: ModelSpec, options: Options, engine: Engine) -> dict[str, Any]:
    return {
        "preprocessing": preprocessing(spec, options),
        "engine": engine.name,
        "precision": engine.precision,
        "versions": versions(engine),
    }
