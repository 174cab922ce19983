"""The weights of a checkpoint as arrays by name, checked against the shapes of a network.

In: the bytes of a .safetensors file, or what was unpickled of another checkpoint. Out: a `State`, or a `BadCheckpoint`
that says what does not fit. Does not know torch, and opens no file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize

from resnest_cli.errors import BadCheckpoint
from resnest_cli.models import architecture, catalog
from resnest_cli.models.architecture import COUNTER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from resnest_cli.models.architecture import Shape
    from resnest_cli.types import ModelSpec

State: TypeAlias = dict[str, NDArray[Any]]
# numpy has no bfloat16: it is read as whole numbers, the upper halves of float32.
_DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16, "I64": np.int64}
_WRAPPERS = ("module.", "_orig_mod.", "model.")  # prefixes that DDP, torch.compile and Lightning put before each name
_NOT_WEIGHTS = {"n_averaged"}  # torch's AveragedModel counts


def from_safetensors(content: bytes, path: Path) -> State:
    """Return the tensors of a .safetensors file by their bare names, bfloat16 as float32; `path` is for messages.

    Raises:
        BadCheckpoint: the file is damaged, or has none but other tensors than weights.
    """
    try:
        found = bare(deserialize(content), path)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        message = f"{path} is a safetensors checkpoint that is damaged ({type(error).__name__}). Download it again."
        raise BadCheckpoint(message) from error
    refuse_odd([name for name, tensor in found.items() if tensor["dtype"] not in _DTYPES], path)
    return {name: _array(tensor) for name, tensor in found.items()}


def _array(tensor: Mapping[str, Any]) -> NDArray[Any]:
    values = np.frombuffer(tensor["data"], _DTYPES[tensor["dtype"]]).reshape(tensor["shape"])
    return (values.astype(np.uint32) << 16).view(np.float32) if tensor["dtype"] == "BF16" else values


def bare(named: Iterable[tuple[str, Any]], path: Path) -> dict[str, Any]:
    """Return tensors by their names without the prefixes of wrappers.

    Raises:
        BadCheckpoint: there are none, or two have the same name.
    """
    pairs = [(_bare(name), tensor) for name, tensor in named]
    found = {name: tensor for name, tensor in pairs if name not in _NOT_WEIGHTS}
    if not found or len(dict(pairs)) < len(pairs):
        what = "the same names twice" if found else "no tensors"
        message = f"{path} holds {what}, not a model's weights: expected is a state dict."
        raise BadCheckpoint(message)
    return found


def _bare(name: str) -> str:
    while name.startswith(_WRAPPERS):
        name = name.partition(".")[2]
    return name


def refuse_odd(names: list[str], path: Path) -> None:
    """Refuse tensors of types that weights are not of.

    Raises:
        BadCheckpoint: there are such `names`.
    """
    if names:
        message = f"{path}: {len(names)} tensors are no plain numbers, first {names[0]}: save them as float32."
        raise BadCheckpoint(message)


def check(state: State, expected: Mapping[str, Shape], path: Path, spec: ModelSpec) -> None:
    """Check that a state has the `expected` names and shapes, and finite values only.

    Raises:
        BadCheckpoint: the message names what differs, and the variant that the weights are of.
    """
    given = {name: values.shape for name, values in state.items()}
    missing = sorted(name for name in expected.keys() - given.keys() if not name.endswith(f".{COUNTER}"))
    surplus = sorted(given.keys() - expected.keys())
    shapes = sorted(name for name in expected.keys() & given.keys() if expected[name] != given[name])
    problems = [
        f"{len(names)} {what} (first: {names[0]})"
        for what, names in (("missing", missing), ("unexpected", surplus), ("of another shape", shapes))
        if names
    ]
    if problems:
        fit = f"{path} does not fit {spec.name} with {spec.num_classes} classes"
        message = f"{fit}: tensors {', '.join(problems)}. {advice(given)}"
        raise BadCheckpoint(message)
    if broken := [name for name, values in state.items() if not np.isfinite(values).all()]:
        message = f"{path}: {len(broken)} tensors hold NaN or infinite values, first {broken[0]}; the file is damaged."
        raise BadCheckpoint(message)


def advice(shapes: Mapping[str, Shape]) -> str:
    """Return which variant a checkpoint is of, by the shapes of its tensors, and what to type."""
    classes = shapes.get("fc.weight", ())[:1]
    name = next((name for name in architecture.VARIANTS if classes and _fits(name, classes[0], shapes)), None)
    if name is None:
        return "Name the variant it was made for with --model."
    if classes[0] == catalog.find_model(name).num_classes:
        return f"It is a {name}: use --model {name}."
    config = f'{{"architecture": "{name}", "num_classes": {classes[0]}}}'
    return (
        f"It is a {name} with {classes[0]} classes: make a folder of it, as model.safetensors or pytorch_model.bin, "
        f"with a config.json {config} beside it, and use --model FOLDER."
    )


def _fits(variant: str, classes: int, shapes: Mapping[str, Shape]) -> bool:
    expected = architecture.variant(variant, classes).shapes
    return _without_counters(expected) == _without_counters(shapes)


def _without_counters(shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    return {name: shape for name, shape in shapes.items() if not name.endswith(f".{COUNTER}")}
