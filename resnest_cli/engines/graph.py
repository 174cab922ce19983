"""The graph of a model, found in the cache or made from its weights and kept there.

In: a spec, a checkpoint, what the graph is for. Out: a `Graph` that the OpenVINO engine runs: uint8 pixels
[N, H, W, 3] in. Does not know which engine is chosen.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from resnest_cli.engines import checkpoints
from resnest_cli.engines.build import EVIDENCE, FEATURES, LOGITS, SHARES, build
from resnest_cli.engines.runtime import VERSION, save
from resnest_cli.models import architecture, graphs
from resnest_cli.system import machine

if TYPE_CHECKING:
    from pathlib import Path

    from resnest_cli.models.architecture import Architecture
    from resnest_cli.types import ModelSpec

# What a graph is for -> its outputs, in order.
OUTPUTS = {"logits": (LOGITS,), "features": (FEATURES,), "explanation": (LOGITS, EVIDENCE, SHARES)}

_log = logging.getLogger(__name__)


def ensure(spec: ModelSpec, path: Path | None, digest: str, want: str) -> graphs.Graph:
    """Return the graph of these weights, made now unless another process makes it at the same time.

    Args:
        spec: the model, of an architecture that is known here (`architecture.why_timm`).
        path: its checkpoint, or None for seeded random weights.
        digest: the checkpoint's sha256, which is part of the graph's key; it is verified when the file is read.
        want: "logits", "features" or "explanation".

    Raises:
        BadCheckpoint, ModelError, UsageError: see `checkpoints.load`.
        OSError: the cache cannot be written.
    """
    name = graphs.key(spec, digest, want)
    made = graphs.ensure(name, lambda: _make(spec, path, digest, want))
    machine.return_freed_memory()  # compiling takes as much again
    return made


def _make(spec: ModelSpec, path: Path | None, digest: str, want: str) -> graphs.Graph:
    network = architecture.of(spec)
    state = checkpoints.load(spec, path, network.shapes, sha256=digest if path else "").state
    _log.info("building the graph of %s for the CPU: once, where the cache can keep it", spec.name)
    graph = build(network, state, spec.data, OUTPUTS[want])
    facts = _facts(spec, network, digest, want)
    return graphs.store(graphs.key(spec, digest, want), lambda folder: save(graph, folder / graphs.FILES[0]), facts)


def _facts(spec: ModelSpec, network: Architecture, digest: str, want: str) -> dict[str, Any]:
    return {
        "model": spec.name,
        "architecture": spec.architecture,
        "want": want,
        "weights_sha256": digest,
        "origin": digest,
        "width": network.num_features if want == "features" else network.num_classes,
        "param_count": network.param_count,
        "preprocessing": {"input_size": spec.data.input_size, "mean": spec.data.mean, "std": spec.data.std},
        "versions": {"numpy": np.__version__, "openvino": VERSION},
    }
