"""A network as a graph that runs without torch: converted once, kept in the cache.

In: a spec and a checkpoint. Out: a `Graph`: uint8 pixels [N, H, W, 3] in, float32 rows [N, F] out, normalization
inside.
"""

from __future__ import annotations

import logging
import time
import warnings
from typing import TYPE_CHECKING, Any

import timm
import torch

from resnest_cli.engines.convert import convert
from resnest_cli.engines.pytorch.network import build
from resnest_cli.engines.pytorch.program import to_program, ungroup
from resnest_cli.engines.runtime import VERSION
from resnest_cli.models import graphs, labels

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from resnest_cli.types import ModelSpec

_log = logging.getLogger(__name__)


def make_graph(spec: ModelSpec, weights: Path | None, weights_sha256: str, want: str) -> graphs.Graph:
    """Convert `spec` with these weights, and put the graph into the cache. Call it from `graphs.ensure`.

    Args:
        spec: what to convert.
        weights: its checkpoint, or None for seeded random weights.
        weights_sha256: the checkpoint's hash, which is part of the graph's key; it is verified when the file is read.
        want: "logits" or "features".

    Raises:
        BadCheckpoint: see `network.build`; also if the file is not the one that was hashed.
        OSError: the cache cannot be written.
    """
    _log.info("converting %s for the CPU, which takes seconds: once, where the cache can keep it", spec.name)
    begin = time.perf_counter()
    network = build(spec, weights, want, sha256=weights_sha256 if weights else "")
    facts = _facts(spec, network, weights_sha256, want)
    key = graphs.key(spec, weights_sha256, want)
    graph = graphs.store(key, lambda folder: write(network, spec, folder / graphs.FILES[0]), facts)
    _log.info("converted in %.1f s", time.perf_counter() - begin)
    return graph


def write(network: nn.Module, spec: ModelSpec, path: Path) -> None:
    """Convert a network and write the graph to `path`. It changes the network, see `ungroup`.

    Raises:
        OSError: it cannot be written.
    """
    channels, height, width = spec.data.input_size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries, about each other
        convert(to_program(ungroup(network), spec, raw=True), (height, width, channels), path)


def _facts(spec: ModelSpec, network: nn.Module, weights_sha256: str, want: str) -> dict[str, Any]:
    named = labels.load(spec)
    return {
        "model": spec.name,
        "architecture": spec.architecture,
        "want": want,
        "weights_sha256": weights_sha256,
        "origin": weights_sha256,
        "width": spec.num_classes if want == "logits" else network.num_features,
        "param_count": sum(parameter.numel() for parameter in network.parameters()),
        "preprocessing": {"input_size": spec.data.input_size, "mean": spec.data.mean, "std": spec.data.std},
        "labels": {"names": named.names, "wnids": named.wnids},
        "versions": {"torch": torch.__version__, "timm": timm.__version__, "openvino": VERSION},
    }
