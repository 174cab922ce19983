"""Graphs that anybody may have made: read from bytes that were hashed, and refused if they are no ResNeSt.

In: the files of an export, and the spec of its folder. Out: an OpenVINO model: uint8 pixels [N, H, W, 3] in, one number
per class out. It has no ops but those of a ResNeSt, and no step is larger than the picture and the file account for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnest_cli.engines import onnx_file
from resnest_cli.engines.runtime import core, openvino
from resnest_cli.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resnest_cli.types import ModelSpec

# What networks are made of as we export them, in any of timm's activations, and in int8: no loops, nothing that reads
# or keeps, nothing whose size depends on values.
_OPS = {
    *("Parameter", "Constant", "Result", "Convert", "FakeQuantize"),
    *("Convolution", "GroupConvolution", "MatMul", "AvgPool", "MaxPool", "ReduceMean", "ReduceSum", "ReduceMax"),
    *("Add", "Subtract", "Multiply", "Divide", "Power", "Sqrt", "Negative", "Minimum", "Maximum", "Exp", "Erf", "Abs"),
    *("Relu", "PRelu", "Elu", "Selu", "Sigmoid", "Tanh", "Clamp", "Swish", "HSwish", "HSigmoid", "Gelu", "Mish"),
    *("SoftPlus", "Softmax", "BatchNormInference", "MVN", "GroupNormalization"),
    *("Reshape", "Transpose", "Concat", "Split", "VariadicSplit", "Squeeze", "Unsqueeze", "Broadcast", "ShapeOf"),
    *("Gather", "Slice", "StridedSlice", "Range", "Tile", "Pad", "ConvertLike", "Select", "ReduceProd"),
    *("Less", "LessEqual", "Greater", "GreaterEqual", "Equal", "NotEqual", "LogicalAnd", "LogicalOr", "LogicalNot"),
    *("Floor", "Ceiling", "Round", "FloorMod", "Log", "SquaredDifference"),
}
MAX_OPS = 20_000  # the deepest variant has 5,000
MAX_PER_PIXEL = 1024  # values per step; real ones have 36 at most
_TRIALS = (1, 3)  # batch sizes whose shapes are inferred: they show what grows faster than the batch


def adopt(files: Mapping[str, bytes], spec: ModelSpec, *, raw: bool) -> openvino.Model:
    """Return the graph of an export (`folders.Content.files`), with the normalization before it unless `raw`.

    Raises:
        ModelError: it cannot be read, is more than a network, or takes other pictures than the spec says.
    """
    height, width = spec.data.input_size[1:]
    limit = max(MAX_PER_PIXEL * height * width, sum(map(len, files.values())))
    try:
        graph = _read(files)
        _check(graph, limit)
        if not raw:
            graph = _normalized(graph, spec)
        for batch in _TRIALS:
            trial = graph.clone()
            trial.reshape([batch, height, width, 3])
            _check(trial, limit * batch)
            _check_sizes_are_known(trial)
            _check_output(trial, [batch, spec.num_classes])
        graph.reshape([-1, height, width, 3])
    except (RuntimeError, ValueError, MemoryError) as error:
        why = f" ({error})" if isinstance(error, ValueError) else ""
        first = next(iter(files))
        message = f"{spec.folder}/{first} is not a graph that takes what its config says{why}. Export it anew."
        raise ModelError(message) from error
    return graph


def _read(files: Mapping[str, bytes]) -> openvino.Model:
    (name, content), *weights = files.items()
    if name.endswith(".onnx"):
        onnx_file.check(content)
    elif b"<!" in content.replace(b"<!--", b""):
        message = "its XML declares a document type or entities"
        raise ValueError(message)
    return core().read_model(content, weights[0][1] if weights else b"")


def _normalized(graph: openvino.Model, spec: ModelSpec) -> openvino.Model:
    steps = openvino.preprocess.PrePostProcessor(graph)
    steps.input().tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    steps.input().model().set_layout(openvino.Layout("NCHW"))
    mean, std = ([255 * value for value in values] for values in (spec.data.mean, spec.data.std))
    steps.input().preprocess().convert_element_type(openvino.Type.f32).mean(mean).scale(std)
    return steps.build()


def _check(graph: openvino.Model, limit: int) -> None:
    """Refuse ops that no network of ours has, and steps of more than `limit` values.

    Raises:
        ValueError: what it has.
    """
    steps = graph.get_ordered_ops()
    if len(steps) > MAX_OPS:
        message = f"it has {len(steps)} steps"
        raise ValueError(message)
    for step in steps:
        kind = step.get_type_name()
        if kind not in _OPS:
            message = f"it has a step {kind}, which is none of a ResNeSt"
            raise ValueError(message)
        if kind == "Range" and not all(_is_size(port.get_node(), limit) for port in step.input_values()):
            message = "it has a step Range of more than sizes"  # OpenVINO works out its length modulo 2^32
            raise ValueError(message)
        for port in step.outputs():
            if (count := _count(port.get_partial_shape())) > limit:
                message = f"a step {kind} makes {count:,} values"
                raise ValueError(message)


def _is_size(node: openvino.Node, limit: int) -> bool:
    """Return whether a node is a size of another node, or a whole number of at most `limit`."""
    while node.get_type_name() in {"Gather", "Convert", "Squeeze", "Unsqueeze", "Reshape"}:
        node = node.input_value(0).get_node()
    if node.get_type_name() == "Constant" and node.get_element_type().is_integral():
        return bool(((node.data >= -limit) & (node.data <= limit)).all())
    return str(node.get_type_name()) == "ShapeOf"


def _check_sizes_are_known(graph: openvino.Model) -> None:
    """Refuse steps whose size depends on more than the size of the batch.

    Raises:
        ValueError: the message names the first one.
    """
    for step in graph.get_ordered_ops():
        if any(port.get_partial_shape().is_dynamic for port in step.outputs()):
            message = f"the size of a step {step.get_type_name()} depends on what is in the picture"
            raise ValueError(message)


def _count(shape: Any) -> int:  # noqa: ANN401 - openvino has no types for its shapes
    """Return the count of values of a shape; an open size counts as 1."""
    count = 1
    for size in shape if shape.rank.is_static else ():
        count *= 1 if size.is_dynamic else size.get_length()
    return count


def _check_output(graph: openvino.Model, wanted: Sequence[int]) -> None:
    """Refuse a graph that does not give one number per class.

    Raises:
        ValueError: the message says what it gives.
    """
    given = [port.get_partial_shape() for port in graph.outputs]
    if len(given) != 1 or given[0].is_dynamic or list(given[0].to_shape()) != list(wanted):
        message = f"it gives {', '.join(map(str, given))} where {list(wanted)} are classes"
        raise ValueError(message)
