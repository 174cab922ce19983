"""A network in int8: NNCF runs it on real pictures and takes from them which range of values each layer needs.

In: weights and pixels, uint8 [N, H, W, 3]. Out: graphs that take such pixels, first in floating point, then in int8.
Does not judge the int8 graph; `tasks/quantize` does.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import warnings
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from resnest_cli.engines import window
from resnest_cli.engines.build import build
from resnest_cli.engines.openvino import OpenVinoEngine
from resnest_cli.engines.runtime import core, openvino, save
from resnest_cli.models import architecture, folders, graphs, random_weights
from resnest_cli.models.graphs import Graph
from resnest_cli.system.imports import without

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from resnest_cli.models.state import State
    from resnest_cli.types import ModelSpec

    Pixels = NDArray[np.uint8]

# From the quickest on: each takes longer than the one before and keeps answers better.
METHODS = ("calibrated", "biases corrected one by one", "most sensitive layers left in floating point")
_RANDOM_PICTURES = 8
_RANKED = 100  # pictures that tell how much each layer harms the answers
VERSIONED = ("nncf", "openvino")  # the libraries that make int8 graphs
_COMPUTE = {"Convolution", "GroupConvolution", "MatMul"}

_log = logging.getLogger(__name__)


def versions() -> dict[str, str]:
    """Return the versions of the libraries that make int8 graphs."""
    return {name: version(name) for name in VERSIONED}


def prepare(spec: ModelSpec, state: State, folder: Path) -> Graph:
    """Write a model with these weights as a graph in floating point into a new `folder`."""
    folder.mkdir()
    network = architecture.of(spec)
    save(build(network, dict(state), spec.data), folder / graphs.FILES[0])
    return Graph(folder, {"width": network.num_classes, "param_count": network.param_count})


def quantize(dense: Graph, pixels: Pixels, method: str, folder: Path, least: float) -> Graph:
    """Write a graph of `prepare` in int8, in a new `folder`.

    Args:
        dense: the graph in floating point.
        pixels: pictures to take the ranges from, uint8 [N, H, W, 3].
        method: one of `METHODS`.
        folder: the folder to make.
        least: the share of the pictures whose first class must stay, for the method that measures it.
    """
    with _quiet_nncf() as nncf:
        model = core().read_model(dense.path)
        given: dict[str, Any] = {
            "calibration_dataset": nncf.Dataset(list(pixels), lambda picture: picture[None]),
            "preset": nncf.QuantizationPreset.MIXED,
            "target_device": nncf.TargetDevice.CPU,
            "subset_size": len(pixels),
            "fast_bias_correction": method == METHODS[0],
            "ignored_scope": nncf.IgnoredScope(names=attention(model)),
        }
        if method == METHODS[2]:
            made = _under_control(nncf, model, pixels, given, least)
        else:
            made = nncf.quantize(model=model, **given)
    folder.mkdir()
    openvino.save_model(made, folder / graphs.FILES[0], compress_to_fp16=False)
    return Graph(folder, dense.facts | {"floating": tuple(floating(made))})


def make_random_graph(spec: ModelSpec, name: str) -> Graph:
    """Put an int8 graph with seeded random weights into the cache under the key `name`, for speed tests.

    Raises:
        UsageError: NNCF is not installed.
        OSError: the cache cannot be written.
    """
    folders.require(folders.INT8)
    _log.info("converting %s to int8 with random weights: once, a minute or two", spec.name)
    channels, height, width = spec.data.input_size
    shape = (_RANDOM_PICTURES, height, width, channels)
    pixels = np.random.default_rng(random_weights.SEED).integers(0, 256, shape, np.uint8)
    state = random_weights.make(architecture.of(spec).shapes, spec)
    with tempfile.TemporaryDirectory(prefix="resnest-") as scratch:
        dense = prepare(spec, state, Path(scratch) / "dense")
        made = quantize(dense, pixels, METHODS[0], Path(scratch) / "int8", 0)
        return graphs.store(name, lambda folder: _copy(made.folder, folder), made.facts)


def _copy(source: Path, target: Path) -> None:
    for name in graphs.FILES:
        shutil.copyfile(source / name, target / name)


def rows(graph: Graph, spec: ModelSpec, pixels: Pixels, precision: str) -> NDArray[np.float32]:
    """Return the logits of a graph on pictures: uint8 [N, H, W, 3] -> float32 [N, C]."""
    engine = OpenVinoEngine(spec, graph, precision=precision)
    try:
        return np.concatenate(list(window.rows(engine, (picture[None] for picture in pixels))))
    finally:
        engine.close()


def floating(model: openvino.Model) -> list[str]:
    """Return the names of the layers with weights that still compute in floating point."""
    layers = [node for node in model.get_ordered_ops() if node.get_type_name() in _COMPUTE]
    return [node.get_friendly_name() for node in layers if not _has_int8_weights(node)]


def _has_int8_weights(layer: openvino.Node) -> bool:
    node = layer.input_value(1).get_node()
    while node.get_input_size():
        node = node.input_value(0).get_node()
    return node.get_element_type() in {openvino.Type.i8, openvino.Type.u8}


def attention(model: openvino.Model) -> list[str]:
    """Return the names of the ops that combine a block's splits: the pooled sum and the attention-weighted sum.

    These stay in floating point. In int8 the convolutions before them would write bytes, and both sums would convert
    all of them back.
    """
    found: list[str] = []
    for node in model.get_ordered_ops():
        givers = [port.get_source_output().get_node() for port in node.inputs()]
        kinds = {giver.get_type_name() for giver in givers if giver.get_friendly_name() not in found}
        is_share = node.get_type_name() == "Multiply" and "VariadicSplit" in kinds
        is_sum = node.get_type_name() == "Add" and kinds <= {"Relu"}  # a residual sum adds a convolution
        if is_share or is_sum:
            found.append(node.get_friendly_name())
    return found


def _under_control(nncf: Any, model: openvino.Model, pixels: Pixels, given: dict[str, Any], least: float) -> Any:  # noqa: ANN401 - of a library without types
    """Quantize, then restore the layers that change most answers, until enough first classes are as before."""
    compiled = core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    pairs = [(picture, int(compiled(picture[None])[0].argmax())) for picture in pixels]

    def agreement(candidate: openvino.CompiledModel, chosen: Iterable[tuple[Any, int]]) -> tuple[float, list[float]]:
        same = [float(candidate(picture[None])[0].argmax() == first) for picture, first in chosen]
        return float(np.mean(same)), same

    restoring = nncf.AdvancedAccuracyRestorerParameters(
        ranking_subset_size=min(_RANKED, len(pixels)), num_ranking_workers=1
    )
    return nncf.quantize_with_accuracy_control(
        model=model,
        validation_dataset=nncf.Dataset(pairs),
        validation_fn=agreement,
        max_drop=1 - least,
        advanced_accuracy_restorer_parameters=restoring,
        **given,
    )


@contextmanager
def _quiet_nncf() -> Iterator[Any]:
    """Yield NNCF with its output and its telemetry off: importing it would send some, through openvino_telemetry."""
    with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")  # of the libraries, about each other
        with without("openvino_telemetry"):
            import nncf  # noqa: PLC0415 - of the extra "int8"
        nncf.set_log_level(logging.ERROR)
        yield nncf
